"""A phantom's effusion: as much as was asked for, round, and nowhere in bone."""

from __future__ import annotations

import numpy as np
import pytest

from injectplan.kernels.bvh import signed_distances
from injectplan.phantoms import make_phantom
from injectplan.phantoms.effusion import bulge_order

BONES = {"knee": ("femur", "tibia", "patella"), "hip": ("femur", "hip_bone"), "ankle": ("tibia", "talus")}


def plane(half_mm: float, high_mm: float, step_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Points over a flat bone: distance from the middle of the outline, and height."""
    line = np.arange(-half_mm, half_mm, step_mm) + 0.5 * step_mm
    x, y, z = np.meshgrid(line, line, np.arange(0.0, high_mm, step_mm) + 0.5 * step_mm, indexing="ij")
    return np.hypot(x, y).ravel(), z.ravel()


def test_a_bulge_on_a_flat_bone_is_half_an_ellipsoid():
    radius, thick, step = 12.0, 7.0, 0.25
    r, z = plane(radius + 1.0, thick + 1.0, step)
    order = bulge_order(z, radius - r, radius, 0.0)
    volume = float((order <= thick).sum()) * step**3
    assert volume == pytest.approx(2.0 / 3.0 * np.pi * radius**2 * thick, rel=2e-3)


def test_a_bulge_that_spreads_is_the_ellipsoid_of_its_grown_outline():
    radius, thick, spread = 12.0, 6.0, 0.5
    r, z = plane(radius + 5.0, thick + 1.0, 0.5)
    order = bulge_order(z, radius - r, radius, spread)
    # inside of the outline's grown edge its shoulder is as wide as before
    share = np.sqrt(1.0 - np.clip(1.0 - np.clip((radius - r + spread * thick) / radius, 0, 1), 0, 1) ** 2)
    clear = np.abs(z - thick * share) > 0.05
    assert ((order <= thick) == (z <= thick * share))[clear].all()
    assert np.isinf(bulge_order(np.ones(1), np.array([-500.0]), radius, spread)).all()


@pytest.mark.parametrize("kind", BONES)
@pytest.mark.parametrize("asked_ml", [10.0, 20.0, 40.0, 60.0])
def test_every_joint_takes_its_volume_outside_of_its_bones(kind, asked_ml):
    phantom = make_phantom(kind, {"spacing_mm": 1.4, "slice_mm": 1.4, "effusion_ml": asked_ml})
    fluid = phantom.labelmap.mask("synovial_fluid")
    held = float(fluid.sum()) * phantom.labelmap.voxel_volume_mm3 / 1000.0
    truth = phantom.truth["effusion_ml"]
    assert held == pytest.approx(truth["value"])
    assert held == pytest.approx(asked_ml, rel=0.01)
    points = phantom.labelmap.to_patient(np.argwhere(fluid))
    for bone in BONES[kind]:
        assert signed_distances(phantom.surfaces[bone].bvh, points).min() > -0.1, bone
    most = {"knee": 1e3, "hip": 20.0, "ankle": 15.0}[kind]
    assert ("over-distended" in truth["formula"]) == (asked_ml > most)
    # no face of the view cuts it off
    border = [fluid.take(i, axis).any() for axis in range(3) for i in (0, -1)]
    assert not any(border)


@pytest.mark.parametrize("kind", BONES)
def test_more_fluid_holds_less_within_it(kind):
    given = {"spacing_mm": 1.4, "slice_mm": 1.4}
    less, more = (make_phantom(kind, {**given, "effusion_ml": v}).labelmap for v in (8.0, 40.0))
    points = less.to_patient(np.argwhere(less.mask("synovial_fluid")))
    index = np.rint((points - more.affine[:3, 3]) @ np.linalg.inv(more.affine[:3, :3]).T).astype(int)
    assert more.mask("synovial_fluid")[tuple(index.T)].mean() > 0.97
