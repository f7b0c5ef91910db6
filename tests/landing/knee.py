"""What completion builds at the knee, and what was published of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from injectplan.kernels.bvh import all_hits, signed_distances
from landing.measure import Made, Quantity, by_bmi, by_sex


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
