"""Label maps of thick slices, faired: their terraces are no cuts, and tell their slices; cuts stay cuts."""

import numpy as np
import pytest

from injectplan.alignment.bones import prepare
from injectplan.alignment.femur import measure_femur
from injectplan.alignment.rescans import find_slices
from injectplan.errors import LandmarkError
from real_legs import atlas_leg, ct_leg, mesh_of, rough, surface_of, voxelised

pytestmark = pytest.mark.real


def laplace(surface, passes):
    return surface_of(mesh_of(surface).smooth(n_iter=passes, relaxation_factor=0.1))


def taubin(surface, passes, band=0.05):
    return surface_of(mesh_of(surface).smooth_taubin(n_iter=passes, pass_band=band))


FAIRINGS = {
    "as it is": lambda s: s,
    "Taubin 15": lambda s: taubin(s, 15, 0.1),
    "Taubin 25": lambda s: taubin(s, 25),
    "Laplace 30": lambda s: laplace(s, 30),
    "Laplace 50": lambda s: laplace(s, 50),
}


@pytest.mark.parametrize("slice_mm", [2.0, 3.0])
@pytest.mark.parametrize("side", ["left", "right"])
def test_terraces_of_a_faired_label_map_are_no_cuts(real_data, side, slice_mm):
    femur = ct_leg(real_data, side, ("femur",))["femur"]
    for shift in (0.0, 0.25):
        label = voxelised([femur], (1.0, 1.0, slice_mm), shift)
        for name in ("as it is", "Taubin 15", "Laplace 50"):
            bone = prepare(FAIRINGS[name](label), "femur")
            assert bone.cap is None, (shift, name)
            assert measure_femur(bone).head is not None, (shift, name)


@pytest.mark.parametrize("depth_mm", [2.0, 4.0, 8.0])
@pytest.mark.parametrize("side", ["left", "right"])
def test_condyles_cut_by_a_closed_face_are_refused_smoothed_or_not(real_data, side, depth_mm):
    femur = ct_leg(real_data, side, ("femur",))["femur"]
    at = (0.0, 0.0, femur.vertices_mm[:, 2].min() + depth_mm)
    short = surface_of(mesh_of(femur).clip_closed_surface(normal=(0, 0, 1), origin=at).triangulate())
    copies = [FAIRINGS[name](short) for name in ("as it is", "Taubin 15", "Laplace 30")]
    if depth_mm >= 8.0:  # less than two slices off a label map are not to be told from its last slice
        label = voxelised([short], (1.0, 1.0, 3.0), 0.2)
        copies += [fairing(label) for fairing in FAIRINGS.values()]
    for copy in copies:
        with pytest.raises(LandmarkError, match="cut by the scan's edge"):
            measure_femur(prepare(copy, "femur"))


@pytest.mark.parametrize("name", ["femur", "tibia"])
def test_faired_slices_are_read_and_smooth_bones_show_none(real_data, name):
    rng = np.random.default_rng(5)
    for side in ("left", "right"):
        bone = ct_leg(real_data, side, (name,))[name]
        smooth = [
            bone, atlas_leg(real_data, side, (name,))[name], surface_of(mesh_of(bone).decimate(0.93)),
            surface_of(mesh_of(bone).decimate_pro(0.75)), surface_of(mesh_of(bone).subdivide(1, "linear")),
            laplace(rough(bone, rng, 0.35, 5.0), 15),
        ]  # fmt: skip
        for number, surface in enumerate(smooth):
            assert find_slices(prepare(surface, name)) is None, number
        for slice_mm in (1.25, 3.0):
            label = voxelised([bone], (0.8, 0.8, slice_mm), 0.4)
            for fairing in ("Taubin 25", "Laplace 30"):
                grid = find_slices(prepare(FAIRINGS[fairing](label), name))
                assert grid is not None, (slice_mm, fairing)
                assert grid.spacing_mm[2] == pytest.approx(slice_mm, rel=0.05)
