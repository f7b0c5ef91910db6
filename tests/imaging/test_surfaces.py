from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import pyvista
import trimesh

from injectplan.errors import FileError, UnitsError, UsageError
from injectplan.imaging.meshes import read_mesh
from injectplan.imaging.surfaces import read_surface, read_surfaces, write_surface
from injectplan.imaging.units import extents, mm_per_unit
from injectplan.imaging.values import Surface
from injectplan.imaging.vtp import read_vtp
from oracles_imaging import tetrahedron, write_text_ply, write_text_stl


def ellipsoid(length: float, n: int = 24) -> Surface:
    """A closed surface as long as given along x, half as wide."""
    ball = trimesh.creation.icosphere(3)
    vertices = np.asarray(ball.vertices) * [length / 2, length / 6, length / 8]
    return Surface(vertices, np.asarray(ball.faces))


@pytest.mark.parametrize("suffix", ["stl", "ply", "glb", "vtp"])
def test_surfaces_go_there_and_back(tmp_path: Path, suffix: str) -> None:
    given = ellipsoid(440.0)
    path = tmp_path / f"femur.{suffix}"
    write_surface(path, given)
    back = read_surface(path, units="mm", structure="femur")
    assert back.closed
    assert back.manifold
    assert len(back.vertices_mm) == len(given.vertices_mm)
    assert back.volume_ml == pytest.approx(given.volume_ml, rel=1e-6)
    assert np.abs(np.sort(back.vertices_mm, axis=0) - np.sort(given.vertices_mm, axis=0)).max() < 1e-4


def test_others_read_what_we_write(tmp_path: Path) -> None:
    given = ellipsoid(100.0)
    volume = given.volume_ml * 1000
    for suffix in ("stl", "ply"):
        write_surface(tmp_path / f"x.{suffix}", given)
        assert trimesh.load_mesh(tmp_path / f"x.{suffix}").volume == pytest.approx(volume, rel=1e-5)
    write_surface(tmp_path / "x.glb", given, color=(255, 0, 0))
    scene = trimesh.load(tmp_path / "x.glb").to_mesh()
    assert scene.volume == pytest.approx(volume * 1e-9, rel=1e-5), "glTF is in metres"
    assert np.ptp(scene.vertices[:, 1]) == pytest.approx(np.ptp(given.vertices_mm[:, 2]) / 1000, rel=1e-5), (
        "y up"
    )
    heat = np.arange(len(given.vertices_mm), dtype=np.float64)
    write_surface(tmp_path / "x.vtp", given, {"heat": heat, "normal": given.vertex_normals})
    mesh = pyvista.read(tmp_path / "x.vtp")
    assert mesh.volume == pytest.approx(volume, rel=1e-6)
    assert np.array_equal(mesh["heat"], heat)
    assert mesh["normal"].shape == (len(heat), 3)


@pytest.mark.parametrize("suffix", ["stl", "ply", "obj", "vtk", "vtp"])
def test_we_read_what_others_write(tmp_path: Path, suffix: str) -> None:
    given = ellipsoid(100.0)
    faces = np.column_stack([np.full(len(given.triangles), 3), given.triangles]).ravel()
    mesh = pyvista.PolyData(given.vertices_mm, faces)
    for binary in (True, False):
        path = tmp_path / f"x.{suffix}"
        if suffix == "obj":
            trimesh.Trimesh(given.vertices_mm, given.triangles).export(path)
        else:
            mesh.save(path, binary=binary)
        back = Surface(*read_mesh(path))
        assert back.volume_ml == pytest.approx(given.volume_ml, rel=1e-4)
        assert back.closed


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("encoded", [0, 1])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("bits", [32, 64])
def test_every_way_vtk_writes_vtp(tmp_path: Path, mode: int, encoded: int, packed: bool, bits: int) -> None:
    from vtkmodules.vtkIOXML import vtkXMLPolyDataWriter

    sphere = pyvista.Sphere(theta_resolution=20, phi_resolution=20)
    writer = vtkXMLPolyDataWriter()
    writer.SetFileName(str(tmp_path / "x.vtp"))
    writer.SetInputData(sphere)
    writer.SetDataMode(mode)
    writer.SetEncodeAppendedData(encoded)
    writer.SetHeaderType(bits)
    writer.SetBlockSize(2400)  # several blocks an array
    if packed:
        writer.SetCompressorTypeToZLib()
    else:
        writer.SetCompressorTypeToNone()
    writer.Write()
    found = read_vtp(tmp_path / "x.vtp")
    assert found is not None, "our own reader takes it"
    points, triangles, arrays = found
    assert np.allclose(points, sphere.points, atol=1e-6)
    assert np.array_equal(triangles, sphere.regular_faces)
    assert np.allclose(arrays["Normals"], sphere["Normals"], atol=1e-5)


def test_vtp_that_only_vtk_reads_goes_to_vtk(tmp_path: Path) -> None:
    cube = pyvista.Cube()  # quadrilaterals
    cube.clear_data()
    cube.save(tmp_path / "cube.vtp")
    assert read_vtp(tmp_path / "cube.vtp") is None
    assert abs(Surface(*read_mesh(tmp_path / "cube.vtp")).volume_ml) == pytest.approx(1e-3)


def test_text_formats_and_polygons(tmp_path: Path) -> None:
    vertices, triangles = tetrahedron(10.0)
    write_text_stl(tmp_path / "x.stl", vertices, triangles)
    write_text_ply(tmp_path / "x.ply", vertices, triangles)
    for name in ("x.stl", "x.ply"):
        assert Surface(*read_mesh(tmp_path / name)).volume_ml == pytest.approx(1000 / 6000)
    (tmp_path / "cube.obj").write_text(
        "".join(f"v {x} {y} {z}\n" for x in (0, 1) for y in (0, 1) for z in (0, 1))
        + "f 1 2 4 3\nf 5 7 8 6\nf 1 5 6 2\nf 3 4 8 7\nf -8 -6 -2 -4\nf 2//1 6//1 8//1 4//1\n"
    )
    cube = Surface(*read_mesh(tmp_path / "cube.obj"))
    assert cube.closed
    assert abs(cube.volume_ml) == pytest.approx(1e-3)


def test_lps_is_a_half_turn_that_keeps_the_outside_outside(tmp_path: Path) -> None:
    given = ellipsoid(440.0)
    shifted = Surface(given.vertices_mm + np.array([10, 20, 30]), given.triangles)
    write_surface(tmp_path / "femur.ply", shifted)
    back = read_surface(tmp_path / "femur.ply", frame="LPS")
    assert np.allclose(back.vertices_mm, shifted.vertices_mm * [-1, -1, 1])
    assert back.volume_ml == pytest.approx(given.volume_ml)
    with pytest.raises(UsageError, match="frame is 'LAS'"):
        read_surface(tmp_path / "femur.ply", frame="LAS")


@pytest.mark.parametrize(("scale", "found"), [(1.0, 1.0), (0.001, 1000.0), (0.1, 10.0), (0.005, 200.0)])
def test_units_are_recognised_from_the_bone(tmp_path: Path, scale: float, found: float) -> None:
    files = {}
    for name, length in (("femur", 445.0), ("tibia", 370.0)):
        surface = ellipsoid(length)
        write_surface(tmp_path / f"{name}.ply", Surface(surface.vertices_mm * scale, surface.triangles))
        files[name] = tmp_path / f"{name}.ply"
    result = read_surfaces(files)
    assert result.mm_per_unit == pytest.approx(found, rel=1e-3)
    assert extents(result.surfaces["femur"].vertices_mm)[0] == pytest.approx(445.0, rel=1e-3)
    code = "units-assumed" if found == 200.0 else "units-recognised"
    assert [n.code for n in result.notices] == [code]
    assert read_surfaces(files, units=found).mm_per_unit == found


def test_implausible_units_are_refused(tmp_path: Path) -> None:
    metres = {"femur": ellipsoid(0.445).vertices_mm}
    with pytest.raises(UnitsError, match=r"femur is 0.445 mm long in units 'mm', must be 40 to 580 mm; give"):
        mm_per_unit(metres, "mm")
    with pytest.raises(UnitsError, match=r"femur is 4.45e.05 mm long"):
        mm_per_unit({"femur": ellipsoid(445.0).vertices_mm}, "m")
    with pytest.raises(UnitsError, match="units 'parsec' are not known"):
        mm_per_unit(metres, "parsec")
    for units in (0.0, -1.0, np.nan):
        with pytest.raises(UnitsError, match="are not known"):
            mm_per_unit(metres, units)
    with pytest.raises(UnitsError, match="no unit fits both"):
        mm_per_unit({"femur": ellipsoid(445.0).vertices_mm, "tibia": ellipsoid(0.37).vertices_mm})
    assert mm_per_unit(metres, "1000")[0] == 1000.0


def test_a_scan_shows_only_part_of_a_bone() -> None:
    assert mm_per_unit({"femur": ellipsoid(80.0).vertices_mm, "tibia": ellipsoid(70.0).vertices_mm})[0] == 1.0


def stl(count: int, floats: list[float]) -> bytes:
    body = b"".join(struct.pack("<12fH", *([0.0] * 3 + floats), 0) for _ in range(1))
    return bytes(80) + struct.pack("<I", count) + body


GOOD = [0.0, 0, 0, 30, 0, 0, 0, 30, 0]
VTP = '<VTKFile type="PolyData"><PolyData><Piece NumberOfPoints="1000000000000" NumberOfPolys="1"><Points>'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.stl", stl(2, GOOD), "claims 2 triangles"),
        ("x.stl", stl(1, GOOD)[:100], "claims 1 triangles"),
        ("x.stl", b"solid x\nfacet normal 0 0 0\nouter loop\nvertex 1 2 3\n", "does not end with endsolid"),
        ("x.stl", stl(1, [np.nan, *GOOD[1:]]), "vertices are not finite"),
        ("x.stl", bytes(84), "holds 0 vertices, 0 triangles"),
        ("x.stl", b"", "is empty"),
        (
            "x.ply",
            b"ply\nformat ascii 1.0\nelement vertex 99999999999\nproperty float x\nend_header\n1",
            "claims",
        ),
        ("x.ply", b"plx", "is not PLY"),
        ("x.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "a triangle names vertex 8, there are 3"),
        ("x.obj", b"v 0 0 zero\n", "damaged .obj file"),
        ("x.glb", b"glTF" + bytes(40), "is not GLB version 2"),
        ("x.vtk", b"# vtk DataFile Version 3.0\nx\nASCII\nDATASET UNSTRUCTURED_GRID\n", "no polygon surface"),
        ("x.vtp", VTP.encode(), "is damaged XML"),
        ("x.vtp", b"<!DOCTYPE x [<!ENTITY a 'b'>]><VTKFile/>", "declares XML entities"),
        ("x.step", b"hello", "no known surface format"),
    ],
)
def test_bad_surfaces_are_refused_by_name(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FileError, match=message) as caught:
        read_surface(path)
    assert "\n" not in str(caught.value)


def test_glb_that_claims_more_than_it_holds(tmp_path: Path) -> None:
    write_surface(tmp_path / "x.glb", ellipsoid(100.0))
    data = (tmp_path / "x.glb").read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    document = json.loads(data[20 : 20 + length])
    document["accessors"][1]["count"] = 10**12
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sII", b"glTF", 2, len(data) - length + len(text))
    (tmp_path / "y.glb").write_bytes(
        head + struct.pack("<I4s", len(text), b"JSON") + text + data[20 + length :]
    )
    with pytest.raises(FileError, match="truncated within its buffer"):
        read_mesh(tmp_path / "y.glb")
