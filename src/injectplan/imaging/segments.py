"""Segmentations that carry names: .seg.nrrd and DICOM SEG ⇄ label maps, overlaps kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from injectplan.errors import FileError
from injectplan.imaging._bounds import RawImage
from injectplan.imaging.labels import recognised
from injectplan.imaging.values import LabelMap
from injectplan.kernels.cast import Bools, Floats
from injectplan.measure import Notice
from injectplan.structures import StructureInfo, structure

_MOST_SEGMENTS = 4096


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segment:
    """One named segment: its mask (i, j, k), its name in the file and its value there."""

    name: str
    mask: Bools
    value: int
    meaning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segmentation:
    """Named segments on one grid, which may overlap."""

    segments: tuple[Segment, ...]
    affine: Floats
    shape: tuple[int, ...]
    notices: tuple[Notice, ...] = ()


def has_segments(image: RawImage) -> bool:
    """Whether a NRRD file's keys describe segments, as 3D Slicer writes them."""
    return "Segment0_LabelValue" in image.keys or "Segment0_Name" in image.keys


def segments_of_nrrd(image: RawImage, where: str) -> Segmentation:
    """Return the segments of a .seg.nrrd: (layer, label value) → mask.  Raises FileError for damaged keys."""
    values = image.values
    layers = values if values.ndim == 4 else values[..., None]
    found = []
    for n in range(_MOST_SEGMENTS):
        if f"Segment{n}_ID" not in image.keys and f"Segment{n}_Name" not in image.keys:
            break
        text = image.keys.get(f"Segment{n}_LabelValue", str(n + 1))
        layer_text = image.keys.get(f"Segment{n}_Layer", "0")
        if not text.isdecimal() or not layer_text.isdecimal() or int(layer_text) >= layers.shape[3]:
            raise FileError(
                f"{where}: Segment{n} label '{text[:20]}', layer '{layer_text[:9]}' of {layers.shape[3]}; "
                f"save the segmentation again"
            )
        name = image.keys.get(f"Segment{n}_Name", image.keys.get(f"Segment{n}_ID", ""))
        value = min(int(text), 2**31)
        found.append(Segment(name=name, mask=layers[..., int(layer_text)] == value, value=value))
    if not found:
        raise FileError(f"{where}: names no segment; save the segmentation again, or give --labels")
    return Segmentation(
        segments=tuple(found), affine=image.affine, shape=values.shape[:3], notices=image.notices
    )


def labelmap_of_segments(
    given: Segmentation, where: str, names: Mapping[int, str] | None = None, side: str | None = None
) -> LabelMap:
    """Return the label map of named segments; one that overlaps keeps its mask in `overlaps`.

    names : label value → structure of a table, instead of the segments' own names.
    A segment that is no structure of the vocabulary keeps its value and gets a notice.
    """
    values = [segment.value for segment in given.segments]
    unique = len(set(values)) == len(values) and all(0 < v < 65536 for v in values)
    if names is not None and not unique:
        raise FileError(
            f"{where}: label values repeat across layers, a label table cannot tell; leave --labels out"
        )
    labels = np.zeros(given.shape, np.uint16)
    named: dict[int, str] = {}
    crossing: set[str] = set()
    masks: dict[str, list[Bools]] = {}
    notices = list(given.notices)
    for index, segment in enumerate(given.segments):
        value = segment.value if unique else index + 1
        name = names.get(segment.value) if names is not None else recognised(segment.name, side)
        if name is None and names is None and segment.meaning:
            name = recognised(segment.meaning, side)
        if name is None:
            shown = segment.name[:40] or f"segment {segment.value}"
            notices.append(Notice("unnamed-label", f"'{shown}' is no structure of the vocabulary; left out"))
        else:
            named[value] = name
            masks.setdefault(name, []).append(segment.mask)
            if (labels[segment.mask] > 0).any():
                crossing.add(name)
        labels[segment.mask & (labels == 0)] = value
    return LabelMap(
        affine=given.affine,
        labels=labels,
        names=named,
        overlaps={name: np.logical_or.reduce(masks[name]) for name in sorted(crossing)},
        notices=tuple(notices),
    )


def keys_of_segments(
    names: Mapping[int, tuple[str, int]], shape: tuple[int, ...], additions: Mapping[str, StructureInfo]
) -> dict[str, str]:
    """Return the keys by which 3D Slicer names and colours segments.

    names : label value → (structure, layer).
    """
    keys = {
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    for n, (value, (name, layer)) in enumerate(sorted(names.items())):
        info = structure(name, additions)
        red, green, blue = (part / 255.0 for part in info.color)
        keys |= {
            f"Segment{n}_ID": f"Segment_{value}_{layer}",
            f"Segment{n}_Name": name,
            f"Segment{n}_NameAutoGenerated": "0",
            f"Segment{n}_Color": f"{red:.6f} {green:.6f} {blue:.6f}",
            f"Segment{n}_ColorAutoGenerated": "0",
            f"Segment{n}_Extent": " ".join(f"0 {size - 1}" for size in shape[:3]),
            f"Segment{n}_LabelValue": str(value),
            f"Segment{n}_Layer": str(layer),
            f"Segment{n}_Tags": _tags(info),
        }
    return keys


def _tags(info: StructureInfo) -> str:
    kind = f"SCT^{info.code}^{info.meaning}" if info.code else "SCT^85756007^Tissue"
    entry = (
        f"Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
        f"~{kind}~^^~Anatomic codes - DICOM master list~^^~^^|"
    )
    return f"Segmentation.Status:completed|TerminologyEntry:{entry}"
