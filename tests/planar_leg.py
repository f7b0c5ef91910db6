"""A leg of landmarks drawn from its angles: the closed form that angle tests share."""

import math

import numpy as np

from injectplan.alignment.scatter import center_point


def planar_leg(deviation=0.0, mldfa=90.0, mpta=90.0, side="right", flexion=0.0, torsion=0.0, version=0.0):
    """Landmarks of a leg drawn in its own frame: x lateral on a right leg, z proximal, y anterior."""

    # medial coordinate m, anterior a, proximal p
    def rad(x):
        return math.radians(x)

    t = np.array(
        [math.sin(rad(deviation)), -math.cos(rad(deviation)) * math.sin(rad(flexion)),
         -math.cos(rad(deviation)) * math.cos(rad(flexion))]
    )  # fmt: skip
    slope = rad(mldfa - 90.0)  # medial condyle higher (+) for mLDFA above 90
    fem = np.array([math.cos(slope), 0.0, math.sin(slope)])
    perpendicular = rad(deviation - (90.0 - mpta))
    tib = np.array([math.cos(perpendicular), 0.0, math.sin(perpendicular)])
    ankle = 370.0 * t
    p = {
        "hip_center": np.array([0.0, 0.0, 430.0]),
        "femoral_knee_center": np.zeros(3),
        "tibial_knee_center": np.zeros(3),
        "ankle_center": ankle,
        "distal_medial_condyle": 23.0 * fem - [0, 0, 20],
        "distal_lateral_condyle": -23.0 * fem - [0, 0, 20],
        "posterior_medial_condyle": np.array([23.0, -30.0, 0.0]),
        "posterior_lateral_condyle": np.array([-23.0, -30.0, 0.0]),
        "medial_plateau": 20.0 * tib,
        "lateral_plateau": -20.0 * tib,
    }
    v = rad(version)
    p["femoral_neck_center"] = p["hip_center"] - 30.0 * np.array([0.8 * math.cos(v), 0.8 * math.sin(v), 0.6])
    p["posterior_medial_plateau"], p["posterior_lateral_plateau"] = (
        20.0 * np.array([1.0, 0, 0]) - [0, 22, 0], -20.0 * np.array([1.0, 0, 0]) - [0, 22, 0],
    )  # fmt: skip
    w = rad(torsion)
    p["medial_malleolus"] = ankle + 25.0 * np.array([math.cos(w), math.sin(w), 0.0])
    p["lateral_malleolus"] = ankle - 25.0 * np.array([math.cos(w), math.sin(w), 0.0])
    sign = -1.0 if side == "right" else 1.0  # medial is -x (towards the left) on a right leg
    return {n: np.array([sign * q[0], q[1], q[2]]) for n, q in p.items()}


def marks(points, sd=1.0):
    return {n: center_point(np.asarray(p, float), sd, "given", "") for n, p in points.items()}
