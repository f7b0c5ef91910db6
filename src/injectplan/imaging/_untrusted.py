"""Readers that may crash or loop on a hostile file, run as a process of their own with bounds.

Started by `child.run` as `python -I _untrusted.py TASK OUT MEMORY_BYTES CPU_SECONDS FILE…`. It imports
nothing of the package, so that it starts fast. Arrays go to OUT/*.npy, the rest to OUT/meta.json, and what
went wrong, in one line, to OUT/error.txt.
"""

import json
import os
import sys
from typing import Any

MAX_VALUES = 1_000_000_000


class RefusedFileError(Exception):
    """What the reader will not take, said in words for a person."""


def _save(out: str, meta: dict[str, Any], **arrays: Any) -> None:
    import numpy as np

    for name, array in arrays.items():
        np.save(os.path.join(out, f"{name}.npy"), np.ascontiguousarray(array), allow_pickle=False)
    with open(os.path.join(out, "meta.json"), "w", encoding="utf-8") as stream:
        json.dump(meta, stream)


def vtk_surface(out: str, path: str) -> None:
    """Read a VTK polygon file, legacy or XML: points, triangles and the arrays on its points."""
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkCommonCore import vtkObject
    from vtkmodules.vtkFiltersCore import vtkTriangleFilter

    vtkObject.GlobalWarningDisplayOff()
    with open(path, "rb") as stream:
        xml = stream.read(512).lstrip().startswith(b"<")
    if xml:
        from vtkmodules.vtkIOXML import vtkXMLPolyDataReader as Reader
    else:
        from vtkmodules.vtkIOLegacy import vtkPolyDataReader as Reader
    reader = Reader()
    reader.SetFileName(path)
    if not xml and not reader.IsFilePolyData():
        raise RefusedFileError("holds no polygon surface; save it as PolyData")
    triangles = vtkTriangleFilter()
    triangles.SetInputConnection(reader.GetOutputPort())
    triangles.PassVertsOff()
    triangles.PassLinesOff()
    triangles.Update()
    if reader.GetErrorCode():
        raise RefusedFileError("is truncated or damaged; copy it again")
    data = triangles.GetOutput()
    if data.GetNumberOfPoints() == 0 or data.GetNumberOfPolys() == 0:
        raise RefusedFileError("holds no triangle; export the surface again")
    cells = vtk_to_numpy(data.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    _save(out, {}, points=vtk_to_numpy(data.GetPoints().GetData()), triangles=cells)


def _header(path: str, **kw: Any) -> Any:
    import pydicom

    return pydicom.dcmread(path, force=False, **kw)


def dicom(out: str, *paths: str) -> None:
    """Read one DICOM series, one multi-frame image or one segmentation."""
    import warnings

    warnings.simplefilter("ignore")
    first = _header(paths[0], stop_before_pixels=True)
    kind = str(first.get("SOPClassUID", ""))
    if kind in ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"):
        if len(paths) > 1:
            raise RefusedFileError(
                f"holds {len(paths)} files, one of them a segmentation; give that file itself"
            )
        return _segmentation(out, paths[0])
    if int(first.get("NumberOfFrames", 1) or 1) > 1:
        if len(paths) > 1:
            raise RefusedFileError(f"holds {len(paths)} files with many frames; give one file")
        return _frames(out, paths[0])
    return _series(out, paths)


def _volume_parts(volume: Any) -> tuple[Any, Any]:
    """Array and LPS affine of a highdicom volume, reordered to (column, row, slice)."""
    import numpy as np

    array = np.asarray(volume.array)
    affine = np.array(volume.affine, dtype=float)
    order = [2, 1, 0]
    return np.moveaxis(array, [0, 1, 2], order), affine[:, [*order, 3]]


def _refuse_size(data: Any) -> None:
    rows, columns = int(data.get("Rows", 0) or 0), int(data.get("Columns", 0) or 0)
    frames = int(data.get("NumberOfFrames", 1) or 1)
    if rows <= 0 or columns <= 0 or frames <= 0:
        raise RefusedFileError(
            f"has size {columns}×{rows}×{frames}, needs at least one voxel along each axis"
        )
    segments = max(1, len(data.get("SegmentSequence", []) or []))
    if rows * columns * frames * segments > MAX_VALUES:
        raise RefusedFileError(f"claims {columns}×{rows}×{frames} values, at most {MAX_VALUES:.0e} are read")


def _segmentation(out: str, path: str) -> None:
    import highdicom
    import numpy as np

    header = _header(path, stop_before_pixels=True)
    _refuse_size(header)
    if "FrameOfReferenceUID" not in header or header.get("ContainerIdentifier") is not None:
        raise RefusedFileError("is a segmentation of a slide, not of a body; give one of an MR or CT image")
    seg = highdicom.seg.segread(path)
    kind = str(seg.SegmentationType)
    numbers = [int(n) for n in seg.segment_numbers]
    if not numbers:
        raise RefusedFileError("names no segment; export the segmentation again")
    if kind == "FRACTIONAL":
        volume = seg.get_volume(combine_segments=False, rescale_fractional=True)
    else:
        volume = seg.get_volume(combine_segments=False)
    array, affine = _volume_parts(volume)
    if array.ndim == 3:
        array = array[..., None]
    names = {}
    for item in seg.SegmentSequence:
        number = int(item.SegmentNumber)
        kinds = item.get("SegmentedPropertyTypeCodeSequence") or []
        names[number] = [str(item.get("SegmentLabel", "")), str(kinds[0].CodeMeaning) if kinds else ""]
    kept = [n for n in numbers if not (kind == "LABELMAP" and n == 0)]
    columns = [numbers.index(n) for n in kept]
    masks = array[..., columns] >= 0.5
    meta = {"task": "segmentation", "numbers": kept, "names": [names.get(n, ["", ""]) for n in kept],
            "fractional": kind == "FRACTIONAL"}  # fmt: skip
    _save(out, meta, values=np.asarray(masks, dtype=np.uint8), affine=affine)


def _frames(out: str, path: str) -> None:
    import highdicom

    _refuse_size(_header(path, stop_before_pixels=True))
    volume = highdicom.imread(path).get_volume()
    array, affine = _volume_parts(volume)
    _save(out, {"task": "image", "echo_times_ms": []}, values=array.astype("float32"), affine=affine)


def _pixels(data: Any, path: str) -> Any:
    """Values (row, column) with the rescale applied."""
    import numpy as np

    syntax = data.file_meta.TransferSyntaxUID
    if syntax.is_compressed and not syntax.name.startswith("RLE"):
        import SimpleITK

        SimpleITK.ProcessObject.GlobalWarningDisplayOff()
        return np.asarray(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path))[0], dtype=float)
    values = np.asarray(data.pixel_array, dtype=float)
    return values * float(data.get("RescaleSlope", 1) or 1) + float(data.get("RescaleIntercept", 0) or 0)


def _series(out: str, paths: tuple[str, ...]) -> None:
    import numpy as np

    slices = [(_header(path), path) for path in paths]
    groups: dict[str, list[Any]] = {}
    for data, path in slices:
        groups.setdefault(str(data.get("SeriesInstanceUID", "")), []).append((data, path))
    if len(groups) > 1:
        counts = ", ".join(str(len(g)) for g in groups.values())
        raise RefusedFileError(f"holds {len(groups)} series (of {counts} images); give a folder with one")
    first = slices[0][0]
    _refuse_size(first)
    for key in ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"):
        for data, _ in slices:
            if data.get(key) is None:
                raise RefusedFileError(f"has no {key}, so its place in the body is not known")
    if int(first.get("SamplesPerPixel", 1) or 1) != 1:
        raise RefusedFileError("is a colour image; give an MR or CT series")
    iop = np.array(first.ImageOrientationPatient, dtype=float)
    spacing = np.array(first.PixelSpacing, dtype=float)
    normal = np.cross(iop[:3], iop[3:])
    rows, columns = int(first.Rows), int(first.Columns)
    if rows * columns * len(slices) > MAX_VALUES:
        raise RefusedFileError(
            f"claims {columns}×{rows}×{len(slices)} values, at most {MAX_VALUES:.0e} are read"
        )
    table = []
    for data, path in slices:
        if (int(data.Rows), int(data.Columns)) != (rows, columns) or not np.allclose(
            np.array(data.ImageOrientationPatient, dtype=float), iop, atol=1e-3
        ):
            raise RefusedFileError(
                "has images of different size or orientation; give a folder with one stack"
            )
        position = np.array(data.ImagePositionPatient, dtype=float)
        table.append((float(data.get("EchoTime", 0) or 0), float(position @ normal), position, data, path))
    echoes = sorted({row[0] for row in table})
    stacks = [sorted((row for row in table if row[0] == echo), key=lambda row: row[1]) for echo in echoes]
    if len({len(stack) for stack in stacks}) > 1:
        raise RefusedFileError("has a different number of slices for each echo; some images are missing")
    places = np.array([row[1] for row in stacks[0]])
    gaps = np.diff(places)
    if len(gaps) and (gaps.min() <= 0 or gaps.max() - gaps.min() > 0.02 + 0.01 * gaps.mean()):
        raise RefusedFileError(
            f"has slices {gaps.min():.3g} to {gaps.max():.3g} mm apart; some are missing or occur twice"
        )
    step = float(gaps.mean()) if len(gaps) else float(
        first.get("SpacingBetweenSlices", None) or first.get("SliceThickness", None) or 1.0
    )  # fmt: skip
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = iop[:3] * spacing[1], iop[3:] * spacing[0]
    start, end = stacks[0][0][2], stacks[0][-1][2]
    affine[:3, 2] = (end - start) / (len(places) - 1) if len(gaps) else normal * step
    affine[:3, 3] = start
    values = np.empty((columns, rows, len(places), len(stacks)), dtype=np.float32)
    for e, stack in enumerate(stacks):
        for k, row in enumerate(stack):
            values[:, :, k, e] = _pixels(row[3], row[4]).T
    if len(stacks) == 1:
        values = values[..., 0]
    meta = {"task": "image", "echo_times_ms": echoes if len(stacks) > 1 else []}
    _save(out, meta, values=values, affine=affine)


def main() -> None:
    """Run one task under bounds of memory and time."""
    import resource

    task, out, memory, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def hook(kind: type[BaseException], value: BaseException, trace: Any) -> None:
        text = " ".join(str(value).split())[:160]
        if not isinstance(value, RefusedFileError):
            text = f"cannot be read ({kind.__name__}{': ' + text if text else ''}); export it again"
        with open(os.path.join(out, "error.txt"), "w", encoding="utf-8") as stream:
            stream.write(text)

    sys.excepthook = hook
    tasks: dict[str, Any] = {"vtk_surface": vtk_surface, "dicom": dicom}
    tasks[task](out, *sys.argv[5:])


if __name__ == "__main__":
    main()
