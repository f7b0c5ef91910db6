"""The parametric hip: proximal femur, hip bone, cartilage, labrum and an effusion, with their truth."""

from __future__ import annotations

from functools import partial

import numpy as np

from injectplan.kernels.cast import Floats
from injectplan.phantoms import hip_bones
from injectplan.phantoms.assembly import Recipe, assemble
from injectplan.phantoms.effusion import bulge_order
from injectplan.phantoms.hip_bones import HEAD_RADIUS, NECK_LENGTH, RIM_DEPTH, Cup
from injectplan.phantoms.implicit import Solid, smooth_step
from injectplan.phantoms.layers import Bone, Layer, build_bone
from injectplan.phantoms.values import (
    JOINT_GRID,
    Choice,
    Parameters,
    Phantom,
    Range,
    Truth,
    effective,
    number,
)

TABLE: dict[str, Range | Choice] = {
    "side": Choice(default="right", words=("left", "right")),
    "sex": Choice(default="female", words=("female", "male")),
    "bmi": Range(default=25.0, low=14.0, high=60.0),
    "size": Range(default=1.0, low=0.75, high=1.3),
    "nsa_deg": Range(default=129.0, low=105.0, high=150.0),
    "femoral_version_deg": Range(default=12.0, low=-15.0, high=45.0),
    "acetabular_inclination_deg": Range(default=40.0, low=25.0, high=60.0),
    "acetabular_anteversion_deg": Range(default=18.0, low=-5.0, high=35.0),
    "cartilage_scale": Range(default=1.0, low=0.3, high=1.5),
    "effusion_ml": Range(default=0.0, low=0.0, high=60.0),
    "shaft_mm": Range(default=90.0, low=60.0, high=200.0),
    **JOINT_GRID,
    # head cartilage 1 mm thin: at 0.8 and 1 mm 3 % of it was not measured and its mean 4 % too high
    "spacing_mm": Range(default=0.6, low=0.2, high=4.0),
    "slice_mm": Range(default=0.8, low=0.2, high=6.0),
}

# Thickest and thinnest cartilage of head and acetabulum (assumed; hip < knee, doi:10.1136/ard.58.1.27).
_HEAD_MM, _CUP_MM = (2.2, 1.0), (1.9, 1.2)
_FILM_MM = 0.4
_SLEEVE_MM = (27.0, 12.0)  # along the neck from the head's centre: its middle and half its length (assumed)
_SPREAD = 0.35  # of the sleeve's ends along the bone, per mm that the capsule stands off (assumed)
_FARTHEST_MM = 50.0  # from the neck's axis: nothing of the joint lies beyond
_HOLDS_ML = 20.0  # 14 mL in small women to 20 mL in large men, doi:10.1007/BF00347339


def effusion_order(p: Floats, femur: Bone, u: Floats) -> Floats:
    """When fluid reaches a point: first the anterior recess over the neck, then all round it, (n,)."""
    along = -(p @ u)  # from the head's centre towards the shaft
    ring = p + along[:, None] * u
    around = np.linalg.norm(ring, axis=1)
    ahead = ring[:, 1] / np.maximum(around, 1e-6)
    result = np.full(len(p), np.inf)
    middle, half = _SLEEVE_MM
    near = np.flatnonzero((around < _FARTHEST_MM) & (np.abs(along - middle) < 2.0 * half))
    depth = femur.solid(p[near])
    gives = 0.35 + 0.65 * smooth_step((ahead[near] + 0.6) / 1.4)
    order = bulge_order(depth / gives, half - np.abs(along[near] - middle), half, _SPREAD)
    result[near] = np.where(depth < 0, np.inf, order)
    return result


def _recipe(p: Parameters) -> tuple[Recipe, Cup]:
    size, scale = number(p, "size"), number(p, "cartilage_scale")
    nsa, version = number(p, "nsa_deg"), number(p, "femoral_version_deg")
    u = hip_bones.neck_axis(nsa, version)
    head_mm = tuple(t * scale / size for t in _HEAD_MM)
    cup_mm = tuple(t * scale / size for t in _CUP_MM)
    axis = hip_bones.cup_axis(
        number(p, "acetabular_inclination_deg"), number(p, "acetabular_anteversion_deg")
    )
    cup = Cup(radius_mm=HEAD_RADIUS + head_mm[0] + cup_mm[0] + _FILM_MM, axis=tuple(axis))
    head = partial(hip_bones.head_thickness, most_mm=head_mm[0], least_mm=head_mm[1], axis=u)
    solid = hip_bones.femur_solid(nsa_deg=nsa, version_deg=version, shaft_mm=number(p, "shaft_mm") + 12.0)
    femur = build_bone("femur", solid, 1.0, (Layer("femoral_head_cartilage", head, head_mm[0]),))
    moon = partial(hip_bones.acetabular_thickness, most_mm=cup_mm[0], least_mm=cup_mm[1], cup=cup)
    cover = Layer("acetabular_cartilage", moon, cup_mm[0])
    pelvis = build_bone("hip_bone", hip_bones.hip_bone_solid(cup), 1.3, (cover,))
    around = np.array([40.0, 40.0, 40.0])
    labrum = Solid(partial(hip_bones.labrum_value, cup=cup), -around, around)
    fluid = Solid(
        partial(effusion_order, femur=femur, u=u),
        np.array([-25.0, -50.0, -64.0]),
        np.array([64.0, 50.0, 34.0]),
    )
    bounds = np.stack([femur.surface.bounds_mm, pelvis.surface.bounds_mm])
    low, high = bounds[:, 0].min(axis=0) - 5.0, bounds[:, 1].max(axis=0) + 5.0
    low[2] = femur.surface.bounds_mm[0, 2] + 10.0
    recipe = Recipe(
        "hip", (femur, pelvis), low, high, parts={"labrum": labrum}, fluid=fluid, holds_ml=_HOLDS_ML
    )
    return recipe, cup


def hip_phantom(parameters: Parameters | None = None) -> Phantom:
    """Build the parametric hip; `TABLE` holds the parameters, a mistake raises UsageError."""
    p = effective("hip", TABLE, parameters)
    recipe, cup = _recipe(p)
    size, scale = number(p, "size"), number(p, "cartilage_scale")
    n = np.asarray(cup.axis)
    ring = float(np.sqrt(cup.radius_mm**2 - RIM_DEPTH**2))
    frontal = np.array([n[0], 0.0, n[2]]) / np.hypot(n[0], n[2])
    lateral_edge = -RIM_DEPTH * n + ring * np.array([-frontal[2], 0.0, frontal[0]])
    truth: dict[str, Truth] = {
        "nsa_deg": Truth(value=number(p, "nsa_deg"), unit="deg", formula="neck axis to shaft, in space"),
        "femoral_version_deg": Truth(
            value=number(p, "femoral_version_deg"), unit="deg", formula="neck about shaft"
        ),
        "head_center_mm": Truth(value=[0.0, 0.0, 0.0], unit="mm, RAS", formula="origin"),
        "head_radius_mm": Truth(value=HEAD_RADIUS * size, unit="mm", formula="23 size, bone"),
        "neck_length_mm": Truth(value=NECK_LENGTH * size, unit="mm", formula="head to shaft axis, 48 size"),
        "acetabular_inclination_deg": Truth(
            value=number(p, "acetabular_inclination_deg"), unit="deg", formula="radiographic"
        ),
        "acetabular_anteversion_deg": Truth(
            value=number(p, "acetabular_anteversion_deg"), unit="deg", formula="radiographic"
        ),
        "lcea_deg": Truth(
            value=float(np.degrees(np.arctan2(lateral_edge[0], lateral_edge[2]))), unit="deg",
            formula="vertical to the rim's lateral edge, before the rim is rounded",
        ),
        "head_cartilage_thickest_mm": Truth(value=_HEAD_MM[0] * scale, unit="mm", formula="2.2 scale"),
        "acetabular_cartilage_thickest_mm": Truth(value=_CUP_MM[0] * scale, unit="mm", formula="1.9 scale"),
    }  # fmt: skip
    return assemble("hip", recipe, p, truth)
