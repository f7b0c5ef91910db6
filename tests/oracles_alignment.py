"""Synthetic legs with known angles: solids of a few primitives, meshed; and slow twins of the angles.

Bone frames: x medial, y proximal, z anterior, mm. On a right leg x points to the patient's left, so that the
patient frame (RAS) of a right leg is (-x, z, y); a left leg is its mirror image.
"""

from __future__ import annotations

import math

import numpy as np
import pyvista as pv

from injectplan.imaging.values import Surface

KNEE_Y, KNEE_Z, CONDYLE_R = 20.0, -10.0, 20.0
NECK, NSA_DEG, HEAD_R = 58.0, 128.0, 23.0
NECK_ROOT = np.array([0.0, 365.0, 0.0])
TIBIA_LENGTH = 350.0


def turn_y(degrees):
    """Rotation about y that carries z (anterior) towards -x (lateral) for positive angles: external."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]])


def turn_z(degrees):
    """Rotation about z that carries -y (distal) towards +x (medial) for positive angles: varus."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def turn_x(degrees):
    """Rotation about x that carries -y (distal) towards -z (posterior) for positive angles: flexion."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def capsule(p, a, b, ra, rb=None):
    """Signed distance to a (tapered) capsule, close enough to one for meshing its zero."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    rb = ra if rb is None else rb
    t = np.clip(((p - a) @ (b - a)) / ((b - a) @ (b - a)), 0.0, 1.0)
    return np.linalg.norm(p - a - t[..., None] * (b - a), axis=-1) - (ra + t * (rb - ra))


def disc(p, center, radii, half, axis):
    """Elliptic cylinder: radii in the two other axes, half its height along axis index."""
    q = p - np.asarray(center, float)
    rest = [i for i in range(3) if i != axis]
    scale = np.linalg.norm([q[..., rest[0]] / radii[0], q[..., rest[1]] / radii[1]], axis=0)
    return np.maximum((scale - 1.0) * min(radii), np.abs(q[..., axis]) - half)


def barrel(p, x):
    """A condyle: a cylinder along x whose radius falls off from its middle, so that tangents touch there."""
    radial = np.hypot(p[..., 1] - KNEE_Y, p[..., 2] - KNEE_Z)
    return np.maximum(radial - CONDYLE_R + (p[..., 0] - x) ** 2 / 120.0, np.abs(p[..., 0] - x) - 11.0)


def mesh(solid, low, high, step):
    """Surface of a solid given by a function that is negative inside."""
    axes = [np.arange(a, b + step, step) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    image = pv.ImageData(dimensions=grid.shape[:3], spacing=(step,) * 3, origin=tuple(a[0] for a in axes))
    image["d"] = solid(grid).ravel(order="F")
    found = image.contour([0.0], scalars="d", method="flying_edges")
    return np.asarray(found.points, float), found.faces.reshape(-1, 4)[:, 1:]


def head_center(version_deg=15.0):
    """Head centre in the femur's frame."""
    direction = np.array([math.sin(math.radians(NSA_DEG)), -math.cos(math.radians(NSA_DEG)), 0.0])
    return NECK_ROOT + NECK * (turn_y(version_deg) @ direction)


def femur(version_deg=15.0, step=1.6):
    """Vertices and triangles of a femur with this twist of its neck against the condyles (about y)."""
    head = head_center(version_deg)

    def solid(p):
        parts = [barrel(p, x) for x in (-23.0, 23.0)]
        parts += [
            capsule(p, (0.0, 31.0, 10.0), (20.0, 26.0, 12.0), 15.0, 17.0),
            capsule(p, (0.0, 31.0, 10.0), (-20.0, 26.0, 12.0), 15.0, 17.0),
            capsule(p, (-22.0, 42.0, 2.0), (22.0, 42.0, 2.0), 18.0),
            capsule(p, (0.0, 45.0, 0.0), (0.0, 90.0, 0.0), 20.0, 14.0),
            capsule(p, (0.0, 80.0, 0.0), NECK_ROOT, 14.0),
            capsule(p, NECK_ROOT, head, 13.0),
            np.linalg.norm(p - head, axis=-1) - HEAD_R,
        ]
        return np.minimum.reduce(parts)

    low, high = np.minimum((-45, -5, -36), head - 30), np.maximum((45, 430, 36), head + 30)
    return mesh(solid, low, high, step)


def at(x, y, z):
    """A point given from the plafond's middle."""
    return np.array([x, y - TIBIA_LENGTH, z])


def tibia(torsion_deg=25.0, plateau_deg=0.0, step=1.6):
    """Vertices and triangles of a tibia, knee centre at the origin; plateau_deg tilts the plateau."""
    ankle = turn_y(torsion_deg)
    plateau = turn_z(plateau_deg)

    def solid(p):
        q, r = p @ plateau, p @ ankle
        parts = [disc(q, (x, -8.0, 0.0), (20.0, 24.0), 8.0, 1) for x in (-18.0, 18.0)]
        parts += [
            disc(q, (0.0, -8.0, 0.0), (14.0, 18.0), 8.0, 1),
            capsule(q, (-5.0, -4.0, 0.0), (5.0, -4.0, 0.0), 9.0),
            capsule(p, (0.0, -26.0, 3.0), (0.0, -75.0, 5.0), 22.0, 13.0),
            capsule(p, (0.0, -70.0, 5.0), (0.0, -325.0, 0.0), 13.0),
            disc(r, at(0.0, 15.0, 0.0), (18.0, 18.0), 15.0, 1),
            capsule(r, at(12.0, 26.0, 0.0), at(25.5, 12.0, 0.0), 6.5),
            capsule(r, at(25.5, 12.0, 0.0), at(25.5, -6.0, 0.0), 6.5),
        ]
        return np.minimum.reduce(parts)

    return mesh(solid, (-46, -TIBIA_LENGTH - 18, -40), (46, 12, 40), step)


def fibula(torsion_deg=25.0, step=1.6):
    """Vertices and triangles of the fibula in the tibia's frame."""
    end = turn_y(torsion_deg) @ np.array([-27.0, 0.0, 0.0])

    def solid(p):
        return np.minimum(
            capsule(p, (-34.0, -22.0, -18.0), end + np.array([0, 40 - TIBIA_LENGTH, 0]), 7.0, 6.0),
            capsule(
                p,
                end + np.array([0, 40 - TIBIA_LENGTH, 0]),
                end + np.array([0, -14.0 - TIBIA_LENGTH, 0]),
                6.0,
            ),
        )

    return mesh(solid, (-50, -TIBIA_LENGTH - 26, -46), (20, -10, 46), step)


KNEE = np.array([0.0, KNEE_Y, KNEE_Z])
TIBIA_AT = np.array([0.0, -5.0, -4.0])  # knee centre of the tibia in the femur's frame


def to_patient(points, side):
    """Bone frame to RAS."""
    points = np.asarray(points, float)
    x = -points[..., 0] if side == "left" else points[..., 0]
    return np.stack([-x, points[..., 2], points[..., 1]], axis=-1)


def surface(part, side, rotation=None, shift=(0.0, 0.0, 0.0)):
    """A part in the patient frame, first rotated and shifted in the leg's frame."""
    points, triangles = part
    if rotation is not None:
        points = points @ np.asarray(rotation).T
    points = to_patient(points + np.asarray(shift), side)
    # a right leg's change of frame is a mirroring (det -1 of the axes' order), a left leg's is not
    return Surface(points, triangles if side == "left" else triangles[:, ::-1])


def leg(femur_part, tibia_part, side="right", varus_deg=0.0, flexion_deg=0.0, fibula_part=None):
    """Bones of a leg; the tibia turned about its knee centre in the femur's frontal plane, then flexed.

    varus_deg is the deviation of the tibia's mechanical axis from the femur's frame's y.
    """
    rotation = turn_x(flexion_deg) @ turn_z(varus_deg)
    bones = {
        "femur": surface(femur_part, side),
        "tibia": surface(tibia_part, side, rotation, TIBIA_AT),
    }
    if fibula_part is not None:
        bones["fibula"] = surface(fibula_part, side, rotation, TIBIA_AT)
    return bones


def true_angles(version_deg=15.0, varus_deg=0.0, plateau_deg=0.0, torsion_deg=25.0):
    """Closed-form angles of a synthetic leg, from its construction."""
    head = head_center(version_deg)
    up = (head - KNEE) / np.linalg.norm(head - KNEE)
    med = np.array([1.0, 0.0, 0.0]) - up[0] * up
    med /= np.linalg.norm(med)
    down = turn_z(varus_deg) @ np.array([0.0, -1.0, 0.0])
    line = turn_z(varus_deg + plateau_deg) @ np.array([1.0, 0.0, 0.0])
    neck = head - NECK_ROOT
    front = np.cross(med, up)
    deviation = math.degrees(math.atan2(down @ med, -(down @ up)))
    return {
        "hka_deg": 180.0 - deviation,
        "mldfa_deg": math.degrees(math.acos(-up[0])),
        "mpta_deg": math.degrees(math.acos(float(down @ line))),
        "nsa_deg": NSA_DEG,
        "femoral_version_deg.mechanical": math.degrees(math.atan2(neck @ front, neck @ med)),
        "tibial_torsion_deg.bimalleolar": torsion_deg,
    }


CUP_R, LIP_R, HALF_PELVIS = 24.0, 3.0, 88.0
SPINE, TUBERCLE, KNOB_R = np.array([34.0, 46.0, 78.0]), np.array([-63.0, 46.0, -12.0]), 8.0


def cup_axis(inclination_deg, version_deg):
    """Opening direction (lateral, anterior, superior) of this radiographic inclination and version."""
    i, v = math.radians(inclination_deg), math.radians(version_deg)
    return np.array([math.sin(i) * math.cos(v), math.sin(v), -math.cos(i) * math.cos(v)])


def hip_bone(inclination_deg=45.0, version_deg=15.0, step=1.4):
    """Vertices (lateral, anterior, superior from the head's centre) and triangles of one hip bone.

    A half shell with a round lip, a knob for the spine and one for the tubercle, bars between.
    """
    n = cup_axis(inclination_deg, version_deg)

    def solid(p):
        far, h = np.linalg.norm(p, axis=-1), p @ n
        shell = np.maximum(np.abs(far - CUP_R - LIP_R) - LIP_R, h)
        aside = np.sqrt(np.maximum(far**2 - h**2, 0.0))
        bars = [shell, np.hypot(aside - CUP_R - LIP_R, h) - LIP_R]
        bars += [
            capsule(p, -24.0 * n, (0.0, 0.0, 60.0), 7.0), capsule(p, (0.0, 0.0, 60.0), SPINE, 7.0, KNOB_R),
            capsule(p, -24.0 * n, TUBERCLE, 7.0, KNOB_R), capsule(p, -24.0 * n, (-20.0, -30.0, -80.0), 8.0),
        ]  # fmt: skip
        return np.maximum(np.minimum.reduce(bars), CUP_R - far)

    return mesh(solid, (-80, -44, -94), (50, 60, 92), step)


def hip_bones(part, side="right", version_deg=15.0):
    """Both hip bones in the patient frame, the first around the head of `femur(version_deg)`."""
    points, triangles = part
    head = head_center(version_deg)
    result = []
    for sign in (1.0, -1.0):
        x = sign * (points[:, 0] + HALF_PELVIS) - HALF_PELVIS
        # the leg's frame: x medial, y proximal, z anterior; the swap of two axes and the sign of the first
        placed = np.stack([-x, points[:, 2], points[:, 1]], axis=1) + head
        result.append(surface((placed, triangles if sign > 0 else triangles[:, ::-1]), side))
    return result


def true_pelvis(inclination_deg=45.0, version_deg=15.0):
    """Closed-form angles of that pelvis; the lateral edge is where the rim's circle passes y = 0."""
    n = cup_axis(inclination_deg, version_deg)
    u = np.cross(n, [0.0, 1.0, 0.0])
    u /= np.linalg.norm(u)
    v = np.cross(n, u)
    # the lip is seen from the centre along its tangents: a circle of radius rho, h out along n
    ring = CUP_R + LIP_R
    tangent = math.asin(LIP_R / ring)
    h, rho = ring * math.cos(tangent) * math.sin(tangent), ring * math.cos(tangent) ** 2
    # h n + rho (cos t u + sin t v) with anterior coordinate 0; u has none
    sine = -h * n[1] / (rho * v[1])
    ends = [h * n + rho * (c * math.sqrt(1.0 - sine**2) * u + sine * v) for c in (1.0, -1.0)]
    edge = max(ends, key=lambda p: p[2])
    return {
        "acetabular_inclination_deg": inclination_deg,
        "acetabular_murray_deg.radiographic_version": version_deg,
        "acetabular_version_deg": math.degrees(math.atan2(n[1], n[0])),
        "lcea_deg": math.degrees(math.atan2(edge[0], edge[2])),
    }
