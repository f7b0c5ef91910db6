"""Cuts through a joint: where labels lie, and that every structure is numbered."""

from __future__ import annotations

import numpy as np
import pytest

from injectplan.imaging.values import LabelMap
from injectplan.report.html import by_subject
from injectplan.report.planes import HIGH_MM, WIDE_MM, places_of, sample_labels


def labelled(values: np.ndarray, names: dict[int, str]) -> LabelMap:
    return LabelMap(affine=np.diag([0.5, 0.8, 1.0, 1.0]), labels=values.astype(np.uint16), names=names)


def test_labels_at_voxel_centres_are_the_voxels_and_none_outside() -> None:
    rng = np.random.default_rng(3)
    values = rng.integers(0, 5, (6, 7, 8))
    labels = labelled(values, {i: f"s{i}" for i in range(1, 5)})
    index = np.stack(np.meshgrid(*map(np.arange, values.shape), indexing="ij"), axis=-1)
    np.testing.assert_array_equal(sample_labels(labels, index * [0.5, 0.8, 1.0]), values)
    assert not sample_labels(labels, np.array([[-0.6, 0, 0], [0, 0, 8.1]])).any()


def test_a_tilted_border_is_smoother_than_its_voxels() -> None:
    """Of a half-space on 1 mm voxels, the nearest voxel alone is wrong about twice as often."""
    x, y, z = np.mgrid[:30, :30, :30].astype(float)
    normal = np.array([0.8, 0.36, 0.48])
    labels = LabelMap(
        affine=np.eye(4), labels=((x * 0.8 + y * 0.36 + z * 0.48) < 20).astype(np.uint16), names={1: "femur"}
    )
    points = np.random.default_rng(1).uniform(3, 26, (20_000, 3))
    truth = points @ normal < 20
    near = labels.labels[tuple(np.round(points).astype(int).T)] > 0
    smooth = sample_labels(labels, points) > 0
    assert (smooth != truth).mean() < 0.7 * (near != truth).mean()


def test_assumptions_are_told_by_subject() -> None:
    told = dict(
        by_subject(
            [
                "muscle.anisotropy_db = 4.0",
                "synovium.speed_m_s = 1540.0",
                "probe.noise_db = -92.0",
                "skin_thickness = 1.8 mm (assumed: 1.5-2.0 mm)",
                "the person lies supine",
                "injectate.viscosity_mpa_s = 1.2",
                "subject.bmi: not given",
            ]
        )
    )
    assert told["Tissues"] == ["muscle, anisotropy (dB): 4.0", "synovium, speed (m/s): 1540.0"]
    assert told["Probe"] == ["noise (dB): -92.0"]
    assert told["Plan and injection"] == ["viscosity (mPa·s): 1.2"]
    assert told["Anatomy, completed"] == ["skin thickness: 1.8 mm (assumed: 1.5-2.0 mm)"]
    assert told["Models"] == ["the person lies supine", "subject.bmi: not given"]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirrored_map_gives_the_mirrored_cut(axis: int) -> None:
    values = np.random.default_rng(5).integers(0, 3, (9, 9, 9))
    names = {1: "femur", 2: "tibia"}
    centre = np.array([4 * 0.5, 4 * 0.8, 4.0])
    points = centre + np.random.default_rng(6).uniform(-1.5, 1.5, (500, 3))
    flipped = points.copy()
    flipped[:, axis] = 2 * centre[axis] - points[:, axis]
    np.testing.assert_array_equal(
        sample_labels(labelled(values, names), points),
        sample_labels(labelled(np.flip(values, axis), names), flipped),
    )


def test_numbers_stand_on_their_structures_and_never_on_one_another():
    rng = np.random.default_rng(3)
    seeds = rng.uniform(0, 200, (60, 2))
    row, column = np.mgrid[0:200, 0:200]
    away = (row[..., None] - seeds[:, 0]) ** 2 + (column[..., None] - seeds[:, 1]) ** 2
    cut = (1 + np.argmin(away, axis=-1)).astype(np.uint16)  # 60 cells, some thin
    half, step = 50.0, 0.5
    places = places_of(cut, range(1, 80), half, step)
    assert len(places) > 45
    for value, place in places.items():
        r, c = round((half - place.at[1]) / step), round((place.at[0] + half) / step)
        assert cut[r, c] == value
        assert max(np.abs(place.text)) < half
    texts = np.array([p.text for p in places.values()])
    apart = np.abs(texts[:, None] - texts[None]) / [WIDE_MM, HIGH_MM]
    apart = np.hypot(apart[..., 0], apart[..., 1])[~np.eye(len(texts), dtype=bool)]
    assert apart.min() >= 1.0
    widest = max(places, key=lambda v: (cut == v).sum())
    assert places[widest].at == places[widest].text  # written inside where there is room
