"""Bones of real legs lie together; a model's, each in a frame of its own, do not."""

from __future__ import annotations

import pytest

from injectplan import imaging
from injectplan.anatomy import apart, build_joint
from injectplan.anatomy.build import structures_of_surfaces
from injectplan.errors import ContradictionError

LEG = {"femur": "femur", "tibia": "tibia", "patella": "patella", "fibula": "fibula", "talus": "talus"}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("source", ["leg_vsd_z027", "atlas_bodyparts3d"])
def test_two_legs_of_a_scan_and_two_of_an_atlas_lie_together(real_data, source, side):
    if source == "leg_vsd_z027":
        paths = {n: real_data / source / f"{f}_{side[0]}.ply" for n, f in {**LEG, "hip_bone": "hip"}.items()}
        given = imaging.read_surfaces(paths, frame="LPS").surfaces
    else:
        names = {**LEG, "hip_bone": "hip_bone"}
        paths = {n: next((real_data / source).glob(f"{n}_{side[0]}__*.obj")) for n in names}
        given = imaging.read_surfaces(paths, units=200.0, frame="LPS").surfaces
    closed = {n: s.surface for n, s in structures_of_surfaces(given).items()}
    assert apart(closed) == ""


@pytest.mark.parametrize(
    ("kind", "names", "told"),
    [
        ("ankle", ("tibia", "talus", "fibula"), "the talus lies at the tibia's upper end .68 mm wide"),
        ("ankle", ("tibia", "talus"), "the talus lies at the tibia's upper end .68 mm wide"),
        (
            "knee",
            ("femur", "tibia", "patella", "fibula"),
            "femur and tibia lie 1[0-9] mm deep in one another",
        ),
        ("hip", ("hip_bone", "femur"), "hip_bone and femur lie [4-7] mm deep in one another"),
    ],
)
def test_a_model_s_bones_each_in_its_own_frame_are_refused_with_that_reason(real_data, kind, names, told):
    files = {"hip_bone": "pelvis"}
    paths = {n: real_data / "leg_myo_sim" / f"r_{files.get(n, n)}.stl" for n in names}
    given = imaging.read_surfaces(paths).surfaces
    for side in ("left", "right"):
        with pytest.raises(ContradictionError, match=f"{told}.*a frame of its own; put them together"):
            build_joint(given, kind=kind, side=side, completion="none")
