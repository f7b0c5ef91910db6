"""Real legs and what a scan may do to them: rough surfaces, voxels, cuts. Shared by the real-bone tests."""

import functools

import numpy as np
import pyvista as pv
from vtkmodules.vtkImagingStencil import vtkImageStencilToImage, vtkPolyDataToImageStencil

from injectplan.frames import flip_lps_ras
from injectplan.imaging.values import Surface


@functools.cache
def read(path, scale=1.0, lps=True):
    """A surface file in RAS mm."""
    mesh = pv.read(path).triangulate()
    points = np.asarray(mesh.points, float) * scale
    return Surface(flip_lps_ras(points) if lps else points, mesh.faces.reshape(-1, 4)[:, 1:])


def ct_leg(data, side, names=("femur", "tibia")):
    """Bones of one CT leg."""
    folder = data / "leg_vsd_z027"
    return {n: read(folder / f"{n}_{side[0]}.ply") for n in names}


def ct_pelvis(data, side):
    """Both hip bones of the CT body, this leg's first."""
    other = "left" if side == "right" else "right"
    names = {"hip_bone": side, "opposite_hip_bone": other}
    return {n: read(data / "leg_vsd_z027" / f"hip_{s[0]}.ply") for n, s in names.items()}


def atlas_leg(data, side, names=("femur", "tibia")):
    """Bones of one leg of the atlas: decimated, with open edges."""
    folder = data / "atlas_bodyparts3d"
    return {n: read(next(folder.glob(f"{n}_{side[0]}__*.obj")), 200.0) for n in names}


def mesh_of(surface):
    """The surface as pyvista's mesh."""
    return pv.PolyData.from_regular_faces(np.array(surface.vertices_mm), np.array(surface.triangles))


def surface_of(mesh):
    """pyvista's mesh as a surface."""
    return Surface(np.asarray(mesh.points, float), mesh.faces.reshape(-1, 4)[:, 1:])


def rough(surface, rng, sd_mm=1.0, reach_mm=8.0):
    """The surface moved along its normals by a smooth random field of this scatter and correlation length.

    A sum of plane waves whose wave vectors are normal: its covariance is sd² exp(−d²/(2 reach²)).
    """
    wave = rng.standard_normal((300, 3)) / reach_mm
    phase = rng.uniform(0.0, 2.0 * np.pi, 300)
    field = sd_mm * np.sqrt(2.0 / 300.0) * np.cos(surface.vertices_mm @ wave.T + phase).sum(axis=1)
    return Surface(surface.vertices_mm + field[:, None] * surface.vertex_normals, surface.triangles)


def white(surface, rng, sd_mm=0.5):
    """Every vertex moved on its own."""
    return Surface(
        surface.vertices_mm + sd_mm * rng.standard_normal(surface.vertices_mm.shape), surface.triangles
    )


def voxelised(surfaces, spacing_mm, shift=0.0):
    """One label on a grid for these surfaces together, and its staircase surface (marching cubes of 0 and 1).

    shift : where the grid starts, as a share of a voxel.
    """
    spacing = np.asarray(spacing_mm, float)
    points = np.concatenate([s.vertices_mm for s in surfaces])
    low = points.min(axis=0) - (3.0 + shift) * spacing
    size = np.ceil((points.max(axis=0) + 3.0 * spacing - low) / spacing).astype(int) + 1
    image = pv.ImageData(dimensions=size, spacing=spacing, origin=low)
    inside = np.zeros(image.n_points, dtype=np.uint8)
    for surface in surfaces:
        stencil = vtkPolyDataToImageStencil()
        stencil.SetInputData(mesh_of(surface))
        stencil.SetOutputOrigin(low)
        stencil.SetOutputSpacing(spacing)
        stencil.SetOutputWholeExtent(image.GetExtent())
        filled = vtkImageStencilToImage()
        filled.SetInputConnection(stencil.GetOutputPort())
        filled.SetInsideValue(1)
        filled.SetOutputScalarTypeToUnsignedChar()
        filled.Update()
        inside |= np.asarray(pv.wrap(filled.GetOutput()).active_scalars)
    image["label"] = inside
    return surface_of(image.contour([0.5], scalars="label", method="flying_edges"))


def shuffled(surface, seed):
    """The surface with its vertices and its triangles in another order, each begun at another corner."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(surface.vertices_mm))
    triangles = np.argsort(order)[surface.triangles][rng.permutation(len(surface.triangles))]
    return Surface(surface.vertices_mm[order], np.roll(triangles, 1, axis=1))


def cut(surface, origin, normal):
    """The part of the surface on the side the normal points to: an open mesh."""
    return surface_of(mesh_of(surface).clip(normal=normal, origin=origin, invert=False).triangulate())


def turn(axis, degrees):
    """Rotation matrices about an axis by Rodrigues; degrees may be an array."""
    axis = np.asarray(axis) / np.linalg.norm(axis)
    angle = np.radians(np.asarray(degrees, float))[..., None, None]
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k)
