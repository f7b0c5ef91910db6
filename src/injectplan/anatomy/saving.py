"""Writing a joint as a folder: whole for `store.load_joint`, and in the forms that other programs read."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
from vtkmodules.vtkIOXML import vtkXMLPolyDataWriter

from injectplan.anatomy.cartilage import thickness_volume
from injectplan.anatomy.measures import model_document
from injectplan.anatomy.model import JointModel
from injectplan.anatomy.store import ARRAYS, HASHES, write_arrays
from injectplan.anatomy.surfaces import mask_of_surface
from injectplan.documents import to_json
from injectplan.errors import FileError
from injectplan.files import sha256
from injectplan.imaging.values import Surface, Volume
from injectplan.imaging.volumes import write_labelmap, write_volume
from injectplan.kernels.cast import Array

WRITERS = 2  # files written at a time


def write_vtp(path: Path, surface: Surface, values: Mapping[str, Array] | None = None) -> None:
    """Write a surface as VTK XML (raw, float32 points) with arrays over its vertices; RAS mm."""
    points = vtkPoints()
    points.SetData(numpy_to_vtk(surface.vertices_mm.astype(np.float32), deep=True))
    cells = vtkCellArray()
    offsets = np.arange(0, 3 * len(surface.triangles) + 1, 3, dtype=np.int64)
    flat = surface.triangles.astype(np.int64).ravel()
    cells.SetData(numpy_to_vtkIdTypeArray(offsets, deep=True), numpy_to_vtkIdTypeArray(flat, deep=True))
    cells.ConvertTo32BitStorage()
    data = vtkPolyData()
    data.SetPoints(points)
    data.SetPolys(cells)
    for name, array in (values or {}).items():
        column = numpy_to_vtk(np.ascontiguousarray(array), deep=True)
        column.SetName(name)
        data.GetPointData().AddArray(column)
    writer = vtkXMLPolyDataWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(data)
    writer.SetDataModeToAppended()
    writer.EncodeAppendedDataOff()
    writer.SetCompressorTypeToNone()
    writer.SetHeaderTypeToUInt64()
    if not writer.Write():
        raise FileError(f"{path.name}: cannot be written; is the disk full?")


def _surface_values(joint: JointModel, bone: str) -> dict[str, Array]:
    """What is known over a bone's vertices: thickness, state and region of each cartilage on it."""
    values: dict[str, Array] = {}
    for name, measured in joint.cartilage.items():
        if measured.bone == bone:
            values[f"{name}_thickness_mm"] = measured.thickness_mm.astype(np.float32)
            values[f"{name}_state"] = measured.state
            values[f"{name}_region"] = measured.region
    return values


def _write_thickness(folder: Path, joint: JointModel) -> None:
    affine = joint.labels.affine if joint.input_affine is None else joint.input_affine
    shape = joint.labels.labels.shape if joint.input_shape is None else joint.input_shape

    def write(name: str) -> None:
        measured = joint.cartilage[name]
        mask = mask_of_surface(joint.structures[name].surface, affine, shape)
        values = thickness_volume(measured, joint.structures[measured.bone].surface, mask, affine)
        write_volume(folder / f"thickness_{name}.nii.gz", Volume(affine=affine, values=values))

    # most of the time goes into compression, which lets other threads run
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, joint.cartilage))


def save_joint(joint: JointModel, folder: str | Path, *, document: Mapping[str, Any] | None = None) -> None:
    """Write a joint into an existing folder: `model.json` and all that `load_joint` and others read.

    document : what model.json is to hold; None makes it.  The same joint gives the same bytes.
    """
    folder = Path(folder)
    (folder / "surfaces").mkdir(exist_ok=True)
    write_arrays(folder / ARRAYS, joint)
    for name, solid in joint.structures.items():
        write_vtp(folder / "surfaces" / f"{name}.vtp", solid.surface, _surface_values(joint, name))
    write_vtp(folder / "surfaces" / "joint_cavity.vtp", joint.cavity.surface)
    write_labelmap(folder / "labels.nrrd", joint.labels)
    _write_thickness(folder, joint)
    written = [ARRAYS, "labels.nrrd", *(f"thickness_{name}.nii.gz" for name in joint.cartilage)]
    written += sorted(f"surfaces/{p.name}" for p in (folder / "surfaces").glob("*.vtp"))
    hashes = "".join(f"{sha256(folder / name)}  {name}\n" for name in written)
    (folder / HASHES).write_text(hashes + f"{len(written)} files\n", encoding="utf-8")
    (folder / "model.json").write_text(to_json(document or model_document(joint)), encoding="utf-8")
