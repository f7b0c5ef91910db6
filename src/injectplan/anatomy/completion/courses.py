"""Where a cord that was segmented in part goes on: its drawn course, joined to the ends of what was seen.

A label map or an atlas often holds a vessel over part of the joint's view alone. What is missing is as much
at risk as what was seen, so it is drawn where the whole cord would have been, moved by as much as the
segmented one lies from the drawn one where it ends. That offset fades with the distance from the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from injectplan.imaging.values import Surface
from injectplan.kernels.cast import Bools, Floats

FADES_MM = 60.0  # over which an offset falls to 1/e: what a body's vessel keeps of its own way (assumed)
LEAST_GAP_MM = 6.0  # along a course, from which on a missing stretch counts
OVERLAP_MM = 6.0  # by which a drawn stretch runs into the one that was seen: no needle finds a gap between
EDGE_MM = 2.0  # longest edge of the triangles whose corners stand for a surface
ALONG_MM = 3.0  # of a course, before and behind a point, whose surface shows the cord's middle there


@dataclass(frozen=True, eq=False)
class Course:
    """A cord's course: the middle of what was segmented, and its drawn continuation.

    path_mm : points (n, 3) in joint coordinates.  seen : (n,) where it was segmented.
    radius_mm : of what was segmented, NaN where nothing was.
    """

    path_mm: Floats
    seen: Bools
    radius_mm: float

    def missing(self, low_mm: npt.ArrayLike, high_mm: npt.ArrayLike) -> list[Floats]:
        """Return the stretches inside a box that were not segmented, each run on into what was, (m, 3)."""
        low, high = np.asarray(low_mm, np.float64), np.asarray(high_mm, np.float64)
        step = _step_of(self.path_mm)
        inside = ((self.path_mm >= low) & (self.path_mm <= high)).all(axis=1)
        gaps = inside & ~self.seen
        result = []
        for first, last in _runs(gaps):
            if (last - first + 1) * step < LEAST_GAP_MM:
                continue
            more = int(np.ceil(OVERLAP_MM / step))
            result.append(self.path_mm[max(first - more, 0) : last + more + 1])
        return result


def course_of(drawn_mm: npt.ArrayLike, segmented: Surface) -> Course:
    """Return the course of a cord that was segmented, all of it or in part.

    drawn_mm : the course that completion would draw, points (n, 3) about evenly apart.
    segmented : the cord's surface in the same coordinates.
    """
    drawn = np.asarray(drawn_mm, np.float64)
    points = _covering(segmented)
    which = np.asarray(cKDTree(drawn).query(points)[1])
    tangent = np.gradient(drawn, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    # what lies beyond an end of the drawn course is nearest to that end, and says nothing of it
    beyond = np.einsum("ij,ij->i", points - drawn[which], tangent[which])
    kept = np.abs(beyond) < ALONG_MM
    points, which = points[kept], which[kept]
    reach = max(round(ALONG_MM / _step_of(drawn)), 1)
    order = np.argsort(which, kind="stable")
    points, which = points[order], which[order]
    sums = np.concatenate([np.zeros((1, 3)), np.cumsum(points, axis=0)])
    index = np.arange(len(drawn))
    begin, end = np.searchsorted(which, index - reach), np.searchsorted(which, index + reach + 1)
    here = np.searchsorted(which, index + 1) > np.searchsorted(which, index)
    count = end - begin
    seen = here & (count > 3)
    if not seen.any():
        return Course(drawn, seen, float("nan"))
    middle = (sums[end] - sums[begin])[seen] / count[seen][:, None]
    aside = middle - drawn[seen]
    aside -= np.einsum("ij,ij->i", aside, tangent[seen])[:, None] * tangent[seen]
    offset = _faded(drawn, seen, aside)
    path = drawn + offset
    return Course(path, seen, float(np.median(np.linalg.norm(points - path[which], axis=1))))


def share_of_drawn(away_mm: npt.ArrayLike) -> Floats:
    """Share of a drawn course's uncertainty at a distance from where it joins a segmented one.

    0 at the join, 1 far off: what scatters of the drawn course is what the join does not tell.
    """
    kept = np.exp(-np.maximum(np.asarray(away_mm, np.float64), 0.0) / FADES_MM)
    return np.sqrt(1.0 - kept * kept)


def _covering(surface: Surface) -> Floats:
    """Points over a surface, none of its places farther than an edge from one."""
    import trimesh

    vertices, triangles = trimesh.remesh.subdivide_to_size(
        surface.vertices_mm, surface.triangles, EDGE_MM, max_iter=14
    )
    return np.asarray(vertices, np.float64)[np.unique(triangles)]


def _faded(drawn: Floats, seen: Bools, offset: Floats) -> Floats:
    """Offsets at every point of a course, (n, 3): between seen ones linear, beyond the last fading."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(drawn, axis=0), axis=1))])
    result = np.column_stack([np.interp(along, along[seen], offset[:, a]) for a in range(3)])
    beyond = np.maximum(along[seen][0] - along, along - along[seen][-1])
    return np.asarray(result * np.exp(-np.maximum(beyond, 0.0) / FADES_MM)[:, None])


def _step_of(path: Floats) -> float:
    """Length between two points of a course, mm."""
    return max(float(np.mean(np.linalg.norm(np.diff(path, axis=0), axis=1))), 1e-6)


def _runs(flags: Bools) -> list[tuple[int, int]]:
    """First and last index of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(a), int(b) - 1) for a, b in edges.reshape(-1, 2)]
