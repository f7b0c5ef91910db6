"""A joint phantom with all its tissues: what completion builds around it, on the phantom's own voxels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from injectplan.anatomy.build import build_joint
from injectplan.anatomy.model import Subject
from injectplan.anatomy.surfaces import mask_of_surface
from injectplan.errors import UsageError
from injectplan.imaging.values import LabelMap
from injectplan.phantoms.values import Phantom

MARGIN_VOXELS = 2


def tissues_of(phantom: Phantom, *, progress: Callable[[str, float], None] | None = None) -> LabelMap:
    """Return a joint phantom's labels with skin, fat, muscles, tendons, vessels and nerves around it.

    The grid has the phantom's spacing and directions and holds the whole skin; the phantom's own voxels stay
    as they are, what was completed takes the free ones, by priority. Raises UsageError for a test body.
    """
    if phantom.kind is None:
        raise UsageError(f"phantom {phantom.name} is a test body: there are no tissues around it")
    bmi, sex = phantom.parameters.get("bmi"), phantom.parameters.get("sex")
    subject = Subject(
        bmi=float(bmi) if isinstance(bmi, int | float) else None,
        sex="female" if sex == "female" else "male" if sex == "male" else None,
    )
    joint = build_joint(
        phantom.labelmap, kind=phantom.kind, side=phantom.side, subject=subject, progress=progress
    )
    own = phantom.labelmap
    made = sorted(
        (s for s in joint.structures.values() if s.source == "completed" and len(s.surface.triangles)),
        key=lambda s: s.priority,
    )
    points = np.concatenate([own.to_voxel(s.surface.vertices_mm) for s in made])
    size = np.array(own.labels.shape)
    before = np.maximum(np.ceil(-points.min(axis=0)).astype(int), 0) + MARGIN_VOXELS
    after = np.maximum(np.ceil(points.max(axis=0)).astype(int) + 1 - size, 0) + MARGIN_VOXELS
    shape = size + before + after
    affine = own.affine.copy()
    affine[:3, 3] = own.to_patient(-before)
    labels = np.zeros(shape, np.uint16)
    names = dict(own.names)
    for value, solid in enumerate(made, start=max(names, default=0) + 1):
        labels[mask_of_surface(solid.surface, affine, labels.shape)] = value
        names[value] = solid.name
    inner = labels[tuple(slice(b, b + n) for b, n in zip(before, size, strict=True))]
    inner[own.labels > 0] = own.labels[own.labels > 0]
    return LabelMap(affine=affine, labels=labels, names=names)
