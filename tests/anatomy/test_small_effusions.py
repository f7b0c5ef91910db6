"""A hip or an ankle whose fluid was segmented: the cavity holds it beside a normal joint's folds."""

from __future__ import annotations

import numpy as np
import pytest

from injectplan.anatomy.build import build_joint
from injectplan.anatomy.measures import model_document
from injectplan.anatomy.model import Subject
from injectplan.anatomy.threeways import volumes
from injectplan.imaging.values import LabelMap
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
    # what was seen and what was added are told apart; the capsule around them nobody saw
    assert cavity.source == joint.structures["joint_cavity"].source == "segmented"
    assert joint.structures["joint_capsule"].source == "completed"
    assert cavity.segmented_ml == pytest.approx(held, rel=0.05)
    document = model_document(joint)["cavity"]
    parts = document["segmented_volume_ml"] + document["completed_volume_ml"]
    assert parts == pytest.approx(cavity.resting_volume_ml)
    assert document["labelled_volume_ml"] == pytest.approx(cavity.resting_volume_ml, rel=0.03)
    assert "fluid-apart" not in {n.code for n in joint.notices}
    found = volumes(cavity.surface)
    assert found.voxel_ml == pytest.approx(found.mesh_ml, rel=0.005)
    assert found.ray_ml == pytest.approx(found.mesh_ml, rel=0.005)
    fluid = joint.structures["synovial_fluid"].surface.vertices_mm[::3]
    outside = fluid[~contains(cavity.surface.bvh, fluid)]
    away = nearest_points(cavity.surface.bvh, outside)[0]
    assert (away > 1.0).sum() < 0.02 * len(fluid)  # over the talar neck too, beyond where a fold would end


def test_fluid_that_touches_nothing_of_the_joint_is_said():
    """A cyst of 0.9 mL drawn 30 mm behind an ankle as fluid: no part of the cavity, and it says so."""
    phantom = make_phantom("ankle", {"spacing_mm": 1.2, "slice_mm": 1.2, "effusion_ml": 3.0})
    grid = phantom.labelmap
    value = next(v for v, name in grid.names.items() if name == "synovial_fluid")
    index = np.indices(grid.labels.shape).reshape(3, -1).T
    away = np.linalg.norm(grid.to_patient(index) - np.array([0.0, -30.0, 12.0]), axis=1).reshape(
        grid.labels.shape
    )
    cyst = (away < 6.0) & (grid.labels == 0)
    cyst_ml = cyst.sum() * grid.voxel_volume_mm3 / 1000.0
    assert 0.7 < cyst_ml < 1.0
    given = LabelMap(
        affine=grid.affine, labels=np.where(cyst, value, grid.labels).astype(np.uint16), names=grid.names
    )
    joint = build_joint(given, kind="ankle", side="right", completion="none")
    (said,) = [n for n in joint.notices if n.code == "fluid-apart"]
    assert float(said.message.split(" mL")[0]) == pytest.approx(cyst_ml, rel=0.03)
    assert joint.cavity.segmented_ml < 3.3
    labelled = model_document(joint)["cavity"]["labelled_volume_ml"]
    assert labelled == pytest.approx(joint.cavity.resting_volume_ml, rel=0.03)  # the cyst is no part of it
