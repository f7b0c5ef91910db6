"""What completion builds at the ankle, and what was published of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from injectplan.kernels.bvh import nearest_points
from landing.measure import Made, Quantity, by_sex, on_bone, order, sharpest_turn


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
        on_bone("talar_cartilage", "talus"),
        by_sex((0.91, 1.79), (0.55, 1.67)),
        "M 1.35 ± 0.22, F 1.11 ± 0.28",
    ),
    Quantity(
        "ankle",
        "plafond's cartilage",
        ("tibial_plafond_cartilage",),
        on_bone("tibial_plafond_cartilage", "tibia"),
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
            order(first, second, 4.0),
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
        order("extensor_hallucis_longus_tendon", "superficial_fibular_nerve", 0.0),
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
    Quantity(
        "ankle",
        "great saphenous vein's sharpest turn, degrees in 3 mm",
        ("great_saphenous_vein",),
        sharpest_turn("great_saphenous_vein"),
        (0.0, 45.0),
        "vessels bend, they do not turn corners, assumed",
    ),
)
