"""The skin in a real knee MR image."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from injectplan.anatomy.build import skin_of_image, structures_of
from injectplan.anatomy.outline import find_outline
from injectplan.imaging import read_labelmap
from injectplan.imaging.volumes import read_volume
from injectplan.kernels.bvh import signed_distances

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def series(real_data):
    return read_volume(real_data / "knee_t2" / "MESE_8echo_deid.nrrd")


def test_air_lies_outside_and_tissue_inside(series):
    """3 mm outside of the outline next to no signal, 3 mm inside the body's: at 97 of 100 places."""
    found = find_outline(series)
    assert found.surface.closed
    assert found.surface.manifold
    assert found.sd_mm < 1.5
    surface = found.surface
    seen = found.depth_in_view_mm(surface.vertices_mm) > 2.0
    points, normals = surface.vertices_mm[seen], surface.vertex_normals[seen]
    first = ndimage.gaussian_filter(series.values[..., 0], [1.0, 1.0, 0.0])

    def signal(at):
        return ndimage.map_coordinates(first, series.to_voxel(at).T, order=1)

    inside, outside = signal(points - 3.0 * normals), signal(points + 3.0 * normals)
    assert (inside > 6.0 * outside).mean() > 0.97
    assert np.quantile(outside, 0.99) < 0.1 * np.median(inside)


def test_echoes_of_one_body_give_one_outline(series):
    """Fat, muscle and noise change from the first echo to the fourth; the skin does not."""
    early = find_outline(series)
    late = find_outline(dataclasses.replace(series, values=series.values[..., 3]))
    points = late.surface.vertices_mm
    points = points[late.depth_in_view_mm(points) > 2.0]
    away = signed_distances(early.surface.bvh, points)
    assert abs(away.mean()) < early.sd_mm
    assert np.quantile(np.abs(away), 0.95) < 2.0


def test_the_image_of_another_visit_is_left_out_though_the_bones_fit_into_it(series, real_data):
    """The two scans' frames are centimetres apart, and the body is wide enough to hide it."""
    file = real_data / "knee_dess" / "SAG_3D_DESS_RIGHT_bones_cart_men_fib-label.nrrd"
    skin, notices = skin_of_image(series, structures_of(read_labelmap(file, "pymskt", "right")))
    assert skin is None
    assert [n.code for n in notices] == ["image-unused"]
    assert "edges" in notices[0].message
