"""Phantoms of known T2: depth and means in closed form, echoes that fit back, noise of the stated kind."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from injectplan.anatomy.model import COVERED
from injectplan.anatomy.t2 import Qdess, fit_t2
from injectplan.anatomy.zones import cartilage_zones, image_on_bone, mapped_joint
from injectplan.errors import UsageError
from injectplan.imaging import read_labelmap, read_volume
from injectplan.imaging.values import LabelMap, Surface, Volume
from injectplan.phantoms import export_phantom, make_phantom
from injectplan.phantoms.relaxation import (
    Relaxation,
    RelaxationTruth,
    depth_within,
    double_echo,
    multi_echo,
    relaxation_of,
)
from injectplan.phantoms.values import Phantom
from injectplan.report.maps import t2_maps

TIMES = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0)
NAMES = ("femoral_cartilage", "medial_tibial_cartilage", "lateral_tibial_cartilage", "patellar_cartilage")
SPACING = {"spacing_mm": 1.0, "slice_mm": 1.2}


@pytest.fixture(scope="module")
def knee():
    return make_phantom(
        "knee", {"spacing_mm": 0.8, "slice_mm": 0.8, "flexion_deg": 10.0, "cartilage_scale": 1.5}
    )


@pytest.fixture(scope="module")
def truth(knee):
    return relaxation_of(knee, Relaxation(deep_ms=28.0, superficial_ms=52.0))


def sphere(radius, n=60):
    """A closed ball of triangles."""
    u, v = np.linspace(0, np.pi, n), np.linspace(0, 2 * np.pi, 2 * n, endpoint=False)
    a, b = np.meshgrid(u, v, indexing="ij")
    points = radius * np.stack([np.sin(a) * np.cos(b), np.sin(a) * np.sin(b), np.cos(a)], -1).reshape(-1, 3)
    i = (np.arange(n - 1)[:, None] * 2 * n + np.arange(2 * n)[None, :]).ravel()
    j = (np.arange(n - 1)[:, None] * 2 * n + (np.arange(2 * n)[None, :] + 1) % (2 * n)).ravel()
    return Surface(
        points, np.concatenate([np.stack([i, i + 2 * n, j], 1), np.stack([j, i + 2 * n, j + 2 * n], 1)])
    )


def test_depth_between_two_balls_is_the_radius_s_share():
    inner, outer = sphere(20.0), sphere(23.0)
    shell = Surface(
        np.vstack([inner.vertices_mm, outer.vertices_mm]),
        np.vstack([inner.triangles[:, ::-1], outer.triangles + len(inner.vertices_mm)]),
    )
    rng = np.random.default_rng(5)
    way = rng.normal(size=(400, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    radius = rng.uniform(20.0, 23.0, 400)
    depth = depth_within(radius[:, None] * way, shell, inner)
    assert depth == pytest.approx((radius - 20.0) / 3.0, abs=0.01)


def test_the_shell_phantom_s_t2_is_its_radius_s():
    phantom = make_phantom("shell", {"spacing_mm": 0.8, "slice_mm": 0.8})
    found = relaxation_of(phantom, Relaxation(deep_ms=20.0, superficial_ms=60.0))
    mask = phantom.labelmap.mask("femoral_cartilage")
    radius = np.linalg.norm(phantom.labelmap.to_patient(np.argwhere(mask)), axis=1)
    assert found.t2_ms[mask] == pytest.approx(20.0 + 20.0 * (radius - 20.0), abs=1.0)


def test_t2_follows_depth_and_its_means_follow_from_it(knee, truth):
    for name in ("femoral_cartilage", "medial_tibial_cartilage", "patellar_cartilage"):
        mask = knee.labelmap.mask(name)
        depth, t2 = truth.depth[mask], truth.t2_ms[mask]
        assert depth.min() >= 0.0
        assert depth.max() <= 1.0
        assert t2 == pytest.approx(28.0 + 24.0 * depth, abs=1e-3)
        assert truth.truth[f"{name}_t2_mean_ms"]["value"] == pytest.approx(float(t2.mean()), rel=1e-5)
        # cartilage of one thickness on bone so flat fills its depth evenly
        assert depth.mean() == pytest.approx(0.5, abs=0.05)
        assert truth.truth[f"{name}_t2_deep_ms"]["value"] == pytest.approx(34.0, abs=1.0)
        assert truth.truth[f"{name}_t2_superficial_ms"]["value"] == pytest.approx(46.0, abs=1.0)
    assert np.isnan(truth.depth[knee.labelmap.mask("femur")]).all()
    assert (truth.t2_ms[knee.labelmap.labels == 0] == 0.0).all()


@pytest.mark.parametrize("method", ["loglinear", "nonlinear"])
def test_noiseless_echoes_give_back_every_region_and_half(knee, truth, method):
    found = fit_t2(multi_echo(truth, TIMES), method=method, regions=knee.labelmap)
    for name in (
        "femoral_cartilage",
        "medial_tibial_cartilage",
        "lateral_tibial_cartilage",
        "patellar_cartilage",
    ):
        mask = knee.labelmap.mask(name)
        assert found.t2_ms[mask] == pytest.approx(truth.t2_ms[mask], rel=1e-4)
        region = found.regions[name]
        assert region.n == mask.sum()
        assert region.mean_ms == pytest.approx(truth.truth[f"{name}_t2_mean_ms"]["value"], rel=1e-4)
        # halves by voxel distances against halves by the construction's own depth
        for half in ("deep", "superficial"):
            expected = truth.truth[f"{name}_t2_{half}_ms"]["value"]
            assert found.regions[f"{name}/{half}"].mean_ms == pytest.approx(expected, abs=1.2)
        halves = [found.regions[f"{name}/{half}"] for half in ("deep", "superficial")]
        assert halves[0].n + halves[1].n == region.n
        assert halves[1].mean_ms - halves[0].mean_ms > 8.0


def test_a_qdess_pair_gives_back_t2(knee, truth):
    given = Qdess(tr_ms=21.0, te_ms=6.5, flip_deg=25.0)
    found = fit_t2(double_echo(truth, given), method="qdess", qdess=given, regions=knee.labelmap)
    mask = knee.labelmap.mask("femoral_cartilage")
    assert found.t2_ms[mask] == pytest.approx(truth.t2_ms[mask], rel=1e-4)


def test_subregions_of_t2_sum_to_the_cartilage(knee, truth):
    joint = mapped_joint(knee.labelmap, "knee", "right")
    zones = cartilage_zones(joint, knee.labelmap)
    found = fit_t2(multi_echo(truth, TIMES), regions=knee.labelmap, zones=zones).regions
    for name, (_, words) in zones.items():
        parts = [found[f"{name}/{word}"] for word in words]
        assert sum(p.n for p in parts) == found[name].n
        assert np.average([p.mean_ms for p in parts], weights=[p.n for p in parts]) == pytest.approx(
            found[name].mean_ms, rel=1e-6
        )
        for half in ("deep", "superficial"):
            assert sum(found[f"{name}/{word}/{half}"].n for word in words) == found[f"{name}/{half}"].n


def test_t2_on_the_bone_is_the_mean_through_the_cartilage(knee, truth):
    """Linear from 28 to 52 ms: 40 ms through the whole, drawn in a picture of its own."""
    joint = mapped_joint(knee.labelmap, "knee", "right")
    t2 = Volume(affine=truth.affine, values=np.where(np.isfinite(truth.depth), truth.t2_ms, np.nan))
    measured = joint.cartilage["femoral_cartilage"]
    found = image_on_bone(t2, measured, joint.structures["femur"].surface)
    assert (np.isfinite(found) <= (measured.state == COVERED)).all()
    thick = measured.thickness_mm > 2.0
    assert np.nanmedian(found[thick]) == pytest.approx(40.0, abs=1.0)
    assert np.isfinite(found[thick]).mean() > 0.99
    picture = t2_maps(joint, t2)
    assert picture is not None
    assert picture.shape[1] == 1320
    nowhere = Volume(affine=truth.affine, values=np.full(truth.depth.shape, np.nan))
    assert t2_maps(joint, nowhere) is None


def flat(t2, signal, shape=(60, 60, 40)):
    return RelaxationTruth(
        affine=np.eye(4), t2_ms=np.full(shape, t2, np.float32), signal=np.full(shape, signal, np.float32),
        depth=np.full(shape, np.nan, np.float32), truth={},
    )  # fmt: skip


def test_noise_is_rician():
    """No signal: Rayleigh, mean σ sqrt(π/2).  Strong signal: nearly normal, mean S + σ²/2S, spread σ."""
    empty = multi_echo(flat(0.0, 0.0), TIMES[:2], noise_sd=20.0, seed=3).values
    assert empty.mean() == pytest.approx(20.0 * math.sqrt(math.pi / 2.0), rel=0.01)
    assert empty.std() == pytest.approx(20.0 * math.sqrt(2.0 - math.pi / 2.0), rel=0.01)
    strong = multi_echo(flat(40.0, 1000.0), TIMES[:1], noise_sd=20.0, seed=3).values
    clean = 1000.0 * math.exp(-0.25)
    assert strong.mean() == pytest.approx(clean + 400.0 / (2.0 * clean), abs=0.2)
    assert strong.std() == pytest.approx(20.0, rel=0.01)
    echoes = multi_echo(flat(40.0, 1000.0), TIMES[:2], noise_sd=20.0, seed=3).values
    assert abs(np.corrcoef(echoes[..., 0].ravel(), echoes[..., 1].ravel())[0, 1]) < 0.01
    assert (echoes[..., 0] == strong[..., 0]).all()
    assert (multi_echo(flat(40.0, 1000.0), TIMES[:1], noise_sd=20.0, seed=4).values != strong).any()


def test_rejected_voxels_of_a_noisy_series_are_counted(knee, truth):
    noisy = multi_echo(truth, TIMES, noise_sd=150.0, seed=1)
    found = fit_t2(noisy, regions=knee.labelmap)
    region = found.regions["femoral_cartilage"]
    assert region.n + sum(region.rejected.values()) == knee.labelmap.mask("femoral_cartilage").sum()
    assert region.rejected["poor fit"] > 100
    calm = fit_t2(multi_echo(truth, TIMES, noise_sd=15.0, seed=1), regions=knee.labelmap, method="nonlinear")
    assert calm.regions["femoral_cartilage"].mean_ms == pytest.approx(
        truth.truth["femoral_cartilage_t2_mean_ms"]["value"], abs=0.5
    )


@pytest.mark.parametrize("kind", ["hip", "ankle"])
def test_every_joint_has_a_t2(kind):
    phantom = make_phantom(kind, SPACING)
    found = relaxation_of(phantom)
    names = [n for n in phantom.labelmap.structures if n.endswith("cartilage")]
    assert {f"{n}_t2_deep_ms" for n in names} <= set(found.truth)
    assert all(30.0 <= found.truth[f"{n}_t2_mean_ms"]["value"] <= 46.0 for n in names)


def test_files_that_t2_reads(tmp_path, knee):
    small = make_phantom("ankle", SPACING)
    export_phantom(small, tmp_path, echo_times_ms=TIMES)
    echoes = read_volume(tmp_path / "echoes.nrrd")
    assert echoes.values.shape[3] == len(TIMES)
    regions = read_labelmap(tmp_path / "labels.nrrd", str(tmp_path / "labels.toml"), "right")
    found = fit_t2(echoes, TIMES, regions=regions)
    stated = json.loads((tmp_path / "truth.json").read_text())["talar_cartilage_t2_mean_ms"]["value"]
    assert found.regions["talar_cartilage"].mean_ms == pytest.approx(stated, rel=1e-3)
    assert read_volume(tmp_path / "t2.nii.gz").values.max() == pytest.approx(55.0)


def test_mistakes_are_named(truth):
    with pytest.raises(UsageError, match="no cartilage"):
        relaxation_of(make_phantom("wire"))
    with pytest.raises(UsageError, match="0 to 1000 ms"):
        relaxation_of(make_phantom("ankle", SPACING), Relaxation(deep_ms=-3.0))
    with pytest.raises(UsageError, match="rise"):
        multi_echo(truth, [20.0, 10.0])
    grid = LabelMap(affine=np.eye(4), labels=np.ones((4, 4, 4), np.uint16), names={1: "femur"})
    with pytest.raises(UsageError, match="no cartilage"):
        relaxation_of(Phantom(name="x", kind=None, side="right", labelmap=grid, truth={}))
