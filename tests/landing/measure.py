"""Where completed structures land, measured as the published studies measured them: one row per quantity.

The rows are the quantities of published anatomy that completion builds. A
range is the study's mean ± 2 SD or the range it gives; rows marked `assumed` have no citable number, only a
judgement, and test that the build follows what it states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from injectplan.anatomy.model import Cavity, JointAxes, Structure, Subject
from injectplan.kernels.bvh import all_hits, nearest_points, signed_distances

BMI = (22.0, 27.0, 32.0, 38.0)


@dataclass(frozen=True)
class Made:
    """A joint made whole: its axes, structures, cavity and subject."""

    axes: JointAxes
    structures: Mapping[str, Structure]
    subject: Subject
    cavity: Cavity

    @property
    def basis(self) -> np.ndarray:
        return np.column_stack([self.axes.lateral, self.axes.anterior, self.axes.proximal])

    def at(self, name: str) -> np.ndarray:
        """A structure's vertices in joint coordinates."""
        return self.here(self.structures[name].surface.vertices_mm)

    def here(self, points_mm: np.ndarray) -> np.ndarray:
        """Patient points in joint coordinates."""
        return (points_mm - self.axes.origin_mm) @ self.basis

    def level(self, name: str, z: float, within: float = 2.0) -> np.ndarray:
        """The vertices within so many mm of a height."""
        points = self.at(name)
        return points[np.abs(points[:, 2] - z) < within]

    def chord(self, name: str, at, way=(0.0, 1.0, 0.0)) -> float:
        """Length of a line through a joint point that lies in a structure."""
        way = self.basis @ (np.asarray(way, float) / np.linalg.norm(way))
        start = self.basis @ np.asarray(at, float) + self.axes.origin_mm - 300.0 * way
        hits = np.sort(all_hits(self.structures[name].surface.bvh, start[None], way[None])[1])
        return float((hits[1::2] - hits[::2]).sum())

    def diameter(self, name: str) -> float:
        """Diameter of a round cord, from its volume and surface: 4 V / A, ends left out."""
        surface = self.structures[name].surface
        corners = surface.vertices_mm[surface.triangles]
        area = 0.5 * np.linalg.norm(
            np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
        )
        return 4e3 * surface.volume_ml / float(area.sum())

    def sheet(self, name: str) -> float:
        """Thickness of a sheet: twice its volume over its surface."""
        return 0.5 * self.diameter(name)

    def gap(self, name: str, other: str) -> float:
        """Least distance of a structure's wall to another's."""
        points = self.structures[name].surface.vertices_mm
        return float(nearest_points(self.structures[other].surface.bvh, points)[0].min())

    def depth(self, at, name: str = "skin") -> float:
        """How deep a joint point lies under a surface."""
        point = self.basis @ np.asarray(at, float) + self.axes.origin_mm
        return -float(signed_distances(self.structures[name].surface.bvh, point[None])[0])

    def front(self, outer: str, inner: str, x: float, z: float) -> float:
        """How far before one surface another lies, along the anterior axis at a place x, z."""

        def first(name: str) -> float:
            start = self.basis @ np.array([x, 400.0, z]) + self.axes.origin_mm
            return float(
                np.min(all_hits(self.structures[name].surface.bvh, start[None], -self.axes.anterior[None])[1])
            )

        return first(inner) - first(outer)


Range = tuple[float, float]


@dataclass(frozen=True)
class Quantity:
    """One published size or place, and how it is measured on a joint made whole."""

    kind: str
    name: str
    structures: tuple[str, ...]
    measure: Callable[[Made], float]
    range_mm: Range | Callable[[Subject], Range]
    source: str

    def within(self, subject: Subject) -> Range:
        return self.range_mm(subject) if callable(self.range_mm) else self.range_mm


def by_bmi(table, *, woman: float = 1.0, share: float = 0.3) -> Callable[[Subject], Range]:
    """A range of ± a share about a table by BMI (assumed in the facts), women's so many times as much."""

    def of(subject: Subject) -> Range:
        value = float(np.interp(subject.bmi, BMI, table)) * (woman if subject.sex == "female" else 1.0)
        return (1.0 - share) * value, (1.0 + share) * value

    return of


def by_sex(male: Range, female: Range) -> Callable[[Subject], Range]:
    return lambda subject: male if subject.sex == "male" else female


def order(first: str, second: str, z: float) -> Callable[[Made], float]:
    """How far lateral of one cord's middle another's lies at a height."""
    return lambda m: float(m.level(second, z, 4.0)[:, 0].mean() - m.level(first, z, 4.0)[:, 0].mean())


def on_bone(cartilage: str, bone: str) -> Callable[[Made], float]:
    """Mean thickness of a cartilage where it has its full thickness: the mean over its outer face."""

    def measure(m: Made) -> float:
        away = signed_distances(m.structures[bone].surface.bvh, m.structures[cartilage].surface.vertices_mm)
        outer = away[away > 0.5]
        return float(outer.mean())

    return measure


def sharpest_turn(name: str) -> Callable[[Made], float]:
    """By how many degrees a cord's middle line turns within 3 mm at most, below 4 cm above the joint."""

    def measure(m: Made) -> float:
        points = m.at(name)
        heights = np.arange(points[:, 2].min() + 2.0, 40.0, 3.0)
        middle = np.array([points[np.abs(points[:, 2] - z) < 1.0].mean(axis=0) for z in heights])
        way = np.diff(middle, axis=0)
        way /= np.linalg.norm(way, axis=1)[:, None]
        return float(np.degrees(np.arccos(np.clip((way[1:] * way[:-1]).sum(axis=1), -1.0, 1.0))).max())

    return measure
