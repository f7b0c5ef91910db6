"""Surfaces of structures, read from STL, PLY, OBJ, VTK, VTP and GLB into RAS mm, and written back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from injectplan.errors import UsageError
from injectplan.files import atomic_file
from injectplan.frames import flip_lps_ras
from injectplan.imaging.meshes import read_mesh, write_glb, write_ply, write_stl
from injectplan.imaging.units import Units, mm_per_unit
from injectplan.imaging.values import Surface
from injectplan.imaging.vtp import write_vtp
from injectplan.measure import Notice


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SurfaceSet:
    """Surfaces of one frame, RAS mm, with the unit that was found and what is worth a warning."""

    surfaces: Mapping[str, Surface]
    mm_per_unit: float
    notices: tuple[Notice, ...] = ()


def read_surfaces(files: Mapping[str, str | Path], units: Units = "auto", frame: str = "RAS") -> SurfaceSet:
    """Read the surfaces of structures that share one frame and one unit.

    files : structure → file.  units : "auto", "mm", "cm", "m" or millimetres a unit.  frame : "RAS" or "LPS".
    Raises FileError, UnitsError (implausible size), UsageError (unknown frame).
    """
    if frame not in ("RAS", "LPS"):
        raise UsageError(f"frame is '{frame}', needs RAS or LPS")
    meshes = {name: read_mesh(path) for name, path in files.items()}
    scale, notices = mm_per_unit({name: mesh[0] for name, mesh in meshes.items()}, units)
    surfaces = {}
    for name, (vertices, triangles) in meshes.items():
        where = vertices * scale
        surfaces[name] = Surface(flip_lps_ras(where) if frame == "LPS" else where, triangles)
    return SurfaceSet(surfaces=surfaces, mm_per_unit=scale, notices=notices)


def read_surface(
    path: str | Path, units: Units = "auto", frame: str = "RAS", structure: str | None = None
) -> Surface:
    """Read one surface; `structure` lets "auto" tell its unit from how long that bone is."""
    name = structure or Path(path).stem
    return read_surfaces({name: path}, units, frame).surfaces[name]


def write_surface(
    path: str | Path,
    surface: Surface,
    point_data: Mapping[str, npt.NDArray[Any]] | None = None,
    color: tuple[int, int, int] = (200, 200, 200),
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write a surface in RAS mm as .vtp, .stl, .ply or .glb (metres, y up).

    point_data, notes : arrays on its vertices and short texts about it, in a .vtp.
    """
    path = Path(path)
    vertices, triangles = surface.vertices_mm, surface.triangles
    with atomic_file(path) as part:
        match path.suffix.lower():
            case ".vtp":
                write_vtp(part, vertices, triangles, point_data, notes)
            case ".stl":
                write_stl(part, vertices, triangles)
            case ".ply":
                write_ply(part, vertices, triangles)
            case ".glb":
                write_glb(part, vertices, triangles, color)
            case _:
                raise UsageError(f"{path}: surfaces are written as .vtp, .stl, .ply or .glb; rename it")
