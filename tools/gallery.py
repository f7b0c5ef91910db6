#!/usr/bin/env python3
"""Draw the gallery of docs/explanation/gallery.md: standard views of a real knee and two phantoms.

Usage: python tools/gallery.py [--out docs/pictures/gallery] [--only NAME]
The knee is a segmented one (../shared/data/knee_dess, gattia/pymskt, MIT) with completed soft tissue, hip and
ankle are the built-in phantoms. A sonographer's standard poses, from the joint's axes and
its recess; no plan is made.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from injectplan.anatomy import build_joint, load_joint
from injectplan.anatomy.cavity import fill_cavity
from injectplan.anatomy.model import JointModel
from injectplan.casefile import read_case
from injectplan.frames import Pose
from injectplan.imaging import read_labelmap
from injectplan.instruments import PROBES, Probe, needle_of
from injectplan.kernels.bvh import build_bvh, first_hits
from injectplan.ultrasound import AcousticScene, Display, Distension, Frame, NeedlePose, simulate_frame
from injectplan.workflow import joint_of

Floats = npt.NDArray[np.float64]
ROOT = Path(__file__).resolve().parents[1]
DESS = "knee_dess/SAG_3D_DESS_RIGHT_bones_cart_men_fib-label.nrrd"  # gattia/pymskt, MIT
SCENES = {"hip": "hip_anterior", "ankle": "ankle_anteromedial"}
SIZE = Display(width_px=480, height_px=420)


def unit(v: npt.ArrayLike) -> Floats:
    v = np.asarray(v, float)
    return v / np.linalg.norm(v)


def standing(joint: JointModel, target: Floats, down: Floats, along: Floats) -> Pose:
    """A probe on the skin over a target: depth towards `down`, its marker's side towards `along`."""
    down = unit(down)
    x = unit(along - down * float(along @ down))
    skin = joint.structures["skin"].surface
    tree = build_bvh(skin.vertices_mm, skin.triangles)
    far, _ = first_hits(tree, np.array([target - 150.0 * down]), np.array([down]))
    return Pose(np.stack([x, np.cross(down, x), down], axis=1), target + (float(far[0]) - 150.0) * down)


def recess(joint: JointModel, name: str) -> Floats:
    return np.asarray(next(r.center_mm for r in joint.cavity.recesses if r.name == name), float)


def view(joint: JointModel, name: str) -> tuple[Probe, Pose, Floats]:
    """Probe, pose and the target that a needle would seek."""
    a = joint.axes
    if joint.kind == "knee":
        at = recess(joint, "suprapatellar")
        along = a.proximal if name == "long" else a.lateral
        probe = replace(PROBES["linear-12"], depth_mm=35.0)
        return probe, standing(joint, at, -a.anterior, along), at
    if joint.kind == "hip":
        at = recess(joint, "anterior")
        neck = unit(at - a.origin_mm)
        neck = unit(neck - a.anterior * float(neck @ a.anterior))
        probe = replace(PROBES["curvilinear-5"], depth_mm=85.0, focus_mm=55.0)
        middle = a.origin_mm + 0.45 * (at - a.origin_mm)  # head, junction and neck, the head near the middle
        return probe, standing(joint, middle, -a.anterior, -neck), at
    at = recess(joint, "anterior")
    probe = replace(PROBES["linear-12"], depth_mm=30.0, width_mm=38.0)
    lean = np.radians(12.0)  # towards the foot, whose back rises before the probe
    down = -np.cos(lean) * a.anterior - np.sin(lean) * a.proximal
    stood = standing(joint, at + 9.0 * a.proximal, down, a.proximal)
    return (
        probe,
        Pose(stood.rotation, stood.translation_mm + 2.0 * unit(down)),
        at,
    )  # pressed on: the skin dips


def needle_in_plane(
    pose: Pose, target: Floats, angle_deg: float, side: float, gauge: float = 22
) -> NeedlePose:
    """A needle in plane from the picture's right (side 1) or left (-1), its tip at the target's foot."""
    at = pose.inverse().apply(target) * [1.0, 0.0, 1.0]
    lean = np.radians(angle_deg)
    return _needle(pose, at, np.array([side * np.cos(lean), 0.0, -np.sin(lean)]), gauge)


def needle_across(pose: Pose, target: Floats, angle_deg: float = 45.0, gauge: float = 22) -> NeedlePose:
    """A needle out of plane: it comes from behind the image and its tip just passes through it."""
    at = pose.inverse().apply(target) * [1.0, 0.0, 1.0]
    lean = np.radians(angle_deg)
    return _needle(pose, at, np.array([0.0, np.cos(lean), -np.sin(lean)]), gauge)


def _needle(pose: Pose, tip: Floats, back: Floats, gauge: float) -> NeedlePose:
    steel = needle_of(gauge, 90.0)
    return NeedlePose(
        entry_mm=pose.apply(tip + steel.length_mm * back), tip_mm=pose.apply(tip), outer_mm=steel.outer_mm,
        inner_mm=steel.inner_mm,
    )  # fmt: skip


PICTURES: dict[str, tuple[str, str, float, str, float]] = {
    # name: joint, view, injected mL, needle, its angle
    "knee_long_rest": ("knee", "long", 0.0, "", 0.0),
    "knee_long_effusion": ("knee", "long", 20.0, "", 0.0),
    "knee_short_rest": ("knee", "short", 0.0, "", 0.0),
    "knee_short_effusion": ("knee", "short", 20.0, "", 0.0),
    "knee_short_needle_20": ("knee", "short", 10.0, "in", 20.0),
    "knee_short_needle_45": ("knee", "short", 10.0, "in", 45.0),
    "knee_long_needle_across": ("knee", "long", 10.0, "across", 45.0),
    "hip_oblique_rest": ("hip", "oblique", 0.0, "", 0.0),
    "hip_oblique_effusion": ("hip", "oblique", 8.0, "", 0.0),
    "hip_oblique_needle_45": ("hip", "oblique", 5.0, "in", 45.0),
    "ankle_anterior_rest": ("ankle", "anterior", 0.0, "", 0.0),
    "ankle_anterior_effusion": ("ankle", "anterior", 2.0, "", 0.0),
    "ankle_anterior_needle_45": ("ankle", "anterior", 1.5, "in", 45.0),
}


def picture(joint: JointModel, name: str) -> Frame:
    _, which, volume, needle, angle = PICTURES[name]
    probe, pose, target = view(joint, which)
    scene = AcousticScene.of(joint, probe).around(pose)
    if volume:
        fill, distension = fill_cavity(joint.cavity, volume), Distension(scene)
        scene, pose = distension.filled(fill), distension.riding(fill, pose)
    tube = None
    if needle == "in":  # a hip's needle comes from distal and lateral, away from the vessels
        tube = needle_in_plane(pose, target, angle, -1.0 if joint.kind == "hip" else 1.0)
    elif needle:
        tube = needle_across(pose, target, angle)
    return simulate_frame(scene, pose, needle=tube, display=SIZE, seed=7)


def cropped(frame: Frame) -> npt.NDArray[np.uint8]:
    """The frame without the black round its image."""
    inside = np.isfinite(frame.depth_mm)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return frame.bmode[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def made(kind: str, data: Path) -> JointModel:
    """The joint of a kind, with what was not segmented completed."""
    if kind == "knee":
        return build_joint(read_labelmap(data / DESS, "pymskt", "right"), kind="knee", side="right")
    return joint_of(read_case(ROOT / "scenes" / SCENES[kind] / "case.toml"))[0]


def main(out: Path, only: str, data: Path, saved: Path | None) -> None:
    out.mkdir(parents=True, exist_ok=True)
    joints: dict[str, JointModel] = {}
    for name, (kind, *_) in PICTURES.items():
        if only not in name:
            continue
        if kind not in joints:
            joints[kind] = load_joint(saved / kind) if saved else made(kind, data)
        Image.fromarray(cropped(picture(joints[kind], name))).save(out / f"{name}.png", optimize=True)
        print(name, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures" / "gallery")
    parser.add_argument("--only", default="", help="part of the names to draw")
    parser.add_argument("--saved", type=Path, help="folder of saved joints: knee, hip, ankle")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    chosen = parser.parse_args()
    main(chosen.out, chosen.only, chosen.data, chosen.saved)
