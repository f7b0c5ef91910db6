"""What was published of the joints' recesses, and how it is measured on a joint made whole."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from injectplan.anatomy.cavity import capacity_ml, fill_cavity
from injectplan.anatomy.model import Recess
from injectplan.kernels.bvh import nearest_points
from landing.measure import Made, Quantity


def _recess(m: Made, name: str) -> Recess:
    return next(r for r in m.cavity.recesses if r.name == name)


def _thickness(name: str) -> Callable[[Made], float]:
    return lambda m: _recess(m, name).thickness_mm


def _holds(m: Made) -> float:
    return m.cavity.resting_volume_ml + capacity_ml(m.cavity)


def _filled(m: Made, share: float) -> np.ndarray:
    """The fluid's surface when the joint is filled to a share of what it takes."""
    state = fill_cavity(m.cavity, share * capacity_ml(m.cavity), m.cavity.recesses[0].center_mm)
    assert state.fluid is not None
    return state.fluid.vertices_mm


def _above_trochlea(m: Made) -> float:
    """How far the resting pouch rises above the trochlea's upper border."""
    ahead = m.at("femoral_cartilage") if "femoral_cartilage" in m.structures else m.at("femur")
    border = ahead[ahead[:, 1] > 0.6 * ahead[:, 1].max()][:, 2].max()
    return float(m.here(m.cavity.surface.vertices_mm)[:, 2].max() - border)


def _midline_length(m: Made) -> float:
    """Length of the fluid line in front of the shaft, in the midline."""
    inside = np.argwhere(
        m.cavity.recess_index == 1 + [r.name for r in m.cavity.recesses].index("suprapatellar")
    )
    at = m.here(m.cavity.field.origin_mm + inside * m.cavity.field.spacing_mm)
    middle = at[np.abs(at[:, 0] - np.median(at[:, 0])) < 2.0]
    return float(np.ptp(middle[:, 2]))


def _neck_to_capsule(m: Made) -> float:
    """Front of the neck to the capsule's outer face where that is farthest, as ultrasound measures it."""
    x, _, z = m.here(_recess(m, "anterior").center_mm[None])[0]
    out = np.array([x, z]) / np.hypot(x, z)  # along the neck, seen from the front
    places = [np.array([x, z]) + step * out for step in np.arange(0.0, 12.0, 1.5)]
    return max(m.front("joint_capsule", "femur", float(at[0]), float(at[1])) for at in places)


def _over_plafond(front: bool) -> Callable[[Made], float]:
    """How far the filled recess rises above the plafond's front or back rim."""

    def measure(m: Made) -> float:
        tibia, fluid = m.at("tibia"), _filled(m, 0.7)
        low = tibia[(np.abs(tibia[:, 0]) < 8.0) & (tibia[:, 2] < np.quantile(tibia[:, 2], 0.02) + 25.0)]
        sign = 1.0 if front else -1.0
        on_bone = nearest_points(m.structures["tibia"].surface.bvh, fluid, 1.5)[2] >= 0
        fluid = m.here(fluid[on_bone])
        beside = fluid[sign * fluid[:, 1] > sign * np.median(fluid[:, 1]) + 6.0]
        rim = low[np.abs(sign * low[:, 1] - (sign * low[:, 1]).max()) < 4.0]
        return float(beside[:, 2].max() - rim[:, 2].min())

    return measure


RECESSES: tuple[Quantity, ...] = (
    Quantity("knee", "pouch above the trochlea's border", (), _above_trochlea, (40.0, 50.0), "4-5 cm, pfoe"),
    Quantity("knee", "fluid line of the pouch", (), _thickness("suprapatellar"), (1.0, 4.0),
             "2-4 mm, doi:10.1136/ard.2003.015081; from 0.9 in children"),
    Quantity("knee", "fluid line's length", (), _midline_length, (4.4, 51.2),
             "22.2 (4.4-51.2), doi:10.1136/ard.2003.015081"),
    Quantity("hip", "neck to the capsule's outer face", (), _neck_to_capsule, (4.0, 9.0),
             "6.4 +- 1.1 (4-9), doi:10.1007/BF00563203"),
    Quantity("hip", "what the joint holds, mL", (), _holds, (14.0, 20.0), "14-20, doi:10.1007/BF00347339"),
    Quantity("ankle", "fluid in front at rest", (), _thickness("anterior"), (0.3, 3.0),
             "at most 2-3, assumed"),
    Quantity("ankle", "what the joint holds, mL", (), _holds, (10.0, 15.0), "10-15, assumed"),
    Quantity("ankle", "front reflection over the plafond", (), _over_plafond(True), (6.8, 16.5),
             "means 9.8-13.5 by place, doi:10.1002/ca.23219; spread of 3 assumed"),
    Quantity("ankle", "back reflection over the plafond", (), _over_plafond(False), (1.0, 11.2),
             "means 3.5-8.7 by place, doi:10.1002/ca.23219; spread of 2.5 assumed"),
)  # fmt: skip
