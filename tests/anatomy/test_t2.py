from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import curve_fit

from injectplan.anatomy.t2 import METHODS, REASONS, Qdess, T2Map, fit_t2, region_masks, relative_depth
from injectplan.errors import NothingToMeasureError, UsageError
from injectplan.imaging.values import LabelMap, Volume

TIMES = np.arange(1, 9) * 6.312


def decays(t2: np.ndarray, first: float = 1000.0) -> Volume:
    """Noiseless echoes of T2 values (n,) as an image (n, 1, 1, 8)."""
    values = first * np.exp(-TIMES / np.asarray(t2, float)[:, None])
    return Volume(affine=np.eye(4), values=values[:, None, None, :])


@pytest.mark.parametrize("method", ["loglinear", "nonlinear"])
def test_noiseless_decay_is_found(method: str) -> None:
    truth = np.linspace(5.0, 99.0, 200)
    found = fit_t2(decays(truth), TIMES, method=method)  # type: ignore[arg-type]
    assert np.allclose(found.t2_ms[:, 0, 0], truth, rtol=1e-5)
    assert found.overall.n == 200
    assert sum(found.overall.rejected.values()) == 0
    assert found.overall.mean_ms == pytest.approx(truth.mean(), rel=1e-5)
    assert found.overall.sd_ms == pytest.approx(truth.std(), rel=1e-4)


def test_both_fits_agree_with_their_obvious_twins() -> None:
    rng = np.random.default_rng(3)
    truth = rng.uniform(15, 70, 60)
    signal = 800 * np.exp(-TIMES / truth[:, None]) + rng.normal(0, 12, (60, 8))
    signal = np.abs(signal).astype(np.float32)
    volume = Volume(affine=np.eye(4), values=signal[:, None, None, :])
    linear = fit_t2(volume, TIMES).t2_ms[:, 0, 0]
    curved = fit_t2(volume, TIMES, method="nonlinear").t2_ms[:, 0, 0]
    compared = 0
    for i in range(60):
        slope = np.polyfit(TIMES, np.log(signal[i].astype(float)), 1)[0]
        if np.isfinite(linear[i]):
            assert linear[i] == pytest.approx(-1.0 / slope, rel=1e-5)
        if np.isfinite(curved[i]):
            fit, _ = curve_fit(
                lambda t, a, t2: a * np.exp(-t / t2), TIMES, signal[i], p0=(800, 40), xtol=1e-12
            )
            assert curved[i] == pytest.approx(fit[1], rel=1e-4)
            compared += 1
    assert compared > 50
    assert np.nanstd(curved - truth) < np.nanstd(linear - truth), (
        "least squares of S suits constant noise better"
    )


def test_every_rejected_voxel_is_counted_by_its_reason() -> None:
    volume = decays(np.array([40.0] * 5))
    values = volume.values.copy()
    values[0, 0, 0, 3] = 0.0  # no signal
    values[1] = values[1][..., ::-1]  # rises
    values[2, 0, 0] = 1000 * np.exp(-TIMES / 300.0)
    values[3, 0, 0] = [1000, 1, 1000, 1, 1000, 1, 900, 1]
    found = fit_t2(Volume(affine=np.eye(4), values=values), TIMES)
    assert found.overall.n == 1
    assert found.overall.rejected == dict.fromkeys(REASONS, 1)
    assert np.isnan(found.t2_ms[:4]).all()
    document = found.to_json()
    assert document["n"] == 1
    assert document["mean_ms"] == pytest.approx(40.0, rel=1e-5)
    assert document["method"] == "loglinear"


def test_qdess_closed_form() -> None:
    k, c1 = Qdess().constants
    assert k == pytest.approx(0.861803, abs=1e-6)
    assert c1 == pytest.approx(0.002149, abs=1e-6)
    assert Qdess(spoiler_us=1760).constants[1] == pytest.approx(0.002143, abs=1e-6)
    assert Qdess(spoiler_g_us_cm=0).constants == (pytest.approx(0.873301, abs=1e-6), 0.0)
    ratios = np.array([0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    values = np.stack([np.full(6, 500.0), 500.0 * ratios], axis=-1)[:, None, None, :]
    found = fit_t2(Volume(affine=np.eye(4), values=values), method="qdess", qdess=Qdess())
    truth = [24.0237, 33.2733, 45.7792, 64.6173, 97.3474]
    assert np.allclose(found.t2_ms[:5, 0, 0], truth, atol=1e-3)
    assert np.isnan(found.t2_ms[5, 0, 0])
    assert found.overall.rejected["above 100 ms"] == 1, "170.2646 ms is fluid"
    assert found.assumed == ()
    assert fit_t2(Volume(affine=np.eye(4), values=values), method="qdess").assumed


@pytest.mark.parametrize(
    ("times", "method", "message"),
    [
        (TIMES[:7], "loglinear", "7 echo times for 8 echoes"),
        (TIMES[::-1], "loglinear", "must be above 0 and rise"),
        (TIMES / 1000, "loglinear", "looks like seconds"),
        ([], "loglinear", "0 echo times for 8 echoes"),
        (TIMES, "qdess", "has 8 components, qdess needs its 2 echoes"),
        (TIMES, "magic", "method is 'magic'; give one of"),
    ],
)
def test_mistakes_are_named(times: np.ndarray, method: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fit_t2(decays(np.array([40.0])), times, method=method)  # type: ignore[arg-type]
    assert len(METHODS) == 3


def test_nothing_to_measure() -> None:
    with pytest.raises(NothingToMeasureError, match=r"none of 4 voxels has a T2 \(no signal: 4\)"):
        fit_t2(Volume(affine=np.eye(4), values=np.zeros((2, 2, 1, 8))), TIMES)
    with pytest.raises(UsageError, match="1 component"):
        fit_t2(Volume(affine=np.eye(4), values=np.ones((2, 2, 1))), [5.0])


def slab(spacing: float, turn: np.ndarray | None = None) -> LabelMap:
    """Bone below, 4 mm of cartilage, joint above; along z."""
    n = round(20 / spacing)
    z = (np.arange(n) + 0.5) * spacing
    column = np.where(z < 8, 5, np.where(z < 12, 1, 0)).astype(np.uint16)
    labels = np.broadcast_to(column, (8, 8, n)).copy()
    affine = np.diag([1.0, 1.0, spacing, 1.0])
    affine[2, 3] = spacing / 2
    if turn is not None:
        affine = turn @ affine
    return LabelMap(affine=affine, labels=labels, names={1: "femoral_cartilage", 5: "femur"})


@pytest.mark.parametrize("spacing", [0.25, 0.5, 1.0])
def test_relative_depth_runs_from_bone_to_joint(spacing: float) -> None:
    grid = slab(spacing)
    depth = relative_depth(grid.mask("femoral_cartilage"), grid.mask("femur"), grid.spacing_mm)
    inside = grid.mask("femoral_cartilage")
    z = grid.to_patient(np.argwhere(inside))[:, 2]
    assert np.abs(depth[inside] - (z - 8.0) / 4.0).max() < 0.12 * spacing + 1e-9
    assert np.isnan(depth[~inside]).all()


def test_regions_and_halves_on_another_oblique_grid() -> None:
    turn = np.eye(4)
    turn[:3, :3] = [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]
    grid = slab(0.5, turn)
    # an image of 1 x 1 x 1 mm whose T2 is 30 ms in the deep half and 50 ms in the superficial one
    image_affine = turn @ np.diag([1.0, 1.0, 1.0, 1.0])
    image_affine[2, 3] = 0.5
    z = np.arange(20) + 0.5
    t2 = np.where(z < 10, 30.0, 50.0)
    values = np.broadcast_to(1000 * np.exp(-TIMES / t2[:, None]), (8, 8, 20, 8))
    found = fit_t2(Volume(affine=image_affine, values=values), TIMES, regions=grid)
    assert set(found.regions) == {
        "femoral_cartilage", "femoral_cartilage/deep", "femoral_cartilage/superficial"
    }  # fmt: skip
    assert found.regions["femoral_cartilage/deep"].mean_ms == pytest.approx(30.0, rel=1e-4)
    assert found.regions["femoral_cartilage/superficial"].mean_ms == pytest.approx(50.0, rel=1e-4)
    deep, top = (found.regions[f"femoral_cartilage/{half}"].n for half in ("deep", "superficial"))
    assert deep == top
    assert deep + top == found.regions["femoral_cartilage"].n == found.overall.n
    assert np.isfinite(found.t2_ms).sum() == found.overall.n
    assert isinstance(found, T2Map)


def test_regions_without_bone_or_off_the_image() -> None:
    grid = slab(1.0)
    alone = LabelMap(
        affine=grid.affine, labels=np.where(grid.labels == 1, 1, 0), names={1: "femoral_cartilage"}
    )
    image = Volume(affine=grid.affine, values=np.ones((8, 8, 20, 2)))
    masks, notices = region_masks(alone, image)
    assert set(masks) == {"femoral_cartilage"}
    assert [n.code for n in notices] == ["no-halves"]
    far = image.affine.copy()
    far[0, 3] += 500
    with pytest.raises(NothingToMeasureError, match="do not meet the image"):
        region_masks(alone, Volume(affine=far, values=image.values))


def test_echo_times_in_another_unit_are_refused():
    echoes = Volume(affine=np.eye(4), values=np.ones((2, 2, 2, 3), np.float32))
    for times, unit in (((0.01, 0.02, 0.03), "seconds"), ((6312.0, 12624.0, 18936.0), "microseconds")):
        with pytest.raises(UsageError, match=unit):
            fit_t2(echoes, times)
