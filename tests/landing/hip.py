"""What completion builds at the hip, and what was published of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from injectplan.kernels.bvh import all_hits, nearest_points, signed_distances
from landing.measure import Made, Quantity, by_bmi, on_bone, order, sharpest_turn


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


def _capsule(m: Made) -> float:
    """How far the capsule's outer face stands off the cavity, in the middle."""
    points = m.structures["joint_capsule"].surface.vertices_mm
    away = signed_distances(m.structures["joint_cavity"].surface.bvh, points)
    return float(np.median(away[away > 0.3]))


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
        order("femoral_vein", "femoral_artery", 0.0),
        (4.0, 20.0),
        "vein medial in 95-96 %",
    ),
    Quantity(
        "hip",
        "nerve lateral of the artery",
        ("femoral_artery", "femoral_nerve"),
        order("femoral_artery", "femoral_nerve", 0.0),
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
        on_bone("femoral_head_cartilage", "femur"),
        (1.0, 2.2),
        "joint means 1.35-2.00; 1.0 at the edge, 2.2 above, assumed",
    ),
    Quantity(
        "hip",
        "socket's cartilage",
        ("acetabular_cartilage",),
        on_bone("acetabular_cartilage", "hip_bone"),
        (0.8, 2.0),
        "1.9 superolateral, 1.2 medial, assumed",
    ),
    Quantity(
        "hip",
        "femoral vein's sharpest turn, degrees in 3 mm",
        ("femoral_vein",),
        sharpest_turn("femoral_vein"),
        (0.0, 45.0),
        "vessels bend, they do not turn corners, assumed",
    ),
)
