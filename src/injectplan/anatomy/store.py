"""Saved joints: a folder that later commands load whole in under a second.

`joint.npz` holds every array once, those that are mostly one value without it, and the rest as JSON; it
alone is read back. Beside it stand the forms that other programs read: `model.json`, `surfaces/*.vtp`,
`labels.nrrd`, `thickness_*.nii.gz`.
`joint.sha256` lists the hash of each but model.json (which holds timings); a joint whose files do not match
it is refused, because a plan must not be made on half a joint or on one edited in part. `saving` writes all
that; what reads it back stands here, apart, so that reading imports little.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from injectplan.anatomy.model import (
    CartilageMap,
    Cavity,
    Defect,
    JointAxes,
    JointModel,
    Recess,
    Structure,
    Subject,
)
from injectplan.documents import plain
from injectplan.errors import FileError
from injectplan.files import sha256
from injectplan.imaging.values import LabelMap, Surface
from injectplan.kernels.cast import Array
from injectplan.kernels.field import Field
from injectplan.measure import Notice
from injectplan.structures import StructureInfo

VERSION = 2
READABLE = (1, 2)  # the first version wrote every array whole
MOSTLY = 0.5  # an array of which more than this share is one value is written without it
LITTLE = 4096  # smaller arrays are written whole
ARRAYS, HASHES = "joint.npz", "joint.sha256"
_Json = dict[str, Any]


def _bytes_of(array: Array) -> Array:
    return array.ravel().view(np.uint8)


class _Writer:
    """Collects arrays under short names while values turn into JSON."""

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}
        self._written: dict[tuple[str, tuple[int, ...]], list[tuple[Array, str | _Json]]] = {}

    def put(self, array: Any) -> str | _Json | None:
        """Return how `_Reader.get` finds an array again; of two with the same bytes one is written."""
        if array is None:
            return None
        whole = np.ascontiguousarray(array)
        alike = self._written.setdefault((whole.dtype.str, whole.shape), [])
        for other, place in alike:
            if other is whole or np.array_equal(_bytes_of(other), _bytes_of(whole)):
                return place
        alike.append((whole, self._sparse(whole) or self._add(whole)))
        return alike[-1][1]

    def _add(self, array: Array) -> str:
        name = f"a{len(self.arrays)}"
        self.arrays[name] = array
        return name

    def _sparse(self, array: Array) -> _Json | None:
        """Write what differs, bit for bit, from an array's first value; None where that is not worth it."""
        if array.size < LITTLE or array.dtype.itemsize not in (1, 2, 4, 8):
            return None
        flat = array.ravel()
        bits = flat.view(f"u{array.dtype.itemsize}")
        differs = bits != bits[0]
        if np.count_nonzero(differs) > (1.0 - MOSTLY) * array.size:
            return None
        return {
            "shape": list(array.shape), "fill": self._add(flat[:1]),
            "differs": self._add(np.packbits(differs)), "values": self._add(flat[differs]),
        }  # fmt: skip

    def surface(self, surface: Surface | None) -> _Json | None:
        """A surface by the names of its vertices and triangles; None stays None."""
        if surface is None:
            return None
        return {"vertices": self.put(surface.vertices_mm), "triangles": self.put(surface.triangles)}

    def field(self, field: Field) -> _Json:
        """A field by its origin, spacing in mm and the name of its values."""
        return {
            "origin": self.put(field.origin_mm),
            "spacing": float(field.spacing_mm),
            "values": self.put(field.values),
        }

    def structure(self, s: Structure) -> _Json:
        """A structure's surface and all that is known of it; its name is the key it stands under."""
        return {
            "surface": self.surface(s.surface), "tissue": s.tissue, "risk": s.risk, "source": s.source,
            "priority": s.priority, "placement_sd_mm": s.placement_sd_mm, "label": s.label,
            "voxel_volume_ml": s.voxel_volume_ml, "fibres": self.put(s.fibres),
            "repaired": list(s.repaired), "assumed": list(s.assumed),
        }  # fmt: skip

    def cavity(self, c: Cavity) -> _Json:
        """The cavity with its fields and recesses."""
        return {
            "surface": self.surface(c.surface), "field": self.field(c.field),
            "distension": self.field(c.distension), "recess_index": self.put(c.recess_index),
            "resting_volume_ml": c.resting_volume_ml, "source": c.source, "assumed": list(c.assumed),
            "segmented_ml": c.segmented_ml,
            "recesses": [
                {
                    "name": r.name, "center_mm": self.put(r.center_mm), "normal": self.put(r.normal),
                    "volume_ml": r.volume_ml, "thickness_mm": r.thickness_mm,
                    "extent_mm": self.put(r.extent_mm),
                }
                for r in c.recesses
            ],
        }  # fmt: skip

    def cartilage(self, m: CartilageMap) -> _Json:
        """A cartilage map, its arrays by name."""
        return {
            "bone": m.bone, "regions": list(m.regions), "volume_ml": m.volume_ml,
            "trustworthy": m.trustworthy, "thickness": self.put(m.thickness_mm),
            "nearest": self.put(m.nearest_mm), "state": self.put(m.state), "region": self.put(m.region),
        }  # fmt: skip

    def defect(self, d: Defect) -> _Json:
        """A defect with its patch."""
        return {
            "structure": d.structure, "zone": d.zone, "center_mm": self.put(d.center_mm),
            "area_mm2": d.area_mm2, "depth_mm": d.depth_mm, "volume_ml": d.volume_ml, "grade": d.grade,
            "source": d.source, "surface": self.surface(d.surface), "left_mm": d.left_mm,
            "finding": d.finding,
        }  # fmt: skip

    def labels(self, m: LabelMap) -> _Json:
        """A label map with its overlaps and the structures that its table added."""
        return {
            "affine": self.put(m.affine), "labels": self.put(m.labels),
            "names": {str(v): n for v, n in m.names.items()},
            "overlaps": {n: self.put(mask) for n, mask in m.overlaps.items()},
            "additions": {
                n: {"tissue": i.tissue, "risk": i.risk, "layer": i.layer, "color": list(i.color)}
                for n, i in m.additions.items()
            },
            "notices": [n.to_json() for n in m.notices],
        }  # fmt: skip

    def axes(self, a: JointAxes) -> _Json:
        """The joint's directions and centre; the side stands with the joint."""
        return {
            "origin_mm": self.put(a.origin_mm), "lateral": self.put(a.lateral),
            "anterior": self.put(a.anterior), "proximal": self.put(a.proximal),
            "flexion_deg": a.flexion_deg, "notices": [n.to_json() for n in a.notices],
        }  # fmt: skip

    def joint(self, j: JointModel) -> _Json:
        """The whole joint; timings are not kept."""
        return {
            "version": VERSION, "kind": j.kind, "side": j.side, "axes": self.axes(j.axes),
            "structures": {n: self.structure(s) for n, s in j.structures.items()},
            "cavity": self.cavity(j.cavity), "labels": self.labels(j.labels),
            "cartilage": {n: self.cartilage(m) for n, m in j.cartilage.items()},
            "defects": [self.defect(d) for d in j.defects],
            "subject": {"bmi": j.subject.bmi, "sex": j.subject.sex},
            "notices": [n.to_json() for n in j.notices], "assumed": list(j.assumed),
            "parameters": plain(j.parameters), "input_sha256": j.input_sha256,
            "input_affine": self.put(j.input_affine),
            "input_shape": None if j.input_shape is None else list(j.input_shape),
        }  # fmt: skip


class _Reader:
    """Turns the JSON and arrays of a saved joint back into values."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self.arrays = arrays
        self._surfaces: dict[tuple[str, str], Surface] = {}
        self._whole: dict[str, Array] = {}

    def get(self, name: str | _Json | None) -> Any:
        """An array by what `_Writer.put` gave for it, read-only; None for None."""
        if name is None:
            return None
        array = self.arrays[name] if isinstance(name, str) else self._filled(name)
        array.setflags(write=False)
        return array

    def _filled(self, data: _Json) -> Array:
        if data["values"] in self._whole:
            return self._whole[data["values"]]
        fill = self.arrays[data["fill"]]
        whole = np.full(math.prod(data["shape"]), fill[0], fill.dtype)
        differs = np.unpackbits(self.arrays[data["differs"]], count=whole.size).view(np.bool_)
        whole[differs] = self.arrays[data["values"]]
        return self._whole.setdefault(data["values"], whole.reshape(data["shape"]))

    def surface(self, data: _Json | None) -> Any:
        """A surface written twice is one surface again: its tree is then built once."""
        if data is None:
            return None
        arrays = self.get(data["vertices"]), self.get(data["triangles"])
        named = str(data["vertices"]), str(data["triangles"])
        return self._surfaces.setdefault(named, Surface(*arrays))

    def field(self, data: _Json) -> Field:
        """A field again."""
        return Field(self.get(data["origin"]), float(data["spacing"]), self.get(data["values"]))

    def notices(self, data: list[_Json]) -> tuple[Notice, ...]:
        """Warnings again."""
        return tuple(Notice(n["code"], n["message"], n.get("structure")) for n in data)

    def structure(self, name: str, data: _Json) -> Structure:
        """A structure again, under the name it is kept by."""
        kept = {k: data[k] for k in ("tissue", "risk", "source", "priority", "placement_sd_mm", "label")}
        return Structure(
            name=name, surface=self.surface(data["surface"]), voxel_volume_ml=data["voxel_volume_ml"],
            fibres=self.get(data["fibres"]), repaired=tuple(data["repaired"]),
            assumed=tuple(data["assumed"]), **kept,
        )  # fmt: skip

    def cavity(self, data: _Json) -> Cavity:
        """The cavity again; an older joint's held no segmented fluid."""
        recesses = tuple(
            Recess(
                name=r["name"], center_mm=self.get(r["center_mm"]), normal=self.get(r["normal"]),
                volume_ml=r["volume_ml"], thickness_mm=r["thickness_mm"], extent_mm=self.get(r["extent_mm"]),
            )
            for r in data["recesses"]
        )  # fmt: skip
        return Cavity(
            surface=self.surface(data["surface"]), field=self.field(data["field"]),
            distension=self.field(data["distension"]), recess_index=self.get(data["recess_index"]),
            recesses=recesses, resting_volume_ml=data["resting_volume_ml"], source=data["source"],
            assumed=tuple(data["assumed"]), segmented_ml=data.get("segmented_ml", 0.0),
        )  # fmt: skip

    def cartilage(self, name: str, data: _Json) -> CartilageMap:
        """A cartilage map again, under the name it is kept by."""
        return CartilageMap(
            name=name, bone=data["bone"], thickness_mm=self.get(data["thickness"]),
            nearest_mm=self.get(data["nearest"]), state=self.get(data["state"]),
            region=self.get(data["region"]), regions=tuple(data["regions"]), volume_ml=data["volume_ml"],
            trustworthy=data["trustworthy"],
        )  # fmt: skip

    def defect(self, data: _Json) -> Defect:
        """A defect again; an older joint's belongs to no finding."""
        kept = {
            k: data[k] for k in ("structure", "zone", "area_mm2", "depth_mm", "volume_ml", "grade", "source")
        }
        kept |= {k: data[k] for k in ("left_mm", "finding") if k in data}  # older joints have none
        return Defect(center_mm=self.get(data["center_mm"]), surface=self.surface(data["surface"]), **kept)

    def labels(self, data: _Json) -> LabelMap:
        """A label map again."""
        additions = {
            n: StructureInfo(
                name=n,
                tissue=i["tissue"],
                risk=i["risk"],
                layer=i["layer"],
                color=tuple(i["color"]),
                given=True,
            )
            for n, i in data["additions"].items()
        }
        return LabelMap(
            affine=self.get(data["affine"]), labels=self.get(data["labels"]),
            names={int(v): n for v, n in data["names"].items()},
            overlaps={n: self.get(mask) for n, mask in data["overlaps"].items()},
            additions=additions, notices=self.notices(data["notices"]),
        )  # fmt: skip

    def joint(self, data: _Json) -> JointModel:
        """The whole joint again."""
        axes, shape = data["axes"], data["input_shape"]
        return JointModel(
            kind=data["kind"], side=data["side"],
            axes=JointAxes(
                side=data["side"], origin_mm=self.get(axes["origin_mm"]), lateral=self.get(axes["lateral"]),
                anterior=self.get(axes["anterior"]), proximal=self.get(axes["proximal"]),
                flexion_deg=axes["flexion_deg"], notices=self.notices(axes["notices"]),
            ),
            structures={n: self.structure(n, s) for n, s in data["structures"].items()},
            cavity=self.cavity(data["cavity"]), labels=self.labels(data["labels"]),
            cartilage={n: self.cartilage(n, m) for n, m in data["cartilage"].items()},
            defects=tuple(self.defect(d) for d in data["defects"]), subject=Subject(**data["subject"]),
            notices=self.notices(data["notices"]), assumed=tuple(data["assumed"]),
            parameters=data["parameters"], input_sha256=data["input_sha256"],
            input_affine=self.get(data["input_affine"]), input_shape=None if shape is None else tuple(shape),
        )  # fmt: skip


def write_arrays(path: Path, joint: JointModel) -> None:
    """Write a joint whole into one file; NaN stands in its JSON as NaN, which only this module reads."""
    writer = _Writer()
    text = json.dumps(writer.joint(joint), ensure_ascii=False)
    np.savez(path, allow_pickle=False, joint=np.frombuffer(text.encode(), np.uint8), **writer.arrays)


def _check_files(folder: Path) -> None:
    """Raise FileError where a saved joint's files are not those that were written."""
    try:
        lines = (folder / HASHES).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(
            f"{folder.name}: is not a saved joint (no readable {HASHES}); give the folder that "
            "`injectplan model --out` wrote"
        ) from error
    pairs = [line.split("  ", 1) for line in lines if "  " in line]
    listed = {name: wanted for wanted, name in pairs}
    if ARRAYS not in listed or lines[-1] != f"{len(listed)} files":
        raise FileError(f"{folder.name}/{HASHES}: is not whole; write the joint again")
    for name, wanted in listed.items():
        path = folder / name
        if not path.is_file() or folder.resolve() not in path.resolve().parents:
            raise FileError(f"{folder.name}/{name}: missing from the saved joint; write the joint again")
        if sha256(path) != wanted:
            raise FileError(
                f"{folder.name}/{name}: does not match its hash in {HASHES} (cut short or edited): "
                "write the joint again"
            )


def load_joint(folder: str | Path) -> JointModel:
    """Read a joint that `saving.save_joint` wrote, exactly as it was.

    Raises FileError for a folder that is none, or whose files were cut short or edited.
    """
    folder = Path(folder)
    _check_files(folder)
    return read_arrays(folder / ARRAYS)


def read_arrays(path: Path) -> JointModel:
    """Read what `write_arrays` wrote.  Raises FileError for a file that is none, damaged or too old."""
    name = f"{path.parent.name}/{path.name}"
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        data = json.loads(arrays.pop("joint").tobytes().decode())
        if data["version"] not in READABLE:
            raise FileError(f"{name}: saved by another version; write the joint again")
        return _Reader(arrays).joint(data)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise FileError(f"{name}: cannot be read as a joint; write the joint again") from error
