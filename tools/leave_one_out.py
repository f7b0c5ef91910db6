"""How far completed structures lie from true ones: each known muscle and vessel left out in turn and built.

    python tools/leave_one_out.py ../shared/data

Joints whose truth is known: the atlas's right hip and knee (muscles and vessels), and the phantom knee's
effusion. Distances are taken both ways between the surfaces, on the stretch of 55 mm to either side of the
joint's centre that both have, where needles go. One atlas is one body: the figures say how far off a
completion can be, not how far off it is on average.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from injectplan.anatomy.axes import joint_axes
from injectplan.anatomy.build import structures_of, structures_of_surfaces
from injectplan.anatomy.completion import complete_joint
from injectplan.anatomy.model import JointAxes, Kind, Structure, Subject
from injectplan.imaging.surfaces import read_surfaces
from injectplan.kernels.bvh import nearest_points
from injectplan.kernels.field import sample_at
from injectplan.phantoms import make_phantom

NEAR_MM = 55.0
BONES = ("femur", "hip_bone", "tibia", "fibula", "patella")
ATLAS: Mapping[Kind, tuple[str, ...]] = {
    "hip": ("femur", "hip_bone", "femoral_artery", "femoral_vein", "lateral_circumflex_femoral_artery",
            "rectus_femoris", "sartorius", "iliacus", "psoas_major", "pectineus", "tensor_fasciae_latae",
            "gluteus_medius"),
    "knee": ("femur", "tibia", "fibula", "patella", "popliteal_artery", "popliteal_vein", "rectus_femoris",
             "vastus_lateralis", "vastus_medialis", "vastus_intermedius"),
}  # fmt: skip

# Compared with what is built, never given to it: their own places would shape the limb round them.
COMPARED: Mapping[Kind, tuple[str, ...]] = {
    "hip": ("gluteus_maximus", "gluteus_minimus"),
    "knee": ("semimembranosus", "semitendinosus", "sartorius", "popliteus", "iliotibial_tract"),
}  # fmt: skip


def atlas_joint(data: Path, kind: Kind) -> tuple[JointAxes, dict[str, Structure]]:
    """Return the axes and structures of the atlas's right hip or knee."""
    folder = data / "atlas_bodyparts3d"
    names = (*ATLAS[kind], *COMPARED[kind])
    files = {n: next(iter(folder.glob(f"{n}_r__*.obj"))) for n in names}
    surfaces = read_surfaces(files, units=200.0, frame="LPS").surfaces
    solids = structures_of_surfaces(surfaces)
    return joint_axes(kind, "right", {n: s.surface for n, s in solids.items() if n in BONES}), solids


def distances(one: Structure, other: Structure, axes: JointAxes) -> np.ndarray:
    """Distances both ways between two structures on the stretch near the joint that both have, (n,) mm."""
    heights = [(s.surface.vertices_mm - axes.origin_mm) @ axes.proximal for s in (one, other)]
    low = max(-NEAR_MM, heights[0].min(), heights[1].min())
    high = min(NEAR_MM, heights[0].max(), heights[1].max())
    found = []
    for a, b, z in ((one, other, heights[0]), (other, one, heights[1])):
        points = a.surface.vertices_mm[(z >= low) & (z <= high)]
        if len(points):
            found.append(nearest_points(b.surface.bvh, points)[0])
    return np.concatenate(found) if found else np.zeros(0)


def study(
    kind: Kind, axes: JointAxes, known: dict[str, Structure]
) -> Iterator[tuple[str, np.ndarray, float]]:
    """Leave each known soft structure out, complete, and give (name, distances mm, stated sd mm)."""
    given = {n: s for n, s in known.items() if n not in COMPARED[kind]}
    made = complete_joint(kind, "right", axes, given, Subject(bmi=25.0)).structures
    for name in COMPARED[kind]:
        yield name, distances(made[name], known[name], axes), made[name].placement_sd_mm
    for name in given:
        if name in BONES:
            continue
        rest = {n: s for n, s in given.items() if n != name}
        made = complete_joint(kind, "right", axes, rest, Subject(bmi=25.0)).structures
        if name in made:
            yield name, distances(made[name], known[name], axes), made[name].placement_sd_mm


def phantom_recess(effusion_ml: float) -> tuple[float, float]:
    """Share of a true effusion's wall that lies within 1.5 and 2.9 mm of the cavity built without it."""
    parameters = {"spacing_mm": 1.2, "slice_mm": 1.2, "flexion_deg": 20.0, "effusion_ml": effusion_ml}
    phantom = make_phantom("knee", parameters)
    known = structures_of(phantom.labelmap)
    fluid = known.pop("synovial_fluid")
    axes = joint_axes("knee", "right", {n: s.surface for n, s in known.items() if n in BONES})
    cavity = complete_joint("knee", "right", axes, known, Subject(bmi=25.0), mode="none").cavity
    away = sample_at(cavity.field, fluid.surface.vertices_mm)
    return float((away < 1.5).mean()), float((away < 2.9).mean())


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--kinds", nargs="*", choices=list(ATLAS), default=list(ATLAS))
    given = parser.parse_args()
    data = given.data
    print(
        "| joint | structure | mean mm | median mm | 95 % mm | rms mm | stated sd mm |"
        "\n|---|---|---|---|---|---|---|"
    )
    for kind in given.kinds:
        axes, known = atlas_joint(data, kind)
        for name, away, sd in study(kind, axes, known):
            if len(away):
                figures = (away.mean(), np.median(away), np.quantile(away, 0.95), np.sqrt((away**2).mean()))
                print(f"| {kind} | {name} | {' | '.join(f'{v:.1f}' for v in figures)} | {sd:g} |", flush=True)
    near, nearer = phantom_recess(8.0)
    print(f"\nphantom knee, 8 mL: {near:.0%} of the fluid's wall lies within 1.5 mm of the cavity built "
          f"without it, {nearer:.0%} within 2.9 mm")  # fmt: skip


if __name__ == "__main__":
    main()
