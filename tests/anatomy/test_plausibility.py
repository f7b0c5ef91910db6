from __future__ import annotations

import itertools

import numpy as np
import pytest

from injectplan.anatomy.plausibility import check_labels, contacts, lateral_offsets, points_of
from injectplan.errors import ContradictionError, EmptyStructureError
from injectplan.imaging.values import LabelMap
from injectplan.measure import Notice

NAMES = {
    1: "femoral_cartilage", 2: "medial_tibial_cartilage", 3: "lateral_tibial_cartilage", 5: "femur",
    6: "tibia", 7: "patella", 8: "fibula", 9: "lateral_meniscus", 10: "medial_meniscus",
}  # fmt: skip


def blocks_knee(names: dict[int, str] = NAMES) -> LabelMap:
    """A right knee of blocks in RAS, 2 mm voxels: x lateral, y anterior, z proximal."""
    labels = np.zeros((50, 50, 70), np.uint16)

    def block(value: int, x: tuple[int, int], y: tuple[int, int], z: tuple[int, int]) -> None:
        labels[slice(*x), slice(*y), slice(*z)] = value

    block(6, (10, 40), (15, 35), (5, 30))
    block(2, (12, 22), (17, 33), (30, 31))
    block(3, (28, 38), (17, 33), (30, 31))
    block(10, (12, 16), (18, 32), (31, 33))
    block(9, (34, 38), (18, 32), (31, 33))
    block(1, (10, 40), (15, 35), (33, 35))
    block(5, (10, 40), (15, 35), (35, 65))
    block(7, (18, 32), (38, 44), (36, 50))
    block(8, (38, 44), (12, 18), (5, 24))
    return LabelMap(affine=np.diag([2.0, 2.0, 2.0, 1.0]), labels=labels, names=names)


def reoriented(given: LabelMap, order: tuple[int, ...], flips: tuple[int, ...]) -> LabelMap:
    """The same patient, stored with other axis orders and directions."""
    labels, affine = given.labels, given.affine.copy()
    for axis in flips:
        labels = np.flip(labels, axis)
        affine[:3, 3] += affine[:3, axis] * (labels.shape[axis] - 1)
        affine[:3, axis] *= -1
    return LabelMap(affine=affine[:, [*order, 3]], labels=labels.transpose(order), names=given.names)


def test_a_right_knee_is_right_in_every_storage_order() -> None:
    knee = blocks_knee()
    for order in itertools.permutations(range(3)):
        for flips in ((), (0,), (1, 2)):
            stored = reoriented(knee, order, flips)
            assert check_labels(stored, "knee", "right", ["femur", "tibia"]) == ()
            with pytest.raises(ContradictionError, match="the knee is a right one by fibula"):
                check_labels(stored, "knee", "left")


def test_a_mirrored_copy_is_a_left_knee() -> None:
    knee = blocks_knee()
    for mirror in ([-1, 1, 1], [1, -1, 1], [1, 1, -1]):
        affine = np.diag([*mirror, 1.0]) @ knee.affine
        mirrored = LabelMap(affine=affine, labels=knee.labels, names=NAMES)
        assert check_labels(mirrored, "knee", "left") == ()
        with pytest.raises(ContradictionError, match="is a left one"):
            check_labels(mirrored, "knee", "right")


def test_a_turned_patient_stays_on_his_side() -> None:
    knee = blocks_knee()
    rng = np.random.default_rng(0)
    from scipy.spatial.transform import Rotation

    for turn in Rotation.random(20, rng=rng).as_matrix():
        affine = np.eye(4)
        affine[:3, :3] = turn
        turned = LabelMap(affine=affine @ knee.affine, labels=knee.labels, names=NAMES)
        offsets = lateral_offsets(points_of(turned), "knee")
        assert len(offsets) == 3
        assert min(offsets.values()) > 15.0


def swapped(a: int, b: int) -> LabelMap:
    return blocks_knee(NAMES | {a: NAMES[b], b: NAMES[a]})


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (9, 10, "medial_meniscus and lateral_meniscus are swapped against"),
        (1, 2, "femoral_cartilage lies on the tibia|medial_tibial_cartilage"),
        (5, 1, "femur has .* mL, can have|femoral_cartilage has"),
    ],
)
def test_exchanged_labels_are_refused_by_name(a: int, b: int, message: str) -> None:
    with pytest.raises(ContradictionError, match=message):
        check_labels(swapped(a, b), "knee", "right")


def test_swapped_plateaus_are_refused_by_the_fibula() -> None:
    names = NAMES | {2: NAMES[3], 3: NAMES[2], 9: NAMES[10], 10: NAMES[9]}
    with pytest.raises(
        ContradictionError, match=r"medial_tibial_cartilage and .* are swapped: .* the fibula shows"
    ):
        check_labels(blocks_knee(names), "knee", "right")


def test_without_a_cue_the_side_is_undecided() -> None:
    bare = blocks_knee({5: "femur", 6: "tibia", 1: "femoral_cartilage"})
    for side in ("left", "right"):
        assert [n.code for n in check_labels(bare, "knee", side)] == ["side-undecided"]  # type: ignore[arg-type]


def test_a_needed_structure_that_is_empty_is_named() -> None:
    with pytest.raises(EmptyStructureError, match=r"talus is empty .0 voxels., the ankle needs it"):
        check_labels(blocks_knee(), "ankle", "right", ["tibia", "talus"])


def test_the_map_keeps_its_own_notices() -> None:
    knee = blocks_knee()
    notice = Notice("unnamed-label", "label 42 occurs")
    noted = LabelMap(affine=knee.affine, labels=knee.labels, names=NAMES, notices=(notice,))
    assert check_labels(noted, "knee", "right") == (notice,)


def test_contacts_count_shared_faces() -> None:
    labels = np.zeros((6, 6, 6), np.uint16)
    labels[1:4, 1:4, 1:3] = 1
    labels[1:4, 1:4, 3:5] = 2
    grid = LabelMap(affine=np.eye(4), labels=labels, names={1: "femur", 2: "femoral_cartilage"})
    assert contacts(grid) == {("femur", "femoral_cartilage"): 9, ("femoral_cartilage", "femur"): 9}


def test_hip_and_ankle_sides() -> None:
    labels = np.zeros((60, 40, 90), np.uint16)
    labels[10:30, 10:30, 50:85] = 1  # hip bone, medial
    labels[32:50, 12:28, 2:60] = 2  # femur, lateral
    labels[0:8, 5:15, 50:80] = 3
    hip = LabelMap(
        affine=np.diag([2.0, 2.0, 2.0, 1.0]), labels=labels, names={1: "hip_bone", 2: "femur", 3: "sacrum"}
    )
    assert check_labels(hip, "hip", "right") == ()
    with pytest.raises(ContradictionError, match="the hip is a right one by hip_bone and femur, sacrum"):
        check_labels(hip, "hip", "left")
    labels = np.zeros((40, 40, 70), np.uint16)
    labels[8:24, 10:26, 30:70] = 1
    labels[25:31, 6:14, 22:70] = 2
    labels[10:24, 8:34, 12:28] = 3
    ankle = LabelMap(
        affine=np.diag([1.5, 1.5, 1.5, 1.0]), labels=labels, names={1: "tibia", 2: "fibula", 3: "talus"}
    )
    assert check_labels(ankle, "ankle", "right") == ()
    with pytest.raises(ContradictionError, match="the ankle is a right one by fibula"):
        check_labels(ankle, "ankle", "left")
