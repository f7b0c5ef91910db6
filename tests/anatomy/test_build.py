"""Building a joint: parts of one, contradictions, order of what was given."""

from __future__ import annotations

import numpy as np
import pytest

from injectplan.anatomy.build import build_joint, check_medial_lateral, input_hash, segmented
from injectplan.anatomy.measures import model_document
from injectplan.anatomy.surfaces import surface_of_mask
from injectplan.errors import ContradictionError, EmptyStructureError, UsageError
from injectplan.imaging.values import LabelMap, Surface
from injectplan.measure import Notice
from oracles_anatomy import plain_axes, shell


@pytest.fixture(scope="module")
def ball_and_shell():
    made = shell(20.0, 2.0, seed=2)
    labels = (2 * made.bone + made.cartilage).astype(np.uint16)
    return LabelMap(affine=made.affine, labels=labels, names={1: "femoral_cartilage", 2: "femur"})


def test_a_part_of_a_joint_is_measured_and_says_what_is_missing(ball_and_shell):
    steps = []
    joint = build_joint(
        ball_and_shell, kind="knee", side="right", progress=lambda label, share: steps.append(share)
    )
    assert "joint-incomplete" in [n.code for n in joint.notices]
    document = model_document(joint)
    assert document["cavity"] is None
    thickness = document["cartilage"]["femoral_cartilage"]["thickness_mm"]
    assert abs(thickness["mean"] - 2.0) <= 0.02
    assert thickness["sd"] <= 0.05
    assert steps == sorted(steps)
    assert steps[-1] == 1.0


def test_thick_slices_are_warned_of_in_the_document():
    made = shell(20.0, 2.0, (0.4, 0.4, 3.0), seed=4)
    labels = (2 * made.bone + made.cartilage).astype(np.uint16)
    given = LabelMap(affine=made.affine, labels=labels, names={1: "femoral_cartilage", 2: "femur"})
    document = model_document(build_joint(given, kind="knee", side="right"))
    (warning,) = [w for w in document["warnings"] if w["code"] == "thickness-not-trustworthy"]
    assert warning["structure"] == "femoral_cartilage"
    assert "3.0 mm apart" in warning["message"]
    assert document["cartilage"]["femoral_cartilage"]["trustworthy"] is False
    assert document["defects"] == []


def test_surfaces_are_repaired_and_it_is_said(ball_and_shell):
    solid = build_joint(ball_and_shell, kind="knee", side="right").structures["femur"].surface
    opened = Surface(solid.vertices_mm, solid.triangles[5:])
    joint = build_joint({"femur": opened}, kind="knee", side="right")
    femur = joint.structures["femur"]
    assert femur.surface.closed
    assert femur.repaired
    assert femur.surface.volume_ml == pytest.approx(solid.volume_ml, rel=1e-3)
    assert joint.labels.volume_ml("femur") == pytest.approx(solid.volume_ml, rel=0.01)


def test_nothing_given_is_refused():
    with pytest.raises(EmptyStructureError):
        build_joint({}, kind="knee", side="right")
    with pytest.raises(EmptyStructureError):
        build_joint(
            LabelMap(affine=np.eye(4), labels=np.zeros((4, 4, 4), np.uint16), names={1: "femur"}),
            kind="knee", side="right",
        )  # fmt: skip


def test_an_unknown_structure_is_named():
    ball = surface_of_mask(np.pad(np.ones((20, 20, 20), bool), 2), np.eye(4))
    with pytest.raises(UsageError, match="femru"):
        build_joint({"femru": ball}, kind="knee", side="right")


def test_swapped_menisci_are_refused():
    ball = surface_of_mask(np.pad(np.ones((9, 9, 9), bool), 2), np.eye(4))
    inner = segmented("medial_meniscus", Surface(ball.vertices_mm + np.array([-20.0, 0, 0]), ball.triangles))
    outer = segmented("lateral_meniscus", Surface(ball.vertices_mm + np.array([20.0, 0, 0]), ball.triangles))
    check_medial_lateral({"medial_meniscus": inner, "lateral_meniscus": outer}, plain_axes("right"))
    with pytest.raises(ContradictionError, match="swap"):
        check_medial_lateral({"medial_meniscus": inner, "lateral_meniscus": outer}, plain_axes("left"))


def test_the_input_s_hash_follows_what_was_given(ball_and_shell):
    other = LabelMap(
        affine=ball_and_shell.affine, labels=ball_and_shell.labels, names={1: "femoral_cartilage", 2: "tibia"}
    )
    assert input_hash(ball_and_shell) == input_hash(ball_and_shell)
    assert input_hash(ball_and_shell) != input_hash(other)


def test_a_map_of_strangers_is_refused_with_their_names():
    """A segmentation of something else: the refusal says what was in it and what to do."""
    strangers = LabelMap(
        affine=np.eye(4), labels=np.zeros((4, 4, 4), np.uint16), names={},
        notices=(Notice("unknown-structure", "'ribs' is no structure of the vocabulary; left out"),),
    )  # fmt: skip
    with pytest.raises(EmptyStructureError, match=r"'ribs'.*label table"):
        build_joint(strangers, kind="knee", side="right")
