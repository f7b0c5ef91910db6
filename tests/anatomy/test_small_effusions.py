"""A hip or an ankle whose fluid was segmented: the cavity holds it beside a normal joint's folds."""

from __future__ import annotations

import pytest

from injectplan.anatomy.build import build_joint
from injectplan.anatomy.model import Subject
from injectplan.anatomy.threeways import volumes
from injectplan.kernels.bvh import contains, nearest_points
from injectplan.phantoms import make_phantom


@pytest.mark.parametrize(("kind", "effusion_ml", "resting_ml"), [("hip", 6.0, 4.0), ("ankle", 5.0, 2.0)])
def test_the_cavity_holds_the_fluid_and_the_folds(kind, effusion_ml, resting_ml):
    phantom = make_phantom(kind, {"spacing_mm": 1.2, "slice_mm": 1.2, "effusion_ml": effusion_ml})
    joint = build_joint(phantom.labelmap, kind=kind, side=phantom.side, subject=Subject(bmi=25.0))
    cavity = joint.cavity
    held = joint.structures["synovial_fluid"].surface.volume_ml
    # the ankle's fluid takes the place of its front fold, which holds most of a normal joint's
    least = held + (0.8 if kind == "hip" else 0.2) * resting_ml
    assert least < cavity.resting_volume_ml < effusion_ml + 1.15 * resting_ml
    found = volumes(cavity.surface)
    assert found.voxel_ml == pytest.approx(found.mesh_ml, rel=0.005)
    assert found.ray_ml == pytest.approx(found.mesh_ml, rel=0.005)
    fluid = joint.structures["synovial_fluid"].surface.vertices_mm[::3]
    outside = fluid[~contains(cavity.surface.bvh, fluid)]
    away = nearest_points(cavity.surface.bvh, outside)[0]
    assert (away > 1.0).sum() < 0.02 * len(fluid)  # over the talar neck too, beyond where a fold would end
