"""The parametric ankle: tibia, fibula, talus, calcaneus, cartilage, an effusion and a lesion of the dome."""

from __future__ import annotations

from functools import partial

import numpy as np

from injectplan.frames import Pose
from injectplan.kernels.cast import Floats
from injectplan.phantoms import ankle_bones
from injectplan.phantoms.ankle_bones import DOME_RADIUS, DomeDefect
from injectplan.phantoms.assembly import Recipe, assemble, within
from injectplan.phantoms.effusion import bulge_order, shoulder
from injectplan.phantoms.grids import rotation
from injectplan.phantoms.implicit import Solid, smooth_min
from injectplan.phantoms.layers import Bone, Layer, area_mm2, build_bone
from injectplan.phantoms.values import (
    JOINT_GRID,
    Choice,
    Parameters,
    Phantom,
    Range,
    Truth,
    effective,
    icrs_grade,
    number,
    word,
)

TABLE: dict[str, Range | Choice] = {
    "side": Choice(default="right", words=("left", "right")),
    "sex": Choice(default="female", words=("female", "male")),
    "bmi": Range(default=25.0, low=14.0, high=60.0),
    "size": Range(default=1.0, low=0.75, high=1.3),
    "plantarflexion_deg": Range(default=0.0, low=-15.0, high=35.0),
    "cartilage_scale": Range(default=1.0, low=0.3, high=1.8),
    "effusion_ml": Range(default=0.0, low=0.0, high=60.0),
    "shaft_mm": Range(default=80.0, low=50.0, high=150.0),
    "defect": Choice(default="none", words=("none", "ocd")),
    "defect_zone": Choice(default="medial", words=("medial", "lateral")),
    "defect_ap_mm": Range(default=8.0, low=2.0, high=12.0),
    "defect_ml_mm": Range(default=6.1, low=2.0, high=9.0),
    "defect_depth_mm": Range(default=4.0, low=0.0, high=8.0),
    "defect_cartilage_lost": Range(default=1.0, low=0.0, high=1.0),
    **JOINT_GRID,
}

_TALAR_MM, _PLAFOND_MM = 1.25, 1.2  # dome mean 1.11–1.35 mm; the plafond's is assumed
_FILM_MM = 0.4
_CREASE_MM = 8.0  # over which the capsule bridges the angle between tibia and talus (assumed)
_STIFF_MM = 20.0  # at which the capsule gives half as readily as at rest (assumed)
_SPREAD = 0.9  # of the recess's outline along the bones, per mm that the capsule stands off (assumed)
_SLIT_MM = 3.5  # no effusion between the bearing surfaces: tibia and talus are nearer than this there
_HOLDS_ML = 15.0  # 10 to 15 mL (assumed)


def effusion_order(p: Floats, tibia: Bone, talus: Bone) -> Floats:
    """When fluid reaches a point: the anterior recess first, the posterior one later, (n,).

    Both are ovals over the joint's line, as wide as the dome, which spread along the bones as they bulge; the
    crease between tibia and talus fills first.
    """
    x, y, z = p.T
    on_tibia, on_talus = tibia.solid(p), talus.solid(talus.to_joint.inverse().apply(p))
    depth = np.maximum(smooth_min(on_tibia, on_talus, _CREASE_MM), 0.0)
    # it stiffens as it stretches, towards the sole and beside the malleoli
    bounds = shoulder(np.minimum(z + 25.0, 33.0 - np.abs(x)), 12.0)
    depth = depth * (1.0 + depth / _STIFF_MM) / np.maximum(bounds, 1e-3)
    result = np.full(len(p), np.inf)
    for out, (high, low), half, gives in (
        (y - 6.0, (14.0, 16.0), 14.0, 1.0),
        (-y - 8.0, (8.0, 13.0), 11.0, 0.5),
    ):
        up = np.where(z > 0.0, z / high, z / low)
        rho = np.sqrt((x / half) ** 2 + up**2 + (np.minimum(out, 0.0) / 5.0) ** 2)
        inside = (1.0 - rho) * half
        near = (out > -12.0) & (inside > -30.0)
        order = bulge_order(depth[near] / gives, inside[near], half, _SPREAD * gives)
        result[near] = np.minimum(result[near], order)
    away = (np.maximum(on_tibia, on_talus) < _SLIT_MM) | (np.minimum(on_tibia, on_talus) < 0.0)
    return np.where(away, np.inf, result)


def _defect(p: Parameters, size: float) -> DomeDefect | None:
    if word(p, "defect") == "none":
        return None
    inward = -1.0 if word(p, "defect_zone") == "medial" else 1.0
    return DomeDefect(
        x_mm=inward * 7.2, y_mm=0.0, radius_ml_mm=0.5 * number(p, "defect_ml_mm") / size,
        radius_ap_mm=0.5 * number(p, "defect_ap_mm") / size,
        cartilage_lost=number(p, "defect_cartilage_lost"), bone_depth_mm=number(p, "defect_depth_mm") / size,
    )  # fmt: skip


def _lesion(talus: Bone, defect: DomeDefect) -> Solid:
    def bed(p: Floats) -> Floats:
        foot = talus.to_joint.inverse().apply(p)
        rho = defect.rho(foot)
        depth = -talus.solid(foot)
        low = defect.bone_depth_mm * np.sqrt(np.maximum(1.0 - rho * rho, 0.0))
        return np.where(foot[:, 2] > -14.0, np.maximum(depth - low, (rho - 1.0) * defect.radius_ml_mm), 5.0)

    return Solid(within(talus, bed), np.full(3, -22.0), np.full(3, 22.0))


def _recipe(p: Parameters) -> tuple[Recipe, DomeDefect | None]:
    size, scale = number(p, "size"), number(p, "cartilage_scale")
    talar, plafond = _TALAR_MM * scale / size, _PLAFOND_MM * scale / size
    room = talar + plafond + _FILM_MM
    defect = _defect(p, size)
    top = number(p, "shaft_mm") + 26.0
    cover = Layer(
        "talar_cartilage", partial(ankle_bones.talar_thickness, thickness_mm=talar, defect=defect), talar
    )
    roof = Layer(
        "tibial_plafond_cartilage",
        partial(ankle_bones.plafond_thickness, thickness_mm=plafond, room_mm=room), plafond,
    )  # fmt: skip
    center = np.array([0.0, 0.0, -DOME_RADIUS])
    turn = rotation((1.0, 0.0, 0.0), -number(p, "plantarflexion_deg"))
    foot = Pose(turn, center - turn @ center)
    tibia = build_bone("tibia", ankle_bones.tibia_solid(top_mm=top, room_mm=room), 0.7, (roof,))
    fibula = build_bone("fibula", ankle_bones.fibula_solid(top_mm=top, room_mm=room), 0.9)
    talus = build_bone("talus", ankle_bones.talus_solid(), 0.7, (cover,)).moved(foot)
    calcaneus = build_bone("calcaneus", ankle_bones.calcaneus_solid(), 1.0).moved(foot)
    bones = (talus, tibia, fibula, calcaneus)
    bounds = np.stack([bone.joint_surface().bounds_mm for bone in bones])
    low, high = bounds[:, 0].min(axis=0) - 5.0, bounds[:, 1].max(axis=0) + 5.0
    # beyond what the joint takes the capsule bulges before the talar head
    high[1] += max(0.0, number(p, "effusion_ml") / size**3 - 10.0) / 5.0
    high[2] = top - 10.0
    fluid = Solid(
        partial(effusion_order, tibia=tibia, talus=talus),
        np.array([-46.0, -52.0, -44.0]),
        np.array([46.0, 62.0, 44.0]),
    )
    lesion = None
    if defect is not None and defect.bone_depth_mm > 0:
        lesion = ("talar_lesion", "talus", _lesion(talus, defect))
    return Recipe("ankle", bones, low, high, lesion=lesion, fluid=fluid, holds_ml=_HOLDS_ML), defect


def ankle_phantom(parameters: Parameters | None = None) -> Phantom:
    """Build the parametric ankle; `TABLE` holds the parameters, a mistake raises UsageError."""
    p = effective("ankle", TABLE, parameters)
    recipe, defect = _recipe(p)
    size, scale = number(p, "size"), number(p, "cartilage_scale")
    mirror = 1.0 if word(p, "side") == "right" else -1.0
    truth: dict[str, Truth] = {
        "dome_radius_mm": Truth(value=DOME_RADIUS * size, unit="mm", formula="20.7 size, bone"),
        "dome_axis": Truth(value=[mirror, 0.0, 0.0], unit="direction, RAS", formula="lateral"),
        "dome_center_mm": Truth(
            value=[0.0, 0.0, -DOME_RADIUS * size], unit="mm, RAS", formula="middle of the roller"
        ),
        "plantarflexion_deg": Truth(
            value=number(p, "plantarflexion_deg"), unit="deg", formula="as given (plantarflexion_deg)"
        ),
        "talar_tilt_deg": Truth(value=0.0, unit="deg", formula="dome parallel to plafond"),
        "talar_thickness_mm": Truth(value=_TALAR_MM * scale, unit="mm", formula="1.25 cartilage_scale"),
        "plafond_thickness_mm": Truth(value=_PLAFOND_MM * scale, unit="mm", formula="1.2 cartilage_scale"),
    }
    if defect is not None:
        talus = next(bone for bone in recipe.bones if bone.name == "talus")
        area = area_mm2(talus.surface, lambda foot: (foot[:, 2] > -14.0) & (defect.rho(foot) <= 1.0))
        truth["defect_area_mm2"] = Truth(
            value=float(np.pi * defect.radius_ml_mm * defect.radius_ap_mm * size**2),
            unit="mm2",
            formula="π a b, on the dome",
        )
        truth["defect_bone_area_mm2"] = Truth(
            value=area * size**2,
            unit="mm2",
            formula="area integral over the bone inside the defect's outline",
        )
        truth["lesion_depth_mm"] = Truth(
            value=defect.bone_depth_mm * size, unit="mm", formula="as given (defect_depth_mm)"
        )
        truth["defect_icrs_grade"] = icrs_grade(defect.cartilage_lost, defect.bone_depth_mm)
    return assemble("ankle", recipe, p, truth)
