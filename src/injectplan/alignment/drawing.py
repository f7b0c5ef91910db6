"""The leg as surgeons draw it, as plain polylines: outlines, axes, joint lines and arcs in two views."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from injectplan.alignment.meshes import weld
from injectplan.alignment.prediction import femur_offset_deg
from injectplan.alignment.values import Alignment
from injectplan.frames import unit
from injectplan.imaging.values import Surface
from injectplan.kernels.cast import Floats

View = Literal["frontal", "knee", "sagittal"]
Flatten = Callable[[Floats], Floats]
Kind = Literal[
    "outline", "mechanical axis", "predicted axis", "predicted limit", "shaft axis", "joint line",
    "load line", "arc", "point", "note",
]  # fmt: skip
CLOSE_UP_MM = 62.0
BENT_DEG = 5.0  # from where the page foreshortens the shin enough to be said


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Line:
    """One polyline of a view: points (n, 2) mm (right and up on the page), its kind and its label.

    A "point" has one row, a "note" is text at its one row. An "outline" is many short pieces with rows of
    NaN between them. The view "knee" is the frontal view of the knee alone, drawn larger.
    anchor_mm : (2,) where the label belongs; half way along the line where it is None.
    """

    view: View
    kind: Kind
    points_mm: Floats
    label: str = ""
    anchor_mm: Floats | None = None


def view_axes(alignment: Alignment) -> dict[View, tuple[Floats, Floats]] | None:
    """Return (right, up) unit vectors on the page, None where no femur or tibia tells them.

    Frontal: seen from the front, so that a right leg's lateral side lies on the page's left. Sagittal:
    anterior to the page's left for either leg, as sagittal images are shown.
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
    # a file may hold each triangle's own corners: then no normal turns from the viewer within a triangle
    whole_bones = {name: _welded(surface) for name, surface in bones.items() if name in DRAWN}
    lines = []
    for view, (right, up) in axes.items():

        def flat(points: Floats, right: Floats = right, up: Floats = up) -> Floats:
            offset = np.atleast_2d(points) - origin
            return np.stack([offset @ right, offset @ up], axis=1)

        outward = np.cross(right, up)
        outlines = [
            Line(
                view=view,
                kind="outline",
                points_mm=_pieces(flat(contour(surface, outward).reshape(-1, 3))),
                label=name,
            )
            for name, surface in whole_bones.items()
        ]
        lines += outlines + _axes(view, flat, p)
        if view == "sagittal":
            continue
        whole = "hip_center" in p and "ankle_center" in p
        lines += _hip_and_ankle(flat, p, alignment) + _arcs(flat, p, alignment) + _notes(outlines, alignment)
        lines += _predicted(flat, p, alignment, outlines)
        close: View = "knee" if whole else "frontal"
        if whole:
            lines += _close_up(outlines + _axes("knee", flat, p))
        lines += _joint_lines(close, flat, p, alignment)
    order = {"frontal": 0, "knee": 1, "sagittal": 2}
    return sorted(lines, key=lambda line: order[line.view])


DRAWN = ("femur", "tibia", "fibula", "talus", "patella", "hip_bone", "opposite_hip_bone")


def _welded(surface: Surface) -> Surface:
    points, triangles = weld(surface.vertices_mm, surface.triangles.astype(np.int64))
    return Surface(points, triangles.astype(np.int32))


def contour(surface: Surface, outward: Floats) -> Floats:
    """Where the surface turns from the viewer: segments (k, 2, 3) mm, one in each triangle it crosses."""
    facing = surface.vertex_normals @ outward
    facing = np.where(facing == 0.0, 1e-12, facing)[surface.triangles]
    front = facing > 0
    crossed = front.any(axis=1) & ~front.all(axis=1)
    corners, facing, front = surface.vertices_mm[surface.triangles[crossed]], facing[crossed], front[crossed]
    alone = np.where(front.sum(axis=1) == 1, np.argmax(front, axis=1), np.argmin(front, axis=1))
    rows = np.arange(len(corners))
    ends = []
    for step in (1, 2):
        other = (alone + step) % 3
        a, b = facing[rows, alone], facing[rows, other]
        t = (a / (a - b))[:, None]
        ends.append(corners[rows, alone] + t * (corners[rows, other] - corners[rows, alone]))
    return np.stack(ends, axis=1)


def _pieces(points: Floats) -> Floats:
    """Segments (2 k, 2) as one polyline with rows of NaN between them."""
    pairs = points.reshape(-1, 2, 2)
    return np.concatenate([pairs, np.full((len(pairs), 1, 2), np.nan)], axis=1).reshape(-1, 2)


def _axes(view: View, flat: Flatten, p: Mapping[str, Floats]) -> list[Line]:
    lines = []
    for a, b, label in (
        ("hip_center", "femoral_knee_center", "femoral mechanical axis"),
        ("tibial_knee_center", "ankle_center", "tibial mechanical axis"),
        ("hip_center", "ankle_center", "load line"),
    ):
        if a in p and b in p:
            kind: Kind = "load line" if label == "load line" else "mechanical axis"
            lines.append(Line(view=view, kind=kind, points_mm=flat(np.stack([p[a], p[b]])), label=label))
    for bone, reach in (
        ("femoral", ("hip_center", "femoral_knee_center")),
        ("tibial", ("tibial_knee_center", "ankle_center")),
    ):
        ends = [f"{bone}_shaft_{end}" for end in ("proximal", "distal")]
        if all(end in p for end in ends):
            points = flat(_drawn_out(np.stack([p[end] for end in ends]), [p[n] for n in reach if n in p]))
            lines.append(Line(view=view, kind="shaft axis", points_mm=points, label=f"{bone} shaft axis"))
    for name in ("hip_center", "femoral_knee_center", "tibial_knee_center", "ankle_center"):
        if name in p:
            label = name.replace("_", " ").replace("center", "centre")
            lines.append(Line(view=view, kind="point", points_mm=flat(p[name]), label=label))
    return lines


def _drawn_out(ends: Floats, reach: list[Floats]) -> Floats:
    """A line (2, 3) drawn out to the heights of these points, as an axis is drawn through the whole bone."""
    along = unit(ends[0] - ends[1])
    heights = [float((point - ends[1]) @ along) for point in (*ends, *reach)]
    return np.stack([ends[1] + max(heights) * along, ends[1] + min(heights) * along])


def _close_up(lines: list[Line]) -> list[Line]:
    """The same lines for the knee alone: what lies outside its square is left out, axes are cut at it."""
    result = []
    for line in lines:
        points = line.points_mm
        if line.kind in ("mechanical axis", "shaft axis", "arc"):
            t = np.linspace(0.0, 1.0, 400)[:, None]
            points = points[0] + t * (points[1] - points[0])
        inside = (np.abs(points) < CLOSE_UP_MM).all(axis=1)
        if line.kind == "outline":
            pieces = points.reshape(-1, 3, 2)
            points = pieces[(np.abs(pieces[:, :2]) < CLOSE_UP_MM).all(axis=(1, 2))].reshape(-1, 2)
        else:
            points = points[inside]
        if len(points) and line.kind != "load line":
            label = line.label if line.kind in ("point", "outline") else ""
            result.append(Line(view="knee", kind=line.kind, points_mm=points, label=label))
    return result


def _said(alignment: Alignment, name: str, short: str) -> str:
    measure = alignment.angles[name].measure
    return f"{short} {measure.value:.1f}° ± {measure.sd:.1f}°" if measure.known else ""


def _joint_lines(view: View, flat: Flatten, p: Mapping[str, Floats], alignment: Alignment) -> list[Line]:
    """The two lines of the knee with the angles that they make with the axes, and between them."""
    lines = []
    femur_axis = ("hip_center", "femoral_knee_center")
    tibia_axis = ("ankle_center", "tibial_knee_center")
    for ends, axis, name, short in (
        (("distal_lateral_condyle", "distal_medial_condyle"), femur_axis, "mldfa_deg", "mLDFA"),
        (("medial_plateau", "lateral_plateau"), tibia_axis, "mpta_deg", "MPTA"),
    ):
        if any(end not in p for end in ends):
            continue
        a, b = (flat(p[end])[0] for end in ends)
        middle, along = 0.5 * (a + b), (a - b) / max(float(np.linalg.norm(a - b)), 1e-9)
        points = np.stack([middle + 44.0 * along, middle - 44.0 * along])
        said = _said(alignment, name, short)
        if not all(n in p for n in axis):
            lines.append(Line(view=view, kind="joint line", points_mm=points, label=said))
            continue
        lines.append(Line(view=view, kind="joint line", points_mm=points))
        far, near = (flat(p[n])[0] for n in axis)
        start, end = (np.arctan2(*v[::-1]) for v in (far - near, along))
        end += 2.0 * np.pi * np.round((start - end) / (2.0 * np.pi))
        t = np.linspace(start, end, 33)
        hit = _meet(near, far - near, middle, along)
        arc = hit + 19.0 * np.stack([np.cos(t), np.sin(t)], axis=1)
        # labelled near the axis: there the femur's and the tibia's arcs lie furthest apart
        lines.append(Line(view=view, kind="arc", points_mm=arc, label=said, anchor_mm=arc[10]))
        lines.append(Line(view=view, kind="mechanical axis", points_mm=np.stack([near, hit])))
    drawn = [line.points_mm for line in lines if line.kind == "joint line"]
    if len(drawn) == 2:  # the first line begins laterally, the second medially; marked where they gape
        lateral, medial = (np.stack([drawn[0][i], drawn[1][1 - i]]) for i in (0, 1))
        gapes = [float(np.linalg.norm(ends[0] - ends[1])) for ends in (lateral, medial)]
        between = lateral if gapes[0] >= gapes[1] else medial
        # labelled at the end on the page's right, beside the labels, so that no leader crosses the knee
        end = max((lateral, medial), key=lambda ends: float(ends[:, 0].sum())).mean(axis=0)
        said = _said(alignment, "jlca_deg", "JLCA")
        lines.append(Line(view=view, kind="arc", points_mm=between, label=said, anchor_mm=end))
    return lines


def _meet(p: Floats, along: Floats, q: Floats, other: Floats) -> Floats:
    """The point where two lines of the page meet."""
    t = np.linalg.solve(np.stack([along, -other], axis=1), q - p)
    return np.asarray(p + t[0] * along)


def _hip_and_ankle(flat: Flatten, p: Mapping[str, Floats], alignment: Alignment) -> list[Line]:
    lines = []
    if "hip_center" in p and "femoral_neck_center" in p:
        head, neck = flat(p["hip_center"])[0], flat(p["femoral_neck_center"])[0]
        lines += _neck(head, neck, flat, p, _said(alignment, "nsa_deg", "neck-shaft angle"))
    if "plafond_medial" in p and "plafond_lateral" in p:
        label = _said(alignment, "mldta_deg", "mLDTA")
        points = _plafond(flat, p, alignment)
        lines.append(Line(view="frontal", kind="joint line", points_mm=points, label=label))
    return lines


def _plafond(flat: Flatten, p: Mapping[str, Floats], alignment: Alignment) -> Floats:
    """The plafond's line (2, 2), at its true angle to the tibia's axis as the page shows that.

    Torsion turns the ankle out of the femur's frontal plane: seen there, a bent knee's plafond slopes by half
    its flexion while mLDTA is 90°.
    """
    medial, lateral = (flat(p[f"plafond_{side}"])[0] for side in ("medial", "lateral"))
    middle, half = 0.5 * (medial + lateral), 1.3 * (medial - lateral)
    measure = alignment.angles["mldta_deg"].measure
    if measure.known:
        proximal = unit(flat(p["tibial_knee_center"])[0] - flat(p["ankle_center"])[0])
        outward = -1.0 if alignment.side == "right" else 1.0  # where lateral lies on the page
        along = _turned(proximal, outward * measure.value)
        half = -float(np.linalg.norm(half)) * along
    return np.stack([middle + half, middle - half])


def _turned(direction: Floats, right_deg: float) -> Floats:
    """A direction of the page, turned towards its right (clockwise)."""
    c, s = np.cos(np.radians(right_deg)), np.sin(np.radians(right_deg))
    return np.array([c * direction[0] + s * direction[1], c * direction[1] - s * direction[0]])


def _predicted(
    flat: Flatten, p: Mapping[str, Floats], alignment: Alignment, outlines: list[Line]
) -> list[Line]:
    """The mechanical axes that a partial view predicts, dashed, with the interval of HKA as a fan.

    The femur's stands at its usual angle to the shaft seen; the other bone's follows by HKA, and carries the
    whole interval.
    """
    hka = alignment.angles["hka_deg"]
    centers = ("femoral_knee_center", "tibial_knee_center")
    foretold = hka.measure.known and hka.measure.method.startswith("predicted")
    if not foretold or not outlines or any(n not in p for n in centers):
        return []
    heights = np.concatenate([line.points_mm[:, 1] for line in outlines])
    femur, tibia = (flat(p[n])[0] for n in centers)
    inward = 1.0 if alignment.side == "right" else -1.0  # where medial lies on the page

    def axis(kind: Kind, start: Floats, along: Floats, label: str = "") -> Line:
        end = np.nanmax(heights) if along[1] > 0.0 else np.nanmin(heights)
        points = np.stack([start, start + (end - start[1]) / along[1] * along])
        return Line(view="frontal", kind=kind, points_mm=points, label=label)

    lines: list[Line] = []
    off = [180.0 - float(x) for x in (hka.measure.value, *hka.interval)]
    if "ankle_center" in p:
        shin = unit(tibia - flat(p["ankle_center"])[0])
        fan, start, bone = [_turned(shin, inward * x) for x in off], femur, "femoral"
        thigh = fan[0]
    else:
        length = alignment.field_of_view.femur_shaft_mm
        if "hip_center" in p:
            thigh = unit(flat(p["hip_center"])[0] - femur)
        else:
            shaft = (flat(p[f"femoral_shaft_{end}"])[0] for end in ("proximal", "distal"))
            thigh = _turned(unit(next(shaft) - next(shaft)), inward * femur_offset_deg(length))
            lines = [axis("predicted axis", femur, thigh, "femoral mechanical axis, predicted")]
        fan, start, bone = [-_turned(thigh, -inward * x) for x in off], tibia, "tibial"
        shin = -fan[0]
    lines.append(axis("predicted axis", start, fan[0], f"{bone} mechanical axis, predicted"))
    lines += [axis("predicted limit", start, along) for along in fan[1:]]
    low, high = hka.interval
    said = f"HKA {hka.measure.value:.0f}° ({low:.0f}° to {high:.0f}°)"
    arc = 0.5 * (femur + tibia) + 40.0 * _medial_arc(thigh, -shin, alignment)
    return [*lines, Line(view="frontal", kind="arc", points_mm=arc, label=said)]


def _neck(head: Floats, neck: Floats, flat: Flatten, p: Mapping[str, Floats], label: str) -> list[Line]:
    """The neck's axis as far as the upper shaft's, and the arc between them on the medial side."""
    ends = ("upper_femoral_shaft_proximal", "upper_femoral_shaft_distal")
    points = np.stack([head, head + 2.1 * (neck - head)])
    if any(end not in p for end in ends):
        return [Line(view="frontal", kind="shaft axis", points_mm=points, label=label)]
    top, bottom = (flat(p[end])[0] for end in ends)
    cross = _meet(head, neck - head, bottom, top - bottom)
    start, end = (np.arctan2(*v[::-1]) for v in (head - cross, bottom - cross))
    end += 2.0 * np.pi * np.round((start - end) / (2.0 * np.pi))
    t = np.linspace(start, end, 33)
    arc = cross + 26.0 * np.stack([np.cos(t), np.sin(t)], axis=1)
    return [
        Line(view="frontal", kind="shaft axis", points_mm=np.stack([head, cross])),
        Line(view="frontal", kind="shaft axis", points_mm=np.stack([cross, bottom])),
        Line(view="frontal", kind="arc", points_mm=arc, label=label),
    ]


def _notes(outlines: list[Line], alignment: Alignment) -> list[Line]:
    """The side as on a radiograph, and what is predicted rather than seen."""
    if not outlines:
        return []
    everything = np.concatenate([line.points_mm for line in outlines])
    if not np.isfinite(everything).any():
        return []
    (left, bottom), (_, top) = np.nanmin(everything, axis=0), np.nanmax(everything, axis=0)
    notes = [(left, top, alignment.side[0].upper())]
    hka = alignment.angles["hka_deg"]
    if hka.measure.known and hka.measure.method.startswith("predicted"):
        low, high = hka.interval
        said = "\n".join(textwrap.wrap(hka.measure.method, 52))
        text = f"HKA {hka.measure.value:.0f}° (95 % interval {low:.0f}° to {high:.0f}°),\n{said}"
        notes.append((left, bottom - 0.06 * (top - bottom), text))
    flexion = alignment.angles["knee_flexion_deg"].measure
    if flexion.known and abs(flexion.value) > BENT_DEG and not hka.measure.method.startswith("predicted"):
        bent = f"flexed by {flexion.value:.0f}°" if flexion.value > 0.0 else "bent backwards"
        text = (
            f"the knee is {bent}: the page is the femur's frontal\n"
            "plane; the shin is foreshortened, the ankle's line is drawn\nat its true angle to the axis"
        )
        notes.append((left, bottom - 0.06 * (top - bottom), text))
    return [
        Line(view="frontal", kind="note", points_mm=np.array([[x, y]]), label=text) for x, y, text in notes
    ]


def _arcs(flat: Flatten, p: Mapping[str, Floats], alignment: Alignment) -> list[Line]:
    """The HKA arc at the knee, on its medial side (varus is less than 180°), with the angle written."""
    names = ("hip_center", "femoral_knee_center", "tibial_knee_center", "ankle_center")
    measure = alignment.angles["hka_deg"].measure
    if not measure.known or not all(n in p for n in names):
        return []
    hip, knee, plateau, ankle = (flat(p[n])[0] for n in names)
    points = 0.5 * (knee + plateau) + 60.0 * _medial_arc(hip - knee, ankle - plateau, alignment)
    return [Line(view="frontal", kind="arc", points_mm=points, label=_said(alignment, "hka_deg", "HKA"))]


def _medial_arc(thigh: Floats, shin: Floats, alignment: Alignment) -> Floats:
    """The unit arc (49, 2) from one direction of the page to another, on the leg's medial side."""
    start, end = np.arctan2(*thigh[::-1]), np.arctan2(*shin[::-1])
    if alignment.side == "left":  # the medial side lies on the page's left: turn counter-clockwise
        end = end + 2.0 * np.pi if end < start else end
    else:
        end = end - 2.0 * np.pi if end > start else end
    t = np.linspace(start, end, 49)
    return np.stack([np.cos(t), np.sin(t)], axis=1)
