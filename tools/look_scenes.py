"""Scenes that show the same as public musculoskeletal frames do: trochlea, bone arc, muscle, vessels.

Each is laid out in the probe's frame (x lateral, z depth, mm) as a probe presses the layers; thicknesses are
read off the frame it stands beside.  Femur and cartilage are the real knee's (../shared/data/knee_dess).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from injectplan.anatomy.build import structures_of
from injectplan.frames import Pose
from injectplan.imaging import read_labelmap
from injectplan.imaging.values import Surface
from injectplan.instruments import PROBES
from injectplan.ultrasound import AcousticScene, Display, Frame, simulate_frame
from injectplan.ultrasound.scene import MEMBRANE_DB

Floats = npt.NDArray[np.float64]
Top = Callable[[Floats, Floats], Floats]
FLOOR_MM = 90.0  # blocks end this deep, below every picture


@dataclass(frozen=True)
class View:
    """A scene, where its probe stands, and the picture's size."""

    scene: AcousticScene
    pose: Pose
    display: Display

    def frame(self, seed: int = 0) -> Frame:
        return simulate_frame(self.scene.around(self.pose), self.pose, display=self.display, seed=seed)

    @property
    def pixel_mm(self) -> float:
        return self.scene.probe.width_mm / self.display.width_px


def block(pose: Pose, top: float | Top, half_mm: float = 70.0, step_mm: float = 1.0) -> Surface:
    """Closed block from a surface z = top(x, y) down to FLOOR_MM, laid out in the probe's frame."""
    n = round(2 * half_mm / step_mm) + 1
    x, y = np.meshgrid(np.linspace(-half_mm, half_mm, n), np.linspace(-half_mm, half_mm, n), indexing="ij")
    z = np.full_like(x, float(top)) if isinstance(top, (int, float)) else top(x, y)
    upper = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    lower = upper * [1.0, 1.0, 0.0] + [0.0, 0.0, FLOOR_MM]
    i, j = np.meshgrid(np.arange(n - 1), np.arange(n - 1), indexing="ij")
    a = (i * n + j).ravel()
    face = np.concatenate([np.stack([a, a + 1, a + n], 1), np.stack([a + 1, a + n + 1, a + n], 1)])
    edge = np.arange(n - 1)
    sides = []
    for first, step, flip in ((0, 1, True), (n * (n - 1), 1, False), (0, n, False), (n - 1, n, True)):
        p = first + edge * step
        q = p + step
        quad = np.concatenate([np.stack([p, q, p + n * n], 1), np.stack([q, q + n * n, p + n * n], 1)])
        sides.append(quad[:, ::-1] if flip else quad)
    triangles = np.concatenate([face, face[:, ::-1] + n * n, *sides]).astype(np.int32)
    return Surface(pose.apply(np.concatenate([upper, lower])), triangles)


def tube(pose: Pose, center: tuple[float, float], radii: tuple[float, float], half_mm: float = 60) -> Surface:
    """Closed elliptic tube along the probe's y axis through (x, z)."""
    around = np.linspace(0.0, 2.0 * np.pi, 64, endpoint=False)
    ring = np.stack([center[0] + radii[0] * np.cos(around), center[1] + radii[1] * np.sin(around)], axis=1)
    ends = [np.insert(ring, 1, y, axis=1) for y in (-half_mm, half_mm)]
    caps = [[[center[0], y, center[1]]] for y in (-half_mm, half_mm)]
    k = np.arange(64)
    after = (k + 1) % 64
    triangles = np.concatenate(
        [
            np.stack([k, after, k + 64], 1), np.stack([after, after + 64, k + 64], 1),
            np.stack([after, k, np.full(64, 128)], 1), np.stack([k + 64, after + 64, np.full(64, 129)], 1),
        ]
    )  # fmt: skip
    surface = Surface(pose.apply(np.concatenate([*ends, *caps])), triangles.astype(np.int32))
    if surface.volume_ml > 0:
        return surface
    return Surface(surface.vertices_mm, surface.triangles[:, ::-1].copy())


def wavy(depth: float, tilt: float = 0.0, height: float = 0, length: float = 40, phase: float = 0) -> Top:
    """A layer's top: depth, slope along x, and a slow wave."""
    return lambda x, y: depth + tilt * x + height * np.sin(2 * np.pi * (x + 0.3 * y) / length + phase)


# --- the real knee's trochlea -----------------------------------------------------------------------------


def trochlea_pose(femur: Surface, cartilage: Surface) -> Pose:
    """The probe faces the trochlea between its facets, as with a bent knee: low, where both are whole."""
    v = cartilage.vertices_mm
    front = v[v[:, 1] > np.percentile(v[:, 1], 70)]
    z = np.percentile(front[:, 2], 20)
    ring = v[np.abs(v[:, 2] - z) < 1.0]
    x = (ring[:, 0].min() + ring[:, 0].max()) / 2
    at, normal = femur.vertices_mm, femur.vertex_normals
    near = (np.abs(at[:, 2] - z) < 2) & (np.abs(at[:, 0] - x) < 12) & (normal[:, 1] > 0.5)
    down = -normal[near].mean(axis=0) * [0, 1, 1]
    down /= np.linalg.norm(down)
    lateral = np.array([1.0, 0.0, 0.0])
    axes = np.stack([lateral, np.cross(down, lateral), down], axis=1)
    return Pose(axes, np.array([x + 2.5, ring[:, 1].max(), z]) - 6.8 * down)


def groove(cartilage: Surface, pose: Pose) -> Callable[[Floats], Floats]:
    """How far the cartilage lies under a line over both facets, mm by x: what the layers over it follow."""
    at = pose.inverse().apply(cartilage.vertices_mm)
    at = at[np.abs(at[:, 1]) < 1.0]
    x = np.arange(-24.0, 24.5, 1.0)
    top = np.array([at[np.abs(at[:, 0] - c) < 1.0, 2].min(initial=40.0) for c in x])
    middle = np.abs(x) < 9.0
    left, right = (np.flatnonzero(side & (top < 30.0)) for side in (x < 0.0, x > 0.0))
    a, b = left[top[left].argmin()], right[top[right].argmin()]
    over = np.interp(x, [x[a], x[b]], [top[a], top[b]])
    dip = np.where((x > x[a]) & (x < x[b]), np.maximum(top - over, 0.0), 0.0)
    assert dip[middle].max() > 1.0
    soft = np.convolve(dip, np.hanning(9) / np.hanning(9).sum(), mode="same")
    return lambda at_x: np.asarray(np.interp(at_x, x, soft))


def real_femur(data: Path) -> tuple[Surface, Surface]:
    """The real knee's femur and its cartilage, which reaches 0.3 mm into the bone's voxels."""
    path = data / "knee_dess" / "SAG_3D_DESS_RIGHT_bones_cart_men_fib-label.nrrd"
    structures = structures_of(read_labelmap(path, "pymskt", "right"))
    cartilage = structures["femoral_cartilage"].surface
    cartilage = Surface(cartilage.vertices_mm + 0.3 * cartilage.vertex_normals, cartilage.triangles)
    return structures["femur"].surface, cartilage


def trochlea(data: Path) -> View:
    """Suprapatellar transverse, knee bent: Clarius L15, 50 mm × 30 mm."""
    femur, cartilage = real_femur(data)
    pose = trochlea_pose(femur, cartilage)

    dip = groove(cartilage, pose)

    def top(depth: float, share: float, *wave: float, less: float = 0.0) -> Surface:
        """A layer that follows the groove by a share and ends where the probe has left the skin, right.

        less : mm by which it lies higher over the groove's middle, so that another layer lies under it there.
        """
        inner = wavy(depth, *wave)

        def height(x: Floats, y: Floats) -> Floats:
            lens = less * np.maximum(1.0 - ((x - 2.0) / 9.0) ** 2, 0.0) ** 1.5
            return np.where(x > 20.5, 40.0, inner(x, y) + share * dip(x) - lens)

        return block(pose, height, step_mm=0.5)

    pad = (6.9, 0.55, 0.015, 0.35, 23.0, 2.4)
    solids = {
        "skin": (top(0.0, 0.0), "skin", 10),
        "subcutaneous_fat": (top(1.3, 0.02, 0.0, 0.1, 30.0), "subcutaneous_fat", 20),
        "tendon": (top(3.9, 0.12, -0.02, 0.25, 31.0, 1.0), "muscle", 35),
        "recess": (top(*pad, less=1.4), "synovial_fluid", 38),
        "fat_pad": (top(*pad), "fat", 40),
        "cartilage": (cartilage, "cartilage", 80),
        "femur": (femur, "cortical_bone", 90),
    }
    scene = AcousticScene.from_solids(
        solids, PROBES["linear-12"], background="air", texture_to_patient=pose,
        fibres={"tendon": pose.rotation @ [0.95, 0.3, 0.03]},
        membranes_db={"tendon": -17.0, "fat_pad": -22.0},
    )  # fmt: skip
    return View(scene, pose, Display(width_px=586, height_px=354))


# --- others ---------------------------------------------------------------------------------------------


def bone_arc(data: Path) -> View:
    """A round bone across a limb whose skin curves away: linear 51 mm × 44 mm."""
    pose = Pose.identity()

    def round_top(depth: float, radius: float) -> Top:
        return lambda x, y: depth + np.minimum((x - 1.5) ** 2 / (2.0 * radius), 40.0)

    probe = PROBES["linear-7-limb"]
    solids = {
        "skin": (block(pose, round_top(0.2, 220.0)), "skin", 10),
        "subcutaneous_fat": (block(pose, round_top(1.6, 200.0)), "subcutaneous_fat", 20),
        "deep_fascia": (block(pose, round_top(4.2, 90.0)), "fascia", 30),
        "muscle": (block(pose, round_top(4.7, 88.0)), "muscle", 35),
        "bone": (tube(pose, (0.0, 22.5), (13.0, 13.0)), "cortical_bone", 90),
    }
    scene = AcousticScene.from_solids(
        solids, probe, background="air", fibres={"muscle": np.array([0.25, 0.95, 0.15])},
        membranes_db={"muscle": -14.0},
    )  # fmt: skip
    return View(scene, pose, Display(width_px=688, height_px=594))


def muscle(data: Path) -> View:
    """A pennate muscle along the limb between its aponeuroses: GE ML6-15, 50 mm × 40 mm."""
    pose = Pose.identity()
    probe = replace(PROBES["linear-12"], depth_mm=40.0, focus_mm=20.0, elevation_focus_mm=20.0)
    solids = {
        "skin": (block(pose, 0.0), "skin", 10),
        "subcutaneous_fat": (block(pose, wavy(1.7)), "subcutaneous_fat", 20),
        "deep_fascia": (block(pose, wavy(7.2, 0.05, 0.25, 60.0)), "fascia", 30),
        "gastrocnemius": (block(pose, wavy(8.1, 0.05, 0.25, 60.0)), "muscle", 35),
        "aponeurosis": (block(pose, wavy(29.3, 0.09, 0.6, 90.0, 2.0)), "fascia", 36),
        "soleus": (block(pose, wavy(30.0, 0.09, 0.6, 90.0, 2.0)), "muscle", 37),
    }
    lean = np.radians(20.0)
    scene = AcousticScene.from_solids(
        solids, probe, background="air",
        fibres={
            "gastrocnemius": np.array([np.cos(lean), 0.0, -np.sin(lean)]),
            "soleus": np.array([np.cos(0.3), 0.0, np.sin(0.3)]),
        },
        membranes_db=dict.fromkeys(("deep_fascia", "gastrocnemius", "soleus"), MEMBRANE_DB["deep_fascia"]),
    )  # fmt: skip
    return View(scene, pose, Display(width_px=578, height_px=462))


def vessels(data: Path) -> View:
    """An artery and its vein across the limb, under fat and fascia: Mindray L14-6, its scale unknown."""
    pose = Pose.identity()
    probe = PROBES["linear-12-vessel"]
    solids = {
        "skin": (block(pose, 0.0), "skin", 10),
        "subcutaneous_fat": (block(pose, wavy(1.6)), "subcutaneous_fat", 20),
        "deep_fascia": (block(pose, wavy(10.0, -0.1, 0.4, 50.0)), "fascia", 30),
        "sheath": (block(pose, wavy(10.5, -0.1, 0.4, 50.0)), "fat", 32),
        "muscle": (block(pose, wavy(13.0, -0.02, 0.9, 30.0, 1.0)), "muscle", 35),
        "artery_wall": (tube(pose, (-11.5, 18.5), (5.78, 3.88)), "vessel_wall", 64),
        "artery": (tube(pose, (-11.5, 18.5), (5.6, 3.7)), "blood", 65),
        "vein": (tube(pose, (4.5, 26.0), (3.6, 2.5)), "blood", 65),
    }
    scene = AcousticScene.from_solids(
        solids, probe, background="air", fibres={"muscle": np.array([0.35, 0.9, -0.15])},
        membranes_db={"deep_fascia": -14.0, "muscle": -19.0},
    )  # fmt: skip
    return View(scene, pose, Display(width_px=534, height_px=478))
