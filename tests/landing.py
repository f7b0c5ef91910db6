"""Where completed structures land, measured as the published studies measured them: one row per quantity.

The rows are the quantities of published anatomy that completion builds (recesses are tested beside them). A
range is the study's mean ± 2 SD or the range it gives; rows marked `assumed` have no citable number, only a
judgement, and test that the build follows what it states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from injectplan.anatomy.model import JointAxes, Structure, Subject
from injectplan.kernels.bvh import all_hits, nearest_points, signed_distances

BMI = (22.0, 27.0, 32.0, 38.0)


@dataclass(frozen=True)
class Made:
    """A joint made whole: its axes, structures and subject."""

    axes: JointAxes
    structures: Mapping[str, Structure]
    subject: Subject

    @property
    def basis(self) -> np.ndarray:
        return np.column_stack([self.axes.lateral, self.axes.anterior, self.axes.proximal])

    def at(self, name: str) -> np.ndarray:
        """A structure's vertices in joint coordinates."""
        return (self.structures[name].surface.vertices_mm - self.axes.origin_mm) @ self.basis

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

    def across(self, name: str, z: float) -> tuple[float, float]:
        """Extents of a cord at a height along x and y, its obliqueness taken out by the least of both."""
        points = self.level(name, z, 0.8)
        return float(np.ptp(points[:, 0])), float(np.ptp(points[:, 1]))

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


def _pole(m: Made) -> np.ndarray:
    points = m.at("patella")
    return points[points[:, 2].argmax()]


def _apex(m: Made) -> np.ndarray:
    points = m.at("patella")
    return points[points[:, 2].argmin()]


def _tendon_down(m: Made) -> np.ndarray:
    """Direction of the patellar tendon, unit."""
    points = m.at("patellar_tendon")
    z = points[:, 2]
    way = points[z < np.quantile(z, 0.2)].mean(axis=0) - points[z > np.quantile(z, 0.8)].mean(axis=0)
    return way / np.linalg.norm(way)


def _patellar_tendon(m: Made) -> float:
    way = _tendon_down(m)
    return m.chord("patellar_tendon", m.at("patellar_tendon").mean(axis=0), (0.0, -way[2], way[1]))


def _quadriceps(up_mm: float) -> Callable[[Made], float]:
    return lambda m: m.chord("quadriceps_tendon", (_pole(m)[0], 0.0, _pole(m)[2] + up_mm))


def _width(name: str, z: Callable[[Made], float], axis: int = 0) -> Callable[[Made], float]:
    return lambda m: float(np.ptp(m.level(name, z(m))[:, axis]))


def _tendon_to_patella(m: Made) -> float:
    tendon, patella = m.at("patellar_tendon"), m.at("patella")
    free = _apex(m)[2] - tendon[:, 2].min() - 5.0  # to the tuberosity's upper edge
    return float(free / abs(_tendon_down(m)[2]) / np.ptp(patella[:, 2]))


def _epicondyle(m: Made, medial: bool) -> np.ndarray:
    points = m.at("femur")
    side = points[(points[:, 2] > 10.0) & (points[:, 2] < 42.0)]
    return side[side[:, 0].argmin() if medial else side[:, 0].argmax()]


def _from_epicondyle(name: str, medial: bool) -> Callable[[Made], float]:
    """How far a cord's middle lies from an epicondyle across the limb, at the epicondyle's height."""

    def measure(m: Made) -> float:
        mark = _epicondyle(m, medial)
        return float(abs(m.level(name, mark[2], 4.0)[:, 0].mean() - mark[0]))

    return measure


def _behind_tibia(m: Made) -> float:
    tibia = m.at("tibia")
    plateau = tibia[(np.abs(tibia[:, 0]) < 24.0) & (np.abs(tibia[:, 2] + 4.0) < 6.0)]
    return float(plateau[:, 1].min() - m.level("popliteal_artery", 0.0, 4.0)[:, 1].max())


def _hoffa_area(m: Made) -> float:
    """Largest sagittal section of the infrapatellar pad, cm²."""
    points = m.at("infrapatellar_fat_pad")
    found = []
    for x in np.arange(points[:, 0].min() + 2.0, points[:, 0].max(), 4.0):
        rows = [m.chord("infrapatellar_fat_pad", (x, 0.0, z))
                for z in np.arange(points[:, 2].min(), points[:, 2].max(), 1.5)]  # fmt: skip
        found.append(1.5 * sum(rows) / 100.0)
    return max(found)


def _fat(m: Made, x: float, z: float) -> float:
    return m.front("subcutaneous_fat", "deep_fascia", x, z)


def _fat_over_patella(m: Made) -> float:
    front = m.at("patella")
    at = front[front[:, 1].argmax()]
    return _fat(m, at[0], at[2])


def _fat_at_portal(m: Made) -> float:
    """Perpendicular to the skin 10 mm above and lateral of the patella's upper outer corner."""
    patella = m.at("patella")
    high = patella[patella[:, 2] > np.quantile(patella[:, 2], 0.8)]
    x, z = float(high[:, 0].max()) + 10.0, float(patella[:, 2].max()) + 10.0
    start = np.array([x, 0.0, z])
    way = np.array([0.5, 0.87, 0.0])
    return 0.5 * (
        m.chord("subcutaneous_fat", start, way) - m.chord("deep_fascia", start, way)
    )  # two walls of the limb: in front and behind


def _medial_fat(m: Made) -> float:
    mark = _epicondyle(m, True)

    def x_of(name: str) -> float:
        way = m.basis @ np.array([1.0, 0.0, 0.0])
        start = m.basis @ np.array([-400.0, mark[1], mark[2] - 8.0]) + m.axes.origin_mm
        return float(np.min(all_hits(m.structures[name].surface.bvh, start[None], way[None])[1]))

    return x_of("deep_fascia") - x_of("subcutaneous_fat")


def _skin(m: Made, x: float, z: float) -> float:
    return m.front("skin", "subcutaneous_fat", x, z)


def _fibular_height(m: Made) -> float:
    ligament = m.at("lateral_collateral_ligament")
    return float(np.linalg.norm(ligament[ligament[:, 2].argmax()] - ligament[ligament[:, 2].argmin()]))


def _infrapatellar(m: Made, joint_line: bool) -> float:
    """How far medial of the patellar tendon's edge the nerve lies, at the joint line or the lower pole."""
    tendon = m.at("patellar_tendon")
    pole = _apex(m)[2]
    edge = tendon[np.abs(tendon[:, 2] - min(pole - 4.0, tendon[:, 2].max() - 3.0)) < 3.0][:, 0].min()
    z = pole - 15.0 if joint_line else pole
    return float(edge - m.level("infrapatellar_nerve", z, 3.0)[:, 0].mean())


def _pierces_below_tubercle(m: Made) -> float:
    """How far under the adductor tubercle (38 of 76 mm above the joint) the nerve leaves the fascia."""
    points = m.structures["saphenous_nerve"].surface.vertices_mm
    away = signed_distances(m.structures["deep_fascia"].surface.bvh, points)
    z = m.at("saphenous_nerve")[:, 2]
    femur = m.at("femur")
    low = femur[femur[:, 2] < 45.0]
    return 0.5 * float(np.ptp(low[:, 0])) - float(z[away < 0.0].min())


def _from_tuberosity(m: Made) -> float:
    """How far medial of the tuberosity the saphenous nerve lies, along the skin's bow (half a circle's)."""
    front = m.at("tibia")
    front = front[(front[:, 2] < -22.0) & (front[:, 2] > -50.0)]
    mark = front[front[:, 1].argmax()]
    nerve = m.level("saphenous_nerve", mark[2], 4.0).mean(axis=0)
    straight = float(np.linalg.norm((nerve - mark)[:2]))
    return 1.11 * straight  # a quarter of a circle over its chord


KNEE: tuple[Quantity, ...] = (
    *(
        Quantity(
            "knee",
            f"quadriceps tendon {up} mm above the patella",
            ("quadriceps_tendon",),
            _quadriceps(up),
            (5.1, 9.5),
            "MRI 7.13/7.41/7.26 at 1/2/4 cm, SD 1.1-1.4",
        )
        for up in (10.0, 20.0, 40.0)
    ),
    Quantity(
        "knee",
        "quadriceps tendon's width at the patella",
        ("quadriceps_tendon",),
        _width("quadriceps_tendon", lambda m: _pole(m)[2] + 6.0),
        (33.0, 46.0),
        "35-45, assumed",
    ),
    Quantity(
        "knee",
        "quadriceps tendon's width 35 mm higher",
        ("quadriceps_tendon",),
        _width("quadriceps_tendon", lambda m: _pole(m)[2] + 35.0),
        (23.0, 32.0),
        "25-30, assumed",
    ),
    Quantity(
        "knee",
        "quadriceps tendon's length",
        ("quadriceps_tendon",),
        lambda m: float(m.at("quadriceps_tendon")[:, 2].max() - _pole(m)[2]),
        (68.0, 86.0),
        "70-85, assumed",
    ),
    Quantity(
        "knee",
        "patellar tendon's thickness",
        ("patellar_tendon",),
        _patellar_tendon,
        (3.9, 5.5),
        "US 4.7 ± 0.4",
    ),
    Quantity(
        "knee",
        "patellar tendon's width",
        ("patellar_tendon",),
        _width("patellar_tendon", lambda m: _apex(m)[2] - 12.0),
        (14.8, 30.0),
        "US 22.4 ± 3.8",
    ),
    Quantity(
        "knee",
        "patellar tendon's length by the patella's",
        ("patellar_tendon",),
        _tendon_to_patella,
        (0.56, 1.71),
        "MRI 1.05, range 0.56-1.71, n = 262",
    ),
    Quantity(
        "knee",
        "suprapatellar fat pad, along the limb",
        ("suprapatellar_fat_pad",),
        lambda m: float(m.at("suprapatellar_fat_pad")[:, 2].max() - _pole(m)[2]),
        (9.0, 16.0),
        "10-15, assumed",
    ),
    Quantity(
        "knee",
        "suprapatellar fat pad, front to back",
        ("suprapatellar_fat_pad",),
        lambda m: max(
            m.chord("suprapatellar_fat_pad", (_pole(m)[0], 0.0, _pole(m)[2] + up))
            for up in (1.0, 3.0, 5.0, 7.0)
        ),
        (4.0, 12.0),
        "6-8, assumed",
    ),
    Quantity(
        "knee",
        "prefemoral fat pad",
        ("prefemoral_fat_pad",),
        lambda m: m.chord("prefemoral_fat_pad", (_pole(m)[0], 0.0, _pole(m)[2] + 15.0)),
        (5.7, 16.5),
        "US 11.1 ± 2.7 at 30°, 9.1 ± 2.7 at 60°",
    ),
    Quantity(
        "knee",
        "infrapatellar fat pad's largest sagittal section, cm²",
        ("infrapatellar_fat_pad",),
        _hoffa_area,
        (4.5, 11.0),
        "MRI 6.9 ± 1.6, range 4.5-11, n = 216",
    ),
    Quantity(
        "knee",
        "infrapatellar fat pad, mL",
        ("infrapatellar_fat_pad",),
        lambda m: m.structures["infrapatellar_fat_pad"].surface.volume_ml,
        by_sex((14.0, 42.0), (10.0, 32.0)),
        "about 28 in men, 20 in women, ± half, assumed",
    ),
    Quantity(
        "knee",
        "iliotibial tract at the condyle",
        ("iliotibial_tract",),
        lambda m: m.chord(
            "iliotibial_tract",
            (0.0, m.level("iliotibial_tract", 22.0, 3.0)[:, 1].mean(), 22.0),
            (1.0, 0.0, 0.0),
        ),
        (1.35, 2.6),
        "US 1.95 ± 0.3",
    ),
    Quantity(
        "knee",
        "medial collateral ligament's lower end under the joint",
        ("medial_collateral_ligament",),
        lambda m: float(m.at("tibia")[:, 2].max() - m.at("medial_collateral_ligament")[:, 2].min()),
        (50.0, 74.0),
        "61.2; centroid 62.4 ± 5.5",
    ),
    Quantity(
        "knee",
        "medial collateral ligament's length",
        ("medial_collateral_ligament",),
        lambda m: float(np.ptp(m.at("medial_collateral_ligament")[:, 2])),
        (80.0, 110.0),
        "94.8",
    ),
    Quantity(
        "knee",
        "lateral collateral ligament's length",
        ("lateral_collateral_ligament",),
        _fibular_height,
        (40.0, 76.0),
        "48.3 to 70",
    ),
    Quantity(
        "knee",
        "lateral collateral ligament's thickness",
        ("lateral_collateral_ligament",),
        lambda m: m.diameter("lateral_collateral_ligament"),
        (3.2, 4.8),
        "4.0, SE 0.16, n = 10",
    ),
    Quantity(
        "knee",
        "medial retinaculum",
        ("medial_retinaculum",),
        lambda m: m.sheet("medial_retinaculum"),
        (0.6, 1.9),
        "0.91 ± 0.15; MRI 1.2-1.7",
    ),
    Quantity(
        "knee",
        "lateral retinaculum",
        ("lateral_retinaculum",),
        lambda m: m.sheet("lateral_retinaculum"),
        (0.8, 2.2),
        "1-2, assumed",
    ),
    Quantity(
        "knee",
        "skin before the patellar tendon",
        ("skin", "subcutaneous_fat"),
        lambda m: _skin(m, _apex(m)[0], _apex(m)[2] - 15.0),
        (1.2, 2.8),
        "1.5-2.0, range 1.2-2.5, men +0.3, assumed",
    ),
    Quantity(
        "knee",
        "fat over the patella",
        ("subcutaneous_fat", "deep_fascia"),
        _fat_over_patella,
        by_bmi((3.0, 5.0, 8.0, 12.0), woman=1.3, share=0.4),
        "by BMI, women 1.3 times, assumed",
    ),
    Quantity(
        "knee",
        "fat over the suprapatellar midline",
        ("subcutaneous_fat", "deep_fascia"),
        lambda m: _fat(m, _pole(m)[0], _pole(m)[2] + 40.0),
        by_bmi((6.0, 9.0, 14.0, 20.0), woman=1.3, share=0.4),
        "by BMI, women 1.3 times, assumed",
    ),
    Quantity(
        "knee",
        "fat at the superolateral portal",
        ("subcutaneous_fat", "deep_fascia"),
        _fat_at_portal,
        by_bmi((6.0, 9.0, 13.0, 18.0), woman=1.3, share=0.45),
        "by BMI, women 1.3 times, assumed",
    ),
    Quantity(
        "knee",
        "fat over the medial condyle",
        ("subcutaneous_fat", "deep_fascia"),
        _medial_fat,
        by_bmi((9.0, 15.0, 24.0, 35.0), woman=1.3, share=0.3),
        "by BMI, women 1.3 times, assumed",
    ),
    Quantity(
        "knee",
        "popliteal artery behind the tibia",
        ("popliteal_artery",),
        _behind_tibia,
        (1.9, 7.9),
        "MRI 3.9 extended, 7.6 bent",
    ),
    Quantity(
        "knee",
        "popliteal artery's diameter",
        ("popliteal_artery",),
        lambda m: m.diameter("popliteal_artery"),
        (4.7, 7.3),
        "6.5 men, 5.5 women, assumed",
    ),
    Quantity(
        "knee",
        "popliteal vein's diameter",
        ("popliteal_vein",),
        lambda m: m.diameter("popliteal_vein"),
        (6.5, 9.0),
        "7-9, assumed",
    ),
    Quantity(
        "knee",
        "tibial nerve's section, mm²",
        ("tibial_nerve",),
        lambda m: 0.25 * np.pi * m.diameter("tibial_nerve") ** 2,
        (16.0, 22.5),
        "US 19.6 ± 1.4",
    ),
    Quantity(
        "knee",
        "common fibular nerve's section, mm²",
        ("common_fibular_nerve",),
        lambda m: 0.25 * np.pi * m.diameter("common_fibular_nerve") ** 2,
        (4.0, 11.0),
        "at most 9-11",
    ),
    *(
        Quantity(
            "knee",
            f"{name.replace('_', ' ')} from the medial epicondyle",
            (name,),
            _from_epicondyle(name, True),
            by_sex((14.2, 62.6), female),
            "cadavers n = 45, by sex",
        )
        for name, female in (
            ("popliteal_artery", (24.8, 44.4)),
            ("popliteal_vein", (21.6, 44.0)),
            ("tibial_nerve", (21.8, 54.2)),
        )
    ),
    Quantity(
        "knee",
        "common fibular nerve from the lateral epicondyle",
        ("common_fibular_nerve",),
        _from_epicondyle("common_fibular_nerve", False),
        by_sex((0.0, 29.8), (0.0, 26.6)),
        "13.4 ± 8.2 men, 8.4 ± 9.1 women",
    ),
    Quantity(
        "knee",
        "superior lateral genicular artery's diameter",
        ("superior_lateral_genicular_artery",),
        lambda m: m.diameter("superior_lateral_genicular_artery"),
        (0.9, 2.1),
        "1-2, assumed",
    ),
    Quantity(
        "knee",
        "superior lateral genicular artery on the cortex",
        ("superior_lateral_genicular_artery",),
        lambda m: m.gap("superior_lateral_genicular_artery", "femur"),
        (0.0, 3.0),
        "on the cortex, assumed",
    ),
    Quantity(
        "knee",
        "infrapatellar nerve medial of the tendon's edge, lower pole",
        ("infrapatellar_nerve",),
        lambda m: _infrapatellar(m, False),
        (20.0, 45.0),
        "31.0, no SD; others 20 at the joint line",
    ),
    Quantity(
        "knee",
        "infrapatellar nerve medial of the tendon's edge, joint line",
        ("infrapatellar_nerve",),
        lambda m: _infrapatellar(m, True),
        (5.8, 31.0),
        "17.2; 5.8 straight down to 31.0 at the pole",
    ),
    Quantity(
        "knee",
        "great saphenous vein's diameter",
        ("great_saphenous_vein",),
        lambda m: m.diameter("great_saphenous_vein"),
        (2.9, 4.7),
        "2.9 mm thigh, 3.8 leg",
    ),
    Quantity(
        "knee",
        "saphenous nerve leaves the fascia under the adductor tubercle",
        ("saphenous_nerve",),
        _pierces_below_tubercle,
        (40.0, 70.0),
        "50-60, 95 limbs",
    ),
    Quantity(
        "knee",
        "saphenous nerve medial of the tuberosity",
        ("saphenous_nerve",),
        _from_tuberosity,
        (55.0, 85.0),
        "70, 95 limbs",
    ),
)


def _to_joint(name: str) -> Callable[[Made], float]:
    """Least distance of a cord's wall to the head and neck at the joint's height."""

    def measure(m: Made) -> float:
        points = m.structures[name].surface.vertices_mm[np.abs(m.at(name)[:, 2]) < 25.0]
        return float(nearest_points(m.structures["femur"].surface.bvh, points)[0].min())

    return measure


def _head_radius(m: Made) -> float:
    points = m.at("femur")
    away = np.linalg.norm(points, axis=1)
    return float(np.median(away[away < np.quantile(away, 0.02) * 1.15]))


def _skin_to_head(m: Made) -> float:
    at = m.axes.origin_mm + _head_radius(m) * m.axes.anterior
    return float(np.min(all_hits(m.structures["skin"].surface.bvh, at[None], m.axes.anterior[None])[1]))


def _over_head(name: str) -> Callable[[Made], float]:
    """A muscle's thickest place front to back over the head and neck."""

    def measure(m: Made) -> float:
        level = m.level(name, 0.0, 3.0)
        xs = np.linspace(level[:, 0].min() + 1.0, level[:, 0].max() - 1.0, 15)
        return max(m.chord(name, (x, 0.0, 0.0)) for x in xs)

    return measure


def _iliopsoas(m: Made) -> float:
    xs = np.arange(-40.0, 15.0, 2.0)
    return max(m.chord("iliacus", (x, 0.0, 5.0)) + m.chord("psoas_major", (x, 0.0, 5.0)) for x in xs)


def _spine(m: Made) -> np.ndarray:
    points = m.at("hip_bone")
    high = points[points[:, 2] > 40.0]
    return high[int(np.argmax(high[:, 1] + 0.6 * high[:, 0]))]


def _lateral_of_artery(m: Made) -> float:
    """How far lateral of the artery's middle the neck's target lies: a head's radius out on the neck."""
    radius = _head_radius(m)
    points = m.at("femur")
    shell = np.linalg.norm(points, axis=1)
    neck = points[(shell > 1.25 * radius) & (shell < 1.6 * radius)].mean(axis=0)
    target = radius * neck / np.linalg.norm(neck)
    return float(target[0] - m.level("femoral_artery", target[2], 4.0)[:, 0].mean())


def _order(first: str, second: str, z: float) -> Callable[[Made], float]:
    """How far lateral of one cord's middle another's lies at a height."""
    return lambda m: float(m.level(second, z, 4.0)[:, 0].mean() - m.level(first, z, 4.0)[:, 0].mean())


def _on_bone(cartilage: str, bone: str) -> Callable[[Made], float]:
    """Mean thickness of a cartilage where it has its full thickness: the mean over its outer face."""

    def measure(m: Made) -> float:
        away = signed_distances(m.structures[bone].surface.bvh, m.structures[cartilage].surface.vertices_mm)
        outer = away[away > 0.5]
        return float(outer.mean())

    return measure


HIP: tuple[Quantity, ...] = (
    Quantity(
        "hip",
        "skin to the head, straight back",
        ("skin",),
        _skin_to_head,
        by_bmi((45.0, 58.0, 72.0, 90.0), share=0.2),
        "45/58/72/90 by BMI, assumed",
    ),
    *(
        Quantity(
            "hip", f"{name.replace('_', ' ')} to the joint", (name,), _to_joint(name), bounds, "MRI n = 115"
        )
        for name, bounds in (
            ("femoral_artery", (11.2, 28.0)),
            ("femoral_vein", (8.7, 26.3)),
            ("femoral_nerve", (12.8, 34.4)),
        )
    ),
    Quantity(
        "hip",
        "artery lateral of the vein",
        ("femoral_artery", "femoral_vein"),
        _order("femoral_vein", "femoral_artery", 0.0),
        (4.0, 20.0),
        "vein medial in 95-96 %",
    ),
    Quantity(
        "hip",
        "nerve lateral of the artery",
        ("femoral_artery", "femoral_nerve"),
        _order("femoral_artery", "femoral_nerve", 0.0),
        (4.0, 20.0),
        "nerve lateral, artery medial",
    ),
    Quantity(
        "hip",
        "target lateral of the artery",
        ("femoral_artery",),
        _lateral_of_artery,
        (20.0, 45.0),
        "25-40, assumed",
    ),
    Quantity(
        "hip",
        "femoral artery's diameter",
        ("femoral_artery",),
        lambda m: m.diameter("femoral_artery"),
        (7.0, 10.8),
        "9.8 men, 8.2 women, assumed",
    ),
    Quantity(
        "hip",
        "femoral vein's section, mm²",
        ("femoral_vein",),
        lambda m: 0.25 * np.pi * m.diameter("femoral_vein") ** 2,
        (45.0, 150.0),
        "US 114 ± 35 at most",
    ),
    Quantity(
        "hip",
        "femoral nerve's section, mm²",
        ("femoral_nerve",),
        lambda m: 0.25 * np.pi * m.diameter("femoral_nerve") ** 2,
        (11.3, 32.1),
        "US 21.7 ± 5.2",
    ),
    Quantity(
        "hip",
        "circumflex artery's diameter",
        ("lateral_circumflex_femoral_artery",),
        lambda m: m.diameter("lateral_circumflex_femoral_artery"),
        (1.8, 3.2),
        "2-3, assumed",
    ),
    Quantity(
        "hip",
        "lateral cutaneous nerve medial of the spine",
        ("lateral_femoral_cutaneous_nerve",),
        lambda m: float(
            _spine(m)[0] - m.level("lateral_femoral_cutaneous_nerve", _spine(m)[2] - 4.0, 6.0)[:, 0].mean()
        ),
        (3.0, 46.0),
        "20.4, range 3-46",
    ),
    Quantity(
        "hip",
        "lateral cutaneous nerve's diameter",
        ("lateral_femoral_cutaneous_nerve",),
        lambda m: m.diameter("lateral_femoral_cutaneous_nerve"),
        (1.0, 6.2),
        "3.6 ± 1.3 wide",
    ),
    Quantity(
        "hip",
        "labrum's width",
        ("labrum",),
        lambda m: m.diameter("labrum"),
        (3.4, 7.9),
        "MRI 7.3, arthroscopy 5.0; US 3.4 x 7.9 in front",
    ),
    Quantity(
        "hip",
        "sartorius over the head",
        ("sartorius",),
        _over_head("sartorius"),
        (6.0, 14.0),
        "8-12, assumed",
    ),
    Quantity(
        "hip",
        "rectus femoris over the head",
        ("rectus_femoris",),
        _over_head("rectus_femoris"),
        (10.0, 20.0),
        "12-18, assumed",
    ),
    Quantity(
        "hip",
        "iliopsoas over the head",
        ("iliacus", "psoas_major"),
        _iliopsoas,
        (15.0, 32.0),
        "20-30, assumed",
    ),
    Quantity(
        "hip",
        "capsule's thickness",
        ("joint_capsule", "joint_cavity"),
        lambda m: _capsule(m),
        (1.1, 2.6),
        "US M 1.9 ± 0.3, F 1.7 ± 0.3",
    ),
    Quantity(
        "hip",
        "head's cartilage",
        ("femoral_head_cartilage",),
        _on_bone("femoral_head_cartilage", "femur"),
        (1.0, 2.2),
        "joint means 1.35-2.00; 1.0 at the edge, 2.2 above, assumed",
    ),
    Quantity(
        "hip",
        "socket's cartilage",
        ("acetabular_cartilage",),
        _on_bone("acetabular_cartilage", "hip_bone"),
        (0.8, 2.0),
        "1.9 superolateral, 1.2 medial, assumed",
    ),
)


def _capsule(m: Made) -> float:
    """How far the capsule's outer face stands off the cavity, in the middle."""
    points = m.structures["joint_capsule"].surface.vertices_mm
    away = signed_distances(m.structures["joint_cavity"].surface.bvh, points)
    return float(np.median(away[away > 0.3]))


def _tendon(name: str, axis: int) -> Callable[[Made], float]:
    """A tendon's extent at the joint's height, across or front to back (by a ray)."""
    if axis == 0:
        return lambda m: float(np.ptp(m.level(name, 4.0, 1.0)[:, 0]))
    return lambda m: m.chord(name, m.level(name, 4.0, 1.0).mean(axis=0))


def _intermalleolar(name: str) -> Callable[[Made], float]:
    """Where a cord lies on the line between the malleoli at the joint: 0 lateral, 100 medial."""

    def measure(m: Made) -> float:
        skin = m.at("skin")
        fibula, tibia = m.at("fibula"), m.at("tibia")
        out = fibula[np.abs(fibula[:, 2]) < 12.0][:, 0].max()
        inn = tibia[np.abs(tibia[:, 2]) < 12.0][:, 0].min()
        assert skin[:, 0].min() < inn < out < skin[:, 0].max()
        return 100.0 * float((out - m.level(name, 0.0, 2.0)[:, 0].mean()) / (out - inn))

    return measure


def _dome_edge(m: Made, medial: bool) -> float:
    talus = m.at("talus")
    dome = talus[(talus[:, 2] > -6.0) & (talus[:, 1] > -4.0) & (talus[:, 1] < 14.0)][:, 0]
    return float(dome.min() if medial else dome.max())


def _ankle_depth(m: Made) -> float:
    """Skin to the plafond's front rim, just within its medial border, the shortest way."""
    x = _dome_edge(m, True) + 2.0
    tibia = m.at("tibia")
    rim = tibia[(np.abs(tibia[:, 0] - x) < 4.0) & (tibia[:, 2] < 16.0) & (tibia[:, 1] > 8.0)]
    front = rim[rim[:, 1] > rim[:, 1].max() - 2.0]
    return m.depth(front[front[:, 2].argmin()])


def _between(name: str, other: str) -> Callable[[Made], float]:
    def measure(m: Made) -> float:
        z = m.at(name)[:, 2]
        points = m.structures[name].surface.vertices_mm[z < z.min() + 1.5]
        return float(nearest_points(m.structures[other].surface.bvh, points)[0].min())

    return measure


ANKLE: tuple[Quantity, ...] = (
    Quantity(
        "ankle",
        "skin to the plafond's rim, anteromedial",
        ("skin",),
        _ankle_depth,
        (8.0, 20.0),
        "8-15 lean, more with fat 3-8, assumed",
    ),
    Quantity(
        "ankle",
        "talar cartilage",
        ("talar_cartilage",),
        _on_bone("talar_cartilage", "talus"),
        by_sex((0.91, 1.79), (0.55, 1.67)),
        "M 1.35 ± 0.22, F 1.11 ± 0.28",
    ),
    Quantity(
        "ankle",
        "plafond's cartilage",
        ("tibial_plafond_cartilage",),
        _on_bone("tibial_plafond_cartilage", "tibia"),
        (0.7, 2.0),
        "ankle means 1.0-1.62, 0.7-2.0",
    ),
    *(
        Quantity(
            "ankle",
            f"{name.replace('_', ' ')}, {('across', 'front to back')[axis]}",
            (name,),
            _tendon(name, axis),
            bounds,
            "9 x 4.5, 5 x 2.5, 10 x 3, assumed",
        )
        for name, sizes in (
            ("tibialis_anterior_tendon", ((7.0, 11.0), (3.3, 6.3))),
            ("extensor_hallucis_longus_tendon", ((3.8, 6.5), (1.8, 4.0))),
            ("extensor_digitorum_longus_tendon", ((8.0, 12.0), (2.2, 4.4))),
        )
        for axis, bounds in enumerate(sizes)
    ),
    *(
        Quantity(
            "ankle",
            f"{second.replace('_', ' ')} lateral of {first.replace('_', ' ')}",
            (first, second),
            _order(first, second, 4.0),
            (1.0, 20.0),
            "order from medial to lateral, 160 limbs",
        )
        for first, second in (
            ("tibialis_anterior_tendon", "extensor_hallucis_longus_tendon"),
            ("extensor_hallucis_longus_tendon", "dorsalis_pedis_artery"),
            ("dorsalis_pedis_artery", "deep_fibular_nerve"),
            ("deep_fibular_nerve", "extensor_digitorum_longus_tendon"),
        )
    ),
    Quantity(
        "ankle",
        "deep fibular nerve between the malleoli, %",
        ("deep_fibular_nerve",),
        _intermalleolar("deep_fibular_nerve"),
        (36.0, 60.0),
        "50 %, 38 cadavers, names inferred",
    ),
    Quantity(
        "ankle",
        "saphenous nerve between the malleoli, %",
        ("saphenous_nerve",),
        _intermalleolar("saphenous_nerve"),
        (74.0, 92.0),
        "82 %, 38 cadavers, names inferred",
    ),
    Quantity(
        "ankle",
        "saphenous nerve medial of the joint's border",
        ("saphenous_nerve",),
        lambda m: _dome_edge(m, True) - float(m.level("saphenous_nerve", 0.0, 2.0)[:, 0].mean()),
        (-4.0, 16.0),
        "6 ± 5, 77 ankles",
    ),
    Quantity(
        "ankle",
        "saphenous nerve's end to the tibialis anterior",
        ("saphenous_nerve",),
        _between("saphenous_nerve", "tibialis_anterior_tendon"),
        (10.0, 22.0),
        "16 ± 3, 16 ankles",
    ),
    Quantity(
        "ankle",
        "great saphenous vein before the nerve",
        ("saphenous_nerve", "great_saphenous_vein"),
        lambda m: float(
            m.level("great_saphenous_vein", 0.0, 2.0)[:, 1].mean()
            - m.level("saphenous_nerve", 0.0, 2.0)[:, 1].mean()
        ),
        (0.5, 6.0),
        "nerve behind the vein, 16 ankles",
    ),
    Quantity(
        "ankle",
        "superficial fibular nerve from the lateral border",
        ("superficial_fibular_nerve",),
        lambda m: float(
            m.at("fibula")[np.abs(m.at("fibula")[:, 2]) < 10.0][:, 0].max()
            - m.level("superficial_fibular_nerve", 0.0, 2.0)[:, 0].mean()
        ),
        (3.0, 30.8),
        "14 ± 8.4, 34 limbs",
    ),
    Quantity(
        "ankle",
        "no superficial fibular nerve medial to the hallux's extensor",
        ("superficial_fibular_nerve",),
        _order("extensor_hallucis_longus_tendon", "superficial_fibular_nerve", 0.0),
        (2.0, 40.0),
        "none medial, 34 limbs",
    ),
    *(
        Quantity(
            "ankle",
            f"{name.replace('_', ' ')}'s diameter",
            (name,),
            lambda m, name=name: m.diameter(name),
            bounds,
            source,
        )
        for name, bounds, source in (
            ("dorsalis_pedis_artery", (1.8, 2.7), "2.0-2.5, assumed"),
            ("posterior_tibial_artery", (1.8, 3.2), "2-3, assumed"),
            ("great_saphenous_vein", (2.9, 4.7), "3.8 in the leg"),
            ("tibial_nerve", (3.5, 5.1), "10-20 mm², assumed"),
            ("sural_nerve", (1.5, 2.3), "2-4 mm², assumed"),
        )
    ),
    *(
        Quantity(
            "ankle",
            name.replace("_", " "),
            (name,),
            lambda m, name=name: m.sheet(name),
            bounds,
            "MRI, 10 cadavers, doi:10.2214/AJR.05.1066",
        )
        for name, bounds in (
            ("superior_extensor_retinaculum", (0.6, 1.2)),
            ("inferior_extensor_retinaculum", (0.8, 1.6)),
            ("flexor_retinaculum", (0.6, 1.2)),
            ("superior_fibular_retinaculum", (0.7, 1.3)),
        )
    ),
)
QUANTITIES = {"knee": KNEE, "hip": HIP, "ankle": ANKLE}
