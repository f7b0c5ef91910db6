"""A phantom with all its tissues: what was made around it on its own voxels."""

from __future__ import annotations

import numpy as np
import pytest

from injectplan.errors import UsageError
from injectplan.imaging import read_labelmap
from injectplan.phantoms import export_phantom, make_phantom, tissues_of


@pytest.fixture(scope="module")
def ankle():
    phantom = make_phantom("ankle", {"side": "left", "spacing_mm": 1.2, "slice_mm": 1.5, "oblique_deg": 20.0})
    return phantom, tissues_of(phantom)


def test_all_tissues_lie_around_a_phantom_s_own_voxels(ankle):
    phantom, whole = ankle
    assert {
        "skin", "subcutaneous_fat", "muscle", "tibialis_anterior_tendon", "dorsalis_pedis_artery",
        "deep_fibular_nerve", "great_saphenous_vein", "talus", "talar_cartilage",
    } <= {whole.names[v] for v in np.unique(whole.labels) if v}  # fmt: skip
    own = phantom.labelmap
    assert np.allclose(whole.affine[:3, :3], own.affine[:3, :3])
    at = np.argwhere(own.labels > 0)
    there = np.round(whole.to_voxel(own.to_patient(at))).astype(int)
    assert np.abs(whole.to_patient(there) - own.to_patient(at)).max() < 1e-6
    assert (whole.labels[tuple(there.T)] == own.labels[tuple(at.T)]).all()
    # the skin closes around everything, and the grid around the skin
    shell = np.ones(whole.labels.shape, bool)
    shell[1:-1, 1:-1, 1:-1] = False
    assert not whole.labels[shell].any()
    artery = whole.volume_ml("dorsalis_pedis_artery")
    assert 0.1 < artery < 1.0


def test_it_is_written_with_its_table_and_read_back(ankle, tmp_path):
    phantom, whole = ankle
    export_phantom(phantom, tmp_path, tissues=whole)
    back = read_labelmap(tmp_path / "tissues.nrrd", tmp_path / "tissues.toml")
    assert back.volume_ml("skin") == pytest.approx(whole.volume_ml("skin"))
    assert read_labelmap(tmp_path / "labels.nrrd", tmp_path / "labels.toml").volume_ml("skin") == 0.0


def test_a_test_body_has_no_tissues():
    with pytest.raises(UsageError, match="test body"):
        tissues_of(make_phantom("sphere", {}))
