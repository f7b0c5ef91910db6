"""The knee's bones as implicit solids, right-hand side: x lateral, y anterior, z proximal, mm.

The origin lies on the joint line below the intercondylar notch. Dimensions are those of an adult between the
female and male means of the literature (epicondylar width 82.7/72.5, plateau 73.5 × 47.3, patella 44.8 × 22.4
mm; foliamedica.mf.unsa.ba 144, Kwak 2007, doi:10.1186/s42836-022-00117-8); the shapes between the measured
figures are assumed.
"""

from __future__ import annotations

import numpy as np

from injectplan.kernels.cast import Floats
from injectplan.phantoms.implicit import (
    Curve,
    Distance,
    Loft,
    Solid,
    capsule,
    ellipsoid,
    round_cone_2d,
    smooth_max,
    smooth_min,
    smooth_step,
    soft_abs,
)

# Sagittal circles, (y, z) and radius: the posterior one is the flexion axis, radii assumed (20–23 in adults).
CONDYLE_AXIS = (-18.0, 24.0)
CONDYLE_RADIUS = {"medial": 21.8, "lateral": 21.2}
_FRONT = {"medial": ((-3.0, 28.5), 25.6), "lateral": ((-2.0, 29.5), 26.6)}
CONDYLE_X = {"medial": -22.5, "lateral": 22.0}
CONDYLE_HALF_WIDTH = {"medial": 13.2, "lateral": 12.8}
TROCHLEA_CENTER = (0.0, 28.0)
TROCHLEA_RADIUS = 21.0

_GROOVE = Curve(
    [-34, -28, -23, -17, -9, 0, 8, 16, 21, 26, 32],
    [-14, -3.0, 2.6, 4.4, 2.0, 0.0, 2.8, 6.3, 6.0, 1.0, -12],
)


def condyle_x(side: str, y: Floats) -> Floats:
    """Middle of a condyle across the knee: both diverge towards the back."""
    outward = -1.0 if side == "medial" else 1.0
    return CONDYLE_X[side] + outward * 0.07 * np.clip(-y - 8.0, -15.0, 32.0)


def _crown(dx: Floats, radius: float) -> Floats:
    """How far a rounded running surface falls off its crest at dx, never steeper than 45 degrees."""
    edge = radius * 0.707
    inner = np.minimum(np.abs(dx), edge)
    return radius - np.sqrt(radius * radius - inner * inner) + np.maximum(np.abs(dx) - edge, 0.0)


def _condyle(p: Floats, side: str) -> Floats:
    x, y, z = p.T
    front, front_radius = _FRONT[side]
    running = round_cone_2d(y, z, CONDYLE_AXIS, CONDYLE_RADIUS[side], front, front_radius)
    dx = x - condyle_x(side, y)
    walls = np.abs(dx) - CONDYLE_HALF_WIDTH[side]
    return smooth_max(running + _crown(dx, 18.0), walls, 8.0)


def _trochlea(p: Floats) -> Floats:
    x, y, z = p.T
    radial = np.hypot(y - TROCHLEA_CENTER[0], z - TROCHLEA_CENTER[1]) - TROCHLEA_RADIUS
    forward = smooth_step((y + 12.0) / 10.0)
    rolling = (radial - _GROOVE(x) * forward) * 0.85
    return smooth_max(rolling, np.abs(x - 0.5) - 27.5, 8.0)


def femur_solid(*, top_mm: float, lean_deg: float) -> Solid:
    """Distal femur up to top_mm above the joint line; the shaft leans laterally by lean_deg from +z."""
    lean = float(np.tan(np.radians(lean_deg)))
    rows: list[list[float]] = [
        [20, 0, -10, 29, 13],
        [28, 0, -9, 34, 17],
        [36, 0, -7.5, 35.5, 19],
        [44, 0.5, -4.3, 32.5, 19],
        [54, 1.5, -0.3, 26.5, 17.4],
        [66, 3, 3.0, 20.5, 15.6],
        [82, lean * 56, 5.0, 16.6, 14.2],
        [105, lean * 80, 6.2, 14.6, 13.4],
        [140, lean * 116, 7.5, 14, 13.4],
    ]
    if top_mm > 145:
        rows += [[z, lean * (z - 24), 7.5 + 2.5 * float(np.sin((z - 140) / 260 * np.pi)), 14, 13.6]
                 for z in np.arange(180.0, top_mm, 40.0)]  # fmt: skip
    rows = [r for r in rows if r[0] < top_mm - 4] + [[top_mm, lean * (top_mm - 24), 7.5, 14, 13.4]]
    body = Loft(rows, power=2.3, round_mm=2.0)

    def distance(p: Floats) -> Floats:
        shaft = body(p)
        low = p[:, 2] < 75.0
        if not low.any():
            return shaft
        result = shaft.copy()
        q = p[low]
        near = smooth_min(_condyle(q, "medial"), _condyle(q, "lateral"), 3.0)
        near = smooth_min(near, _trochlea(q), 5.0)
        near = smooth_min(near, shaft[low], 8.0)
        # epicondyles and the adductor tubercle
        near = smooth_min(near, ellipsoid(q, (-34.0, -13.0, 30.0), (6.5, 9.0, 10.0)), 6.0)
        near = smooth_min(near, ellipsoid(q, (34.0, -14.0, 30.0), (6.0, 8.5, 9.0)), 6.0)
        near = smooth_min(near, ellipsoid(q, (-30.5, -15.0, 43.0), (4.5, 5.0, 5.0)), 6.0)
        # intercondylar notch: an arch from the front below to the back above
        notch = capsule(q, (0.5, 2.0, -4.0), (0.5, -44.0, 18.0), 9.5, 11.0)
        near = smooth_max(near, -notch, 4.0)
        result[low] = near
        return result

    reach = abs(lean) * top_mm + 18.0
    return Solid(distance, np.array([-44.0, -44.0, -2.0]), np.array([max(44.0, reach), 34.0, top_mm + 1]))


# Tibia: outlines of the two plateaus (centre x, y; half widths), slope and lie of the running surfaces.
PLATEAU = {"medial": ((-17.0, -12.5), (20.0, 23.5)), "lateral": ((17.5, -12.0), (19.5, 20.5))}
_SLOPE = float(np.tan(np.radians(6.0)))  # posterior slope, 5–7 degrees (assumed)


def plateau_height(x: Floats, y: Floats) -> Floats:
    """Height of the bare tibial plateau: a medial dish, a lateral dome, two spines between."""
    base = -3.4 + _SLOPE * (y + 8.0)
    (mx, my), (ma, mb) = PLATEAU["medial"]
    dish = np.minimum(((x - mx - 1.0) / ma) ** 2 + ((y - my) / mb) ** 2, 1.0)
    medial = 2.6 * dish + 0.45
    (lx, ly), (la, lb) = PLATEAU["lateral"]
    across, along = ((x - lx) / la) ** 2, ((y - ly) / lb) ** 2
    lateral = 1.2 * np.minimum(across, 1.0) - 1.6 * np.minimum(along, 1.3) + 0.6
    side = smooth_step((x + 5.0) / 10.0)
    spines = 7.5 * np.exp(-(((x + 5.2) / 4.0) ** 2) - ((y + 10.0) / 7.0) ** 2)
    spines += 6.5 * np.exp(-(((x - 5.6) / 4.0) ** 2) - ((y + 13.0) / 6.5) ** 2)
    ridge = 1.6 * np.exp(-((x / 7.0) ** 2)) * smooth_step((y + 36.0) / 8.0)
    return base + medial * (1.0 - side) + lateral * side + np.maximum(spines, ridge)


def _flat_ellipse(x: Floats, y: Floats, center: tuple[float, float], radii: tuple[float, float]) -> Floats:
    rho = np.hypot((x - center[0]) / radii[0], (y - center[1]) / radii[1])
    return (rho - 1.0) * min(radii)


def _plateau_outline(x: Floats, y: Floats) -> Floats:
    medial = _flat_ellipse(x, y, *PLATEAU["medial"])
    lateral = _flat_ellipse(x, y, *PLATEAU["lateral"])
    bridge = _flat_ellipse(x, y, (0.0, -9.0), (20.0, 18.0))
    outline = smooth_min(smooth_min(medial, lateral, 8.0), bridge, 6.0)
    back = np.hypot(x - 1.0, y + 37.0) - 9.0  # where the posterior cruciate ligament leaves
    return smooth_max(outline, -back, 5.0)


def _shaft_outline(x: Floats, y: Floats, half: float) -> Floats:
    """Rounded triangle with its crest in front."""
    sides = [(0.0, -1.0, 0.86), (0.88, 0.475, 0.80), (-0.88, 0.475, 0.80)]
    value = sides[0][0] * x + sides[0][1] * y - half * sides[0][2]
    for nx, ny, reach in sides[1:]:
        value = smooth_max(value, nx * x + ny * y - half * reach, 0.9 * half)
    return value


def tibia_solid(*, bottom_mm: float, lean_deg: float) -> Solid:
    """Proximal tibia down to -bottom_mm; going down, its axis leans medially by lean_deg."""
    lean = float(np.tan(np.radians(lean_deg)))
    morph = Curve([-90, -66, -46, -28, -14, -5, 0], [1.0, 0.97, 0.82, 0.46, 0.12, 0.0, 0.0])
    thin = Curve([-400, -260, -150, -80, -40], [11.5, 12.0, 13.0, 15.0, 17.0])
    drift = Curve([-400, -120, -60, -20, 0], [-10.0, -8.0, -7.0, -8.0, -10.0])

    def distance(p: Floats) -> Floats:
        x, y, z = p.T
        axis_x = lean * np.minimum(z + 4.0, 0.0)
        u = x - axis_x
        v = y - drift(z)
        half = thin(z)
        w = morph(z)
        shaft = _shaft_outline(u / half, v / half, 1.0) * half
        section = shaft
        top = z > -95.0
        if top.any():
            section = shaft.copy()
            flare = _plateau_outline(u[top], y[top])
            section[top] = flare * (1.0 - w[top]) + shaft[top] * w[top]
        height = np.where(z > -12.0, z - plateau_height(u, y), z + 2.0)
        ends = np.maximum(height * 0.92, -(z + bottom_mm))
        value = smooth_max(section * 0.92, ends, 4.0)
        near = (z > -75.0) & (z < 5.0)
        if near.any():
            q = np.column_stack([u[near], y[near], z[near]])
            tuberosity = capsule(q, (2.0, 5.0, -30.0), (0.5, 3.0, -48.0), 8.0, 6.0)
            gerdy = ellipsoid(q, (22.0, 1.0, -15.0), (7.0, 6.0, 7.0))
            blended = smooth_min(value[near], tuberosity, 12.0)
            value[near] = smooth_min(blended, gerdy, 6.0)
        return value

    reach = lean * bottom_mm
    low = np.array([-40.0 - max(reach, 0.0), -40.0, -bottom_mm - 1.0])
    return Solid(distance, low, np.array([41.0 + max(-reach, 0.0), 18.0, 8.0]))


def fibula_solid(*, bottom_mm: float, lean_deg: float) -> Solid:
    """Fibula: its head behind and below the lateral plateau, its shaft down to -bottom_mm."""
    lean = float(np.tan(np.radians(lean_deg)))
    head: list[list[float]] = [
        [-12, 33.5, -27, 3.5, 3.5], [-15, 34, -27, 7.5, 7.5], [-21, 34, -26.5, 10, 10.5],
        [-30, 33.5, -26, 8.5, 9], [-42, 32.5, -26, 6, 6.5], [-70, 30.5, -27, 5.6, 6.2],
    ]  # fmt: skip
    shaft = [[z, 29.5 + lean * (z + 80), -27.5, 5.8, 6.4] for z in np.arange(-110.0, -bottom_mm, -40.0)]
    rows = [r for r in head if r[0] > -bottom_mm + 6] + shaft
    rows.append([-bottom_mm, 29.5 + lean * min(80 - bottom_mm, 0), -27.5, 5.8, 6.4])
    body = Loft(rows, power=2.2, round_mm=2.0)
    low = np.array([18.0 - max(lean * bottom_mm, 0.0), -40.0, -bottom_mm - 1.0])
    return Solid(body, low, np.array([46.0 - min(lean * bottom_mm, 0.0), -14.0, -9.0]))


PATELLA_RIDGE = 10.2  # mm from the patella's centre back to its median ridge
RIDGE_X = -2.0  # the ridge lies a little medial: the lateral facet is the wider one


def patella_back(x: Floats, z: Floats) -> Floats:
    """Depth of the patella's two facets behind its centre (positive backward)."""
    d = x - RIDGE_X
    fall = np.where(d > 0, 0.50, 0.55) * soft_abs(d, 2.5)
    return PATELLA_RIDGE - fall - 0.0016 * (z - 2.0) ** 2 * 2.0


def patella_solid() -> Solid:
    """Patella about its own centre: 40 high, 45 wide, 22 thick, median ridge behind, apex below."""
    outline: Distance = Loft(
        [[-21.0, 0, 2.0, 3, 3.5], [-18.5, 0, 2.0, 7.5, 6], [-12, 0, 0.8, 14.5, 9], [-4, 0, 0, 20.2, 10.8],
         [4, 0, 0, 22.4, 11.4], [10, 0, 0, 21.6, 11.2], [15.5, 0, 0, 17.5, 10], [19, 0, 0, 11, 8]],
        power=2.15, round_mm=5.0,
    )  # fmt: skip

    def distance(p: Floats) -> Floats:
        x, y, z = p.T
        facets = (-y - patella_back(x, z)) * 0.9
        return smooth_max(outline(p), facets, 1.6)

    return Solid(distance, np.array([-24.0, -13.0, -22.0]), np.array([24.0, 13.0, 20.0]))
