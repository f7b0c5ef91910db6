"""The leg as surgeons draw it, as plain polylines: outlines, axes, joint lines and arcs in two views."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from injectplan.alignment.values import Alignment
from injectplan.frames import unit
from injectplan.imaging.values import Surface
from injectplan.kernels.cast import Floats

View = Literal["frontal", "sagittal"]
Flatten = Callable[[Floats], Floats]
Kind = Literal["outline", "mechanical axis", "shaft axis", "joint line", "arc", "point"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Line:
    """One polyline of a view: points (n, 2) mm (right and up on the page), its kind and its label.

    A "point" has one row, an "outline" is a cloud of the bone's silhouette points.
    """

    view: View
    kind: Kind
    points_mm: Floats
    label: str = ""


def view_axes(alignment: Alignment) -> dict[View, tuple[Floats, Floats]] | None:
    """Return (right, up) unit vectors on the page for each view, None where no femur or tibia tells them.

    Frontal: seen from the front, so that a right leg's lateral side lies on the page's left. Sagittal: seen
    from the lateral side, anterior to the left on a right leg's page as on the left's.
    """
    p = {n: lm.position_mm for n, lm in alignment.landmarks.items() if lm.position_mm is not None}

    def first(*pairs: tuple[str, str]) -> Floats | None:
        for a, b in pairs:
            if a in p and b in p:
                return np.asarray(unit(p[a] - p[b]))
        return None

    up = first(
        ("hip_center", "femoral_knee_center"), ("femoral_shaft_proximal", "femoral_shaft_distal"),
        ("tibial_knee_center", "ankle_center"), ("tibial_shaft_proximal", "tibial_shaft_distal"),
    )  # fmt: skip
    medial = first(
        ("posterior_medial_condyle", "posterior_lateral_condyle"),
        ("distal_medial_condyle", "distal_lateral_condyle"), ("medial_plateau", "lateral_plateau"),
    )  # fmt: skip
    if up is None or medial is None:
        return None
    medial = unit(medial - (medial @ up) * up)
    right = medial if alignment.side == "right" else -medial
    # right x up points out of the page, towards the viewer: anterior in the frontal view
    anterior = unit(np.cross(right, up))
    return {"frontal": (right, up), "sagittal": (-anterior, up)}


def alignment_drawing(alignment: Alignment, bones: Mapping[str, Surface]) -> list[Line]:
    """Return the labelled polylines of the frontal and the sagittal view.

    bones : the surfaces that were measured, RAS mm; their silhouettes become the outlines. Empty where the
    landmarks do not tell the views.
    """
    axes = view_axes(alignment)
    if axes is None:
        return []
    p = {n: lm.position_mm for n, lm in alignment.landmarks.items() if lm.position_mm is not None}
    origin = next((p[n] for n in ("femoral_knee_center", "tibial_knee_center") if n in p), np.zeros(3))
    lines = []
    for view, (right, up) in axes.items():

        def flat(points: Floats, right: Floats = right, up: Floats = up) -> Floats:
            offset = np.atleast_2d(points) - origin
            return np.stack([offset @ right, offset @ up], axis=1)

        outward = np.cross(right, up)
        for name, surface in bones.items():
            if name in ("femur", "tibia", "fibula", "talus", "patella", "hip_bone"):
                lines.append(
                    Line(view=view, kind="outline", points_mm=flat(_rim(surface, outward)), label=name)
                )
        lines += _axes(view, flat, p)
        if view == "frontal":
            lines += _joint_lines(flat, p, alignment) + _arcs(flat, p, alignment)
    return lines


def _rim(surface: Surface, outward: Floats) -> Floats:
    """Vertices where the surface turns from front to back."""
    edge = np.abs(surface.vertex_normals @ outward) < 0.15
    points = surface.vertices_mm[edge]
    return points[:: max(1, len(points) // 4000)]


def _axes(view: View, flat: Flatten, p: Mapping[str, Floats]) -> list[Line]:
    lines = []
    for a, b, label in (
        ("hip_center", "femoral_knee_center", "femoral mechanical axis"),
        ("tibial_knee_center", "ankle_center", "tibial mechanical axis"),
        ("hip_center", "ankle_center", "load line"),
    ):
        if a in p and b in p:
            points = flat(np.stack([p[a], p[b]]))
            lines.append(Line(view=view, kind="mechanical axis", points_mm=points, label=label))
    for bone in ("femoral", "tibial"):
        ends = [f"{bone}_shaft_{end}" for end in ("proximal", "distal")]
        if all(end in p for end in ends):
            points = flat(np.stack([p[end] for end in ends]))
            lines.append(Line(view=view, kind="shaft axis", points_mm=points, label=f"{bone} shaft axis"))
    for name in ("hip_center", "femoral_knee_center", "tibial_knee_center", "ankle_center"):
        if name in p:
            label = name.replace("_", " ")
            lines.append(Line(view=view, kind="point", points_mm=flat(p[name]), label=label))
    return lines


def _joint_lines(flat: Flatten, p: Mapping[str, Floats], alignment: Alignment) -> list[Line]:
    lines = []
    for a, b, angle, short in (
        ("distal_medial_condyle", "distal_lateral_condyle", "mldfa_deg", "mLDFA"),
        ("medial_plateau", "lateral_plateau", "mpta_deg", "MPTA"),
        ("plafond_medial", "plafond_lateral", "mldta_deg", "mLDTA"),
    ):
        if a not in p or b not in p:
            continue
        ends = np.stack([p[a], p[b]])
        middle, half = ends.mean(axis=0), 0.5 * (ends[0] - ends[1])
        half = half * (42.0 / max(float(np.linalg.norm(half)), 1e-9))
        measure = alignment.angles[angle].measure
        label = f"{short} {measure.value:.1f}°" if measure.known else ""
        points = flat(np.stack([middle + half, middle - half]))
        lines.append(Line(view="frontal", kind="joint line", points_mm=points, label=label))
    return lines


def _arcs(flat: Flatten, p: Mapping[str, Floats], alignment: Alignment) -> list[Line]:
    """The HKA arc at the knee, on its lateral side, with the angle written."""
    names = ("hip_center", "femoral_knee_center", "tibial_knee_center", "ankle_center")
    measure = alignment.angles["hka_deg"].measure
    if not measure.known or not all(n in p for n in names):
        return []
    hip, knee, plateau, ankle = (flat(p[n])[0] for n in names)
    start = np.arctan2(*(hip - knee)[::-1])
    end = np.arctan2(*(ankle - plateau)[::-1])
    if alignment.side == "right":  # the lateral side lies on the page's left: turn counter-clockwise
        end = end + 2.0 * np.pi if end < start else end
    else:
        end = end - 2.0 * np.pi if end > start else end
    t = np.linspace(start, end, 49)
    points = 0.5 * (knee + plateau) + 60.0 * np.stack([np.cos(t), np.sin(t)], axis=1)
    return [Line(view="frontal", kind="arc", points_mm=points, label=f"HKA {measure.value:.1f}°")]
