"""A knee made whole: envelopes, tendons, fat pads, muscles, vessels, nerves and the cavity, from its bones.

All formulas are in the joint's own coordinates (x lateral, y anterior, z proximal of the middle between the
most distal points of the condyles), so a left knee is a right one's mirror image. Positions follow landmarks
measured on the bones; sizes follow `dimensions.KNEE`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from injectplan.anatomy.axes import shaft_axis
from injectplan.anatomy.completion import Completed, Mode, Progress
from injectplan.anatomy.completion.dimensions import Sizes, knee_sizes
from injectplan.anatomy.completion.kneecavity import RECESSES, knee_cavity
from injectplan.anatomy.completion.painting import paint_labels
from injectplan.anatomy.completion.solids import (
    Frame,
    Grid,
    ball,
    curve,
    ellipse,
    ramp,
    rounded_path,
    smooth_max,
    smooth_min,
    tube,
    upsample,
)  # fmt: skip
from injectplan.anatomy.model import PRIORITY, Cavity, JointAxes, Structure, Subject
from injectplan.errors import EmptyStructureError
from injectplan.imaging.values import Surface
from injectplan.kernels.cast import Floats, Floats32
from injectplan.structures import structure

COARSE_MM, FINE_MM = 2.0, 1.0
BAND_MM = 26.0
NEEDED = ("femur", "tibia", "patella")
WHOLE_SCALE_MM = 76.0  # width of the epicondyles that the sections below were drawn for

# The limb's section under the deep fascia by height z: (centre y, half width, half depth) of an ellipse.
SECTIONS: Mapping[float, tuple[float, float, float]] = {
    150.0: (3.0, 66.0, 62.0), 110.0: (2.0, 59.0, 56.0), 80.0: (1.0, 51.0, 49.5), 52.0: (-1.0, 45.5, 45.0),
    25.0: (-3.0, 44.0, 43.0), 0.0: (-4.0, 43.0, 42.0), -25.0: (-10.0, 42.0, 38.0), -60.0: (-19.0, 43.0, 39.0),
    -100.0: (-23.0, 45.0, 42.0),
}  # fmt: skip


@dataclass(frozen=True)
class Landmarks:
    """What the bones tell, in joint coordinates."""

    scale: float
    patella_x: float
    patella_top: Floats
    patella_bottom: Floats
    patella_front: float
    patella_low: Floats
    patella_high: Floats
    tuberosity: Floats
    trochlea_top: float
    femur_low: Floats
    femur_high: Floats
    back: Callable[[npt.ArrayLike], Floats32]
    front: Callable[[npt.ArrayLike], Floats32]
    fibula_neck: Floats


def _by_slab(points: Floats, step: float, pick: Callable[[Floats], float]) -> list[tuple[float, float]]:
    slabs = np.floor(points[:, 2] / step).astype(int)
    return [((k + 0.5) * step, pick(points[slabs == k])) for k in np.unique(slabs) if (slabs == k).sum() > 20]


def find_landmarks(vertices: Mapping[str, Floats]) -> Landmarks:
    """Measure the bones; vertices by structure in joint coordinates."""
    femur, tibia, patella = (vertices[n] for n in NEEDED)
    low, high = femur[femur[:, 2] < 45].min(axis=0), femur[femur[:, 2] < 45].max(axis=0)
    scale = float(high[0] - low[0]) / WHOLE_SCALE_MM
    top, bottom = patella[patella[:, 2].argmax()], patella[patella[:, 2].argmin()]
    near_top = patella[patella[:, 2] > top[2] - 6.0]
    near_bottom = patella[patella[:, 2] < bottom[2] + 5.0]
    front = tibia[(tibia[:, 2] < -25.0 * scale) & (tibia[:, 2] > -48.0 * scale)]
    if not len(front):
        front = tibia
    tuberosity = front[front[:, 1] >= np.quantile(front[:, 1], 0.995)].mean(axis=0)
    if "femoral_cartilage" in vertices:
        ahead = vertices["femoral_cartilage"]
        trochlea = float(ahead[ahead[:, 1] > 0.6 * high[1]][:, 2].max())
    else:
        trochlea = 36.0 * scale
    both = np.concatenate([femur, tibia])
    # away from the scan's edges, where a cap would count as a slab
    both = both[(both[:, 2] < femur[:, 2].max() - 5.0) & (both[:, 2] > tibia[:, 2].min() + 3.0)]
    middle = both[np.abs(both[:, 0]) < 24.0 * scale]
    shaft = femur[(np.abs(femur[:, 0]) < 9.0 * scale) & (femur[:, 2] > 8.0)]
    shaft = shaft[shaft[:, 2] < femur[:, 2].max() - 5.0]
    backs = _by_slab(middle, 5.0, lambda q: float(q[:, 1].min()))
    fronts = _by_slab(shaft, 4.0, lambda q: float(q[:, 1].max()))
    if "fibula" in vertices:
        fibula = vertices["fibula"]
        neck = fibula[np.abs(fibula[:, 2] - (fibula[:, 2].max() - 18.0 * scale)) < 3.0]
        neck_at = np.array([neck[:, 0].max(), neck[:, 1].mean(), neck[:, 2].mean()])
    else:
        neck_at = np.array([40.0, -22.0, -28.0]) * scale
    return Landmarks(
        scale=scale,
        patella_x=float(0.5 * (patella[:, 0].min() + patella[:, 0].max())),
        patella_top=np.array([near_top[:, 0].mean(), near_top[:, 1].max(), top[2]]),
        patella_bottom=np.array([near_bottom[:, 0].mean(), near_bottom[:, 1].mean(), bottom[2]]),
        patella_front=float(patella[:, 1].max()),
        patella_low=patella.min(axis=0),
        patella_high=patella.max(axis=0),
        tuberosity=tuberosity,
        trochlea_top=trochlea,
        femur_low=low,
        femur_high=high,
        back=lambda z: curve(z, backs),
        front=lambda z: curve(z, fronts),
        fibula_neck=neck_at,
    )


@dataclass
class Build:
    """One knee under construction: grids, distances and what has been made so far."""

    frame: Frame
    sizes: Sizes
    given: Mapping[str, Structure]
    side_axes: JointAxes
    made: dict[str, Structure] = field(default_factory=dict)
    solids: dict[str, Floats32] = field(default_factory=dict)

    @cached_property
    def vertices(self) -> dict[str, Floats]:
        """Vertices of the segmented structures in joint coordinates."""
        return {n: self.frame.to_joint(s.surface.vertices_mm) for n, s in self.given.items()}

    @cached_property
    def marks(self) -> Landmarks:
        """The bones' landmarks."""
        return find_landmarks(self.vertices)

    @cached_property
    def coarse(self) -> Grid:
        """The whole limb at 2 mm, for envelopes and distances."""
        s = self.marks.scale
        room = 86.0 * s + self.sizes["medial_fat"]
        return Grid.between(
            self.frame,
            (-room, -room - 4.0, -self.sizes["limb_below"]),
            (room, room, self.sizes["limb_above"]),
            COARSE_MM,
        )

    def fine(self, low: npt.ArrayLike, high: npt.ArrayLike, spacing_mm: float = FINE_MM) -> Grid:
        """A local grid between two corners in joint coordinates."""
        return Grid.between(self.frame, low, high, spacing_mm)

    def distance(self, name: str) -> Floats32:
        """Distance to a segmented structure on the coarse grid, clamped at the band."""
        if name not in self.solids:
            if name in self.given:
                self.solids[name] = self.coarse.distance(self.given[name].surface, BAND_MM)
            else:
                self.solids[name] = np.full(self.coarse.shape, np.float32(BAND_MM))
        return self.solids[name]

    @cached_property
    def femur(self) -> Floats32:
        """Distance to the femur, its cartilage and its continued shaft."""
        whole = np.minimum(self.distance("femur"), self.distance("femoral_cartilage"))
        return np.minimum(whole, self.shaft("femur")[0])

    @cached_property
    def bones(self) -> Floats32:
        """Distance to the nearest bone."""
        result = np.minimum(self.femur, self.distance("patella"))
        result = np.minimum(result, np.minimum(self.distance("tibia"), self.shaft("tibia")[0]))
        return np.minimum(result, np.minimum(self.distance("fibula"), self.shaft("fibula")[0]))

    def shaft(self, bone: str) -> tuple[Floats32, bool]:
        """A bone's shaft beyond the scan, its last section drawn on and rounded; whether there is any."""
        key = f"{bone}+shaft"
        if key not in self.solids:
            self.solids[key] = _continued(self, bone)
        return self.solids[key], bool((self.solids[key] < 0).any())

    def on(self, grid: Grid, values: Floats32) -> Floats32:
        """Coarse values on a local grid."""
        return upsample(values, self.coarse, grid)

    def add(
        self,
        name: str,
        grid: Grid,
        values: Floats32,
        *,
        sd: float,
        bump: int = 0,
        fibres: npt.ArrayLike | None = None,
        risk: str | None = None,
    ) -> None:
        """Make a structure of a solid, unless it was segmented."""  # fmt: skip
        if name in self.given:
            return
        info = structure(name)
        self.made[name] = Structure(
            name=name,
            surface=grid.surface(values),
            tissue=info.tissue,
            risk=risk or info.risk,
            source="completed",
            priority=PRIORITY[info.layer] + bump,
            placement_sd_mm=sd,
            fibres=None
            if fibres is None
            else self.frame.basis @ (np.asarray(fibres) / np.linalg.norm(fibres)),
            assumed=("built from the bones and published sizes",),
        )


def _continued(build: Build, bone: str) -> Floats32:
    grid = build.coarse
    nothing = np.full(grid.shape, np.float32(BAND_MM))
    if bone not in build.given:
        return nothing
    up = 1.0 if bone == "femur" else -1.0
    points = build.vertices[bone]
    end = float((points[:, 2] * up).max()) * up
    limit = float(grid.high_mm[2] if up > 0 else grid.low_mm[2])
    if (limit - end) * up < 6.0:
        return nothing
    # 6 mm short of the scan's edge the smoothed cap no longer bends the section
    cut = end - 6.0 * up
    section_at = int(np.clip(round((cut - grid.low_mm[2]) / grid.spacing_mm), 0, grid.shape[2] - 1))
    section = build.distance(bone)[:, :, section_at]
    here = points[np.abs(points[:, 2] - cut) < 2.0]
    middle = 0.5 * (here.min(axis=0) + here.max(axis=0))
    surface = build.given[bone].surface
    axis = shaft_axis(surface, build.frame.basis[:, 2] * up, 55.0, 200.0)[1] @ build.frame.basis
    if bone == "fibula" or abs(axis[2]) < 0.9:
        axis = np.array([0.0, 0.0, up])
    slope = axis[:2] / abs(axis[2])
    radius = {"femur": 13.5, "tibia": 12.5, "fibula": 6.0}[bone] * build.marks.scale
    result = nothing
    for k in range(grid.shape[2]):
        beyond = (float(grid.z[0, 0, k]) - cut) * up
        if beyond < 0.0 or abs(float(grid.z[0, 0, k]) - limit) < 3.0:
            continue
        move = slope * beyond
        moved = ndimage.shift(section, move / grid.spacing_mm, order=1, mode="nearest")
        round_ = ellipse(
            grid.x[:, :, 0] - np.float32(middle[0] + move[0]),
            grid.y[:, :, 0] - np.float32(middle[1] + move[1]),
            radius,
            radius,
        )
        w = ramp(beyond, 0.0, 55.0)
        result[:, :, k] = np.minimum((1 - w) * moved + w * round_, np.float32(BAND_MM))
    return result


def _core(build: Build) -> Floats32:
    """The limb under the deep fascia, on the coarse grid; about a distance."""
    g, s = build.coarse, build.marks.scale
    table = {z * s: v for z, v in SECTIONS.items()}
    cy, a, b = (curve(g.z, {z: v[i] * s for z, v in table.items()}) for i in range(3))
    # squarer in front and behind at the thigh than an ellipse would be: the quadriceps' shoulders
    core = ellipse(g.x - np.float32(0.5 * s), g.y - cy, a, b)
    fossa = ball(g, (1.0 * s, -62.0 * s, 18.0 * s), (17.0 * s, 17.0 * s, 40.0 * s))
    core = smooth_max(core, -fossa, 14.0 * s)
    for x, y, top, size in ((-23.0, -33.0, 30.0, 9.0), (24.0, -32.0, 30.0, 9.0)):  # hamstring tendons
        cord = tube(g, np.array([[x, y, top + 60], [x * 1.05, y - 2, top], [x, y, -30]]) * s, size * s)
        core = smooth_min(core, cord, 12.0 * s)
    for x in (-15.0, 17.0):  # heads of the gastrocnemius
        head = ball(g, np.array([x, -34.0, -70.0]) * s, np.array([20.0, 24.0, 62.0]) * s)
        core = smooth_min(core, head, 14.0 * s)
    teardrop = ball(g, np.array([-27.0, 25.0, 68.0]) * s, np.array([19.0, 20.0, 26.0]) * s)
    core = smooth_min(core, teardrop, 12.0 * s)
    core = smooth_min(core, build.bones - np.float32(0.6), 5.0 * s)
    core = smooth_min(core, _quadriceps_tendon(build, g) - np.float32(0.2), 5.0 * s)
    core = smooth_min(core, _patellar_tendon(build, g) - np.float32(0.2), 5.0 * s)
    core = ndimage.gaussian_filter(core, 0.9, mode="nearest")
    slope = np.sqrt(sum(d * d for d in np.gradient(core, g.spacing_mm)))
    core = core / np.clip(slope, 0.5, 1.5)
    # smoothing may not bring a bone or tendon out
    return np.asarray(np.minimum(core, build.bones - np.float32(1.0)), np.float32)


def _tendon_line(build: Build) -> Callable[[npt.ArrayLike], Floats32]:
    """The quadriceps tendon's middle y by height: from the patella's upper pole to before the femur."""
    m, size = build.marks, build.sizes
    top = float(m.patella_top[2])
    half = 0.5 * size["quadriceps_tendon_thickness"]
    stack = size["prefemoral_fat_pad_thickness"] + size["recess_thickness"] + half

    def front(z: float) -> float:
        return float(m.front(z))

    reach = min(build.sizes["limb_above"], 150.0)
    above = top + 45.0
    knots = {
        top - 12.0: float(m.patella_top[1]) - half + 0.5,
        top - 4.0: float(m.patella_top[1]) - half - 1.2,
        top + 14.0: max(front(top + 14.0) + stack + 1.5, float(m.patella_top[1]) - half - 5.0),
        top + 32.0: max(front(top + 32.0) + stack + 1.0, float(m.patella_top[1]) - half - 6.0),
        above: max(front(top + 20.0) + stack + 1.0, float(m.patella_top[1]) - half - 5.0),
        reach + 20.0: max(front(top + 20.0) + stack + 6.0, float(m.patella_top[1]) - half + 1.0),
    }
    return lambda z: curve(z, knots)


def _quadriceps_tendon(build: Build, g: Grid) -> Floats32:
    m, size = build.marks, build.sizes
    top = float(m.patella_top[2])
    y = g.y - _tendon_line(build)(g.z)
    wide = 0.5 * curve(g.z, {top - 8: size["quadriceps_tendon_width"] * 0.72,
                             top + 6: size["quadriceps_tendon_width"],
                             top + 35: 0.7 * size["quadriceps_tendon_width"],
                             top + 80: 0.55 * size["quadriceps_tendon_width"]})  # fmt: skip
    thick = 0.5 * curve(g.z, {top - 8: size["quadriceps_tendon_thickness"] * 1.05,
                              top + 20: size["quadriceps_tendon_thickness"],
                              top + 55: 0.85 * size["quadriceps_tendon_thickness"],
                              top + 85: 0.4 * size["quadriceps_tendon_thickness"]})  # fmt: skip
    x = g.x - np.float32(m.patella_top[0]) * ramp(g.z, top + 90, top)
    sag = 0.006 * x * x  # the tendon wraps the femur's front
    flat = smooth_max(np.abs(y + sag) - thick, np.abs(x) - wide, 4.0)
    ends = np.maximum(np.float32(top - 7.0) - g.z, g.z - np.float32(top + size["quadriceps_tendon_length"]))
    return smooth_max(flat, ends, 2.0)


def _patellar_tendon(build: Build, g: Grid) -> Floats32:
    m, size = build.marks, build.sizes
    half = 0.5 * size["patellar_tendon_thickness"]
    a, b = m.patella_bottom + np.array([0, 2.0, 6.0]), m.tuberosity + np.array([0, half - 1.0, -2.0])
    knots = {float(a[2]): (a[0], a[1]), float(b[2]): (b[0], b[1])}
    cx = curve(g.z, {z: v[0] for z, v in knots.items()})
    cy = curve(g.z, {z: v[1] for z, v in knots.items()})
    tilt = np.cos(np.arctan2(a[1] - b[1], a[2] - b[2]))
    wide = 0.5 * size["patellar_tendon_width"] * curve(g.z, {float(a[2]): 1.15, float(b[2]): 0.9})
    flat = smooth_max(np.abs(g.y - cy) * np.float32(tilt) - half, np.abs(g.x - cx) - wide, 3.0)
    return smooth_max(flat, np.maximum(np.float32(b[2]) - g.z, g.z - np.float32(a[2])), 2.0)


def _fat(build: Build) -> Floats32:
    """Thickness of the subcutaneous fat over the limb, coarse grid."""
    g, m, size, s = build.coarse, build.marks, build.sizes, build.marks.scale
    thigh = ramp(g.z, 50.0 * s, 120.0 * s)
    base = (1 - thigh) * np.float32(size["superolateral_fat"]) + thigh * np.float32(
        size["suprapatellar_fat"] * 1.15
    )
    medial = ramp(g.x, -8.0 * s, -38.0 * s) * ramp(np.abs(g.z - 5.0 * s), 80.0 * s, 20.0 * s)
    base = base + medial * np.float32(size["medial_fat"] - size["superolateral_fat"])
    center = 0.5 * (m.patella_low + m.patella_high)
    away = np.sqrt((g.x - center[0]) ** 2 + (g.y - m.patella_front) ** 2 + (g.z - center[2] + 6.0) ** 2)
    near = ramp(away, 52.0 * s, 16.0 * s)
    shin = ramp(g.z, -15.0 * s, -45.0 * s) * ramp(g.y, 5.0 * s, 25.0 * s)
    base = base + near * (np.float32(size["patella_fat"]) - base)
    return np.asarray(base + shin * (np.float32(0.8 * size["superolateral_fat"]) - base), np.float32)


def _envelopes(build: Build) -> Floats32:
    """Skin, fat, fascia, muscle: each within the one before; returns the core's values."""
    g, size = build.coarse, build.sizes
    core = build.solids["core"]
    fat = ndimage.gaussian_filter(_fat(build), 3.0, mode="nearest")
    outer = core - fat
    outer = ndimage.gaussian_filter(outer, 1.0, mode="nearest")
    under_skin = np.minimum(outer, core - np.float32(1.5))
    # caps one behind the other, so that no two end faces coincide
    for name, values, inset, sd in (
        ("skin", under_skin - np.float32(size["skin_thickness"]), 0.3, 4.0),
        ("subcutaneous_fat", under_skin, 0.9, 4.0),
        ("deep_fascia", core, 1.5, 2.5),
        ("muscle", core + np.float32(size["deep_fascia_thickness"]), 2.1, 2.5),
    ):
        ends = np.maximum(np.float32(g.low_mm[2] + inset) - g.z, g.z - np.float32(g.high_mm[2] - inset))
        solid = np.maximum(values, ends)
        build.solids[name] = solid
        build.add(name, g, solid, sd=sd)
    return core


def _tendons(build: Build) -> None:
    m = build.marks
    top = float(m.patella_top[2])
    g = build.fine((m.patella_x - 32, 5, top - 12), (m.patella_x + 32, 75, top + 92), FINE_MM)
    tendon = np.maximum(_quadriceps_tendon(build, g), -build.on(g, build.distance("patella")) - 2.0)
    build.add("quadriceps_tendon", g, tendon, sd=1.5, bump=1, fibres=(0, 0, 1))
    low = m.tuberosity - np.array([24.0, 16.0, 12.0])
    high = m.patella_bottom + np.array([24.0, 22.0, 14.0])
    g = build.fine(np.minimum(low, high), np.maximum(low, high), 0.8)
    along = m.patella_bottom - m.tuberosity
    build.add("patellar_tendon", g, _patellar_tendon(build, g), sd=1.5, bump=1, fibres=along)


def _fat_pads(build: Build) -> None:
    m, size, s = build.marks, build.sizes, build.marks.scale
    top, trochlea = float(m.patella_top[2]), m.trochlea_top
    g = build.fine((-42 * s, -2, trochlea - 4), (44 * s, 60, top + 62), FINE_MM)
    d, core = build.on(g, build.femur), build.on(g, build.solids["core"])
    crown = trochlea + size["recess_height_above_trochlea"]
    thick = size["prefemoral_fat_pad_thickness"] + size["recess_thickness"] * 0.5
    cover = np.float32(thick) * ramp(g.z, crown + 16, crown - 6) * ramp(g.z, trochlea - 2, trochlea + 16)
    side = np.abs(g.x - np.float32(0.5 * m.patella_x)) - np.float32(29.0 * s)
    ahead = np.float32(12.0 * s) - g.y
    pad = smooth_max(smooth_max(d - cover, side, 4.0), np.maximum(ahead, core + np.float32(2.0)), 3.0)
    build.add("prefemoral_fat_pad", g, np.maximum(pad, -d - 1.5), sd=2.0)
    high = top + size["suprapatellar_fat_pad_height"]
    behind = _tendon_line(build)(g.z) - 0.5 * np.float32(size["quadriceps_tendon_thickness"])
    wedge = np.maximum(g.y - behind - 0.8, np.float32(top - 3.0) - g.z)
    wedge = smooth_max(wedge, g.z - np.float32(high) + 0.4 * (behind - g.y), 3.0)
    wedge = smooth_max(wedge, np.abs(g.x - np.float32(m.patella_top[0])) - np.float32(17.0 * s), 4.0)
    wedge = np.maximum(wedge, np.float32(0.6) - d)
    build.add("suprapatellar_fat_pad", g, wedge, sd=1.5, bump=1)
    _hoffa(build, tendon_gap=0.5)


def _hoffa(build: Build, tendon_gap: float) -> None:
    m, s = build.marks, build.marks.scale
    low_z, high_z = float(m.tuberosity[2]) + 8.0, float(m.patella_bottom[2]) + 12.0
    g = build.fine((m.patella_x - 34 * s, -4, low_z - 4), (m.patella_x + 30 * s, 66, high_z + 4), FINE_MM)
    a, b = m.patella_bottom, m.tuberosity
    line = curve(g.z, {float(b[2]): float(b[1]) + 1.0, float(a[2]) + 4.0: float(a[1]) - 1.5})
    front = g.y - line - np.float32(tendon_gap) + 0.010 * (g.x - np.float32(m.patella_x)) ** 2
    notch = np.float32(m.femur_high[1] * 0.35) - g.y
    width = np.abs(g.x - np.float32(0.7 * m.patella_x)) - curve(
        g.z, {low_z: 12 * s, 0.0: 25 * s, high_z: 17 * s}
    )
    pad = smooth_max(smooth_max(front, notch, 5.0), width, 6.0)
    pad = smooth_max(pad, np.maximum(np.float32(low_z) - g.z, g.z - np.float32(high_z)), 5.0)
    pad = np.maximum(pad, build.on(g, build.solids["core"]) + np.float32(1.5))
    build.add("infrapatellar_fat_pad", g, np.maximum(pad, -build.on(g, build.bones) - 1.0), sd=2.0)


def _muscles(build: Build) -> None:
    m, size, s = build.marks, build.sizes, build.marks.scale
    top, high = float(m.patella_top[2]), size["limb_above"] - 2.7
    room = 82.0 * s
    g = build.fine((-room, -room, top - 6), (room, room * 0.95, size["limb_above"] - 0.5), 1.5)
    d, core = build.on(g, build.femur), build.on(g, build.solids["core"])
    crown = m.trochlea_top + size["recess_height_above_trochlea"]
    inner = core + np.float32(size["deep_fascia_thickness"] + 0.6)
    end = g.z - np.float32(high)
    middle_y = float(m.front(top + 15.0)) - 13.0 * s
    deep = np.float32(size["vastus_intermedius_thickness"]) * ramp(g.z, crown - 12, crown + 22)
    tendon = _quadriceps_tendon(build, g)
    vi = smooth_max(d - deep, np.maximum(np.float32(middle_y - 4) - g.y, -tendon), 3.0)
    vi = np.maximum(np.maximum(vi, inner), np.maximum(end, np.float32(crown - 10) - g.z))
    vi = np.maximum(vi, -d - 1.5)
    build.add("vastus_intermedius", g, vi, sd=2.5, fibres=(0, 0.1, 1))
    line = _tendon_line(build)(g.z)
    start = top + 38.0
    rf_half = curve(g.z, {start: 6 * s, start + 35: 15 * s, start + 75: 21 * s})
    rf_deep = curve(g.z, {start: 2.2, start + 35: 6.5 * s, start + 75: 9.5 * s})
    rf = ellipse(g.x - np.float32(1.5 * s), g.y - line - rf_deep * 0.75, rf_half, rf_deep)
    rf = np.maximum(np.maximum(rf, inner), np.maximum(np.float32(start) - g.z, end))
    build.add("rectus_femoris", g, rf, sd=2.5, bump=2, fibres=(0, 0.05, 1))
    angle = np.degrees(np.arctan2(g.x - np.float32(2.0 * s), g.y - np.float32(middle_y)))
    radius = np.sqrt((g.x - np.float32(2.0 * s)) ** 2 + (g.y - np.float32(middle_y)) ** 2)
    for name, sign, near, far, lowest, lean in (
        (
            "vastus_lateralis",
            1.0,
            16.0,
            128.0,
            ((16.0, 34.0), (45.0, 16.0), (75.0, 12.0), (128.0, 40.0)),
            0.25,
        ),
        (
            "vastus_medialis",
            -1.0,
            16.0,
            112.0,
            ((16.0, 22.0), (40.0, 4.0), (70.0, 0.0), (112.0, 24.0)),
            -0.55,
        ),
    ):
        turned = angle * np.float32(sign)
        across = (
            np.maximum(np.float32(near) - turned, turned - np.float32(far)) * radius * np.float32(0.01745)
        )
        bottom = np.float32(top) + curve(turned, lowest) - g.z
        shape = smooth_max(smooth_max(across, bottom, 6.0), np.float32(2.0) - (d - deep) - 1.5, 4.0)
        shape = np.maximum(np.maximum(shape, inner), np.maximum(end, np.maximum(-tendon, -rf)))
        build.add(name, g, shape, sd=2.5, bump=1, fibres=(lean, -0.1 if sign > 0 else 0.15, 1))


def _retinacula(build: Build) -> None:
    m, size, s = build.marks, build.sizes, build.marks.scale
    middle = 0.5 * (m.patella_low + m.patella_high)
    for name, sign in (("lateral_retinaculum", 1.0), ("medial_retinaculum", -1.0)):
        edge = float(m.patella_high[0] if sign > 0 else m.patella_low[0]) - sign * 2.0
        far = float(m.femur_high[0] if sign > 0 else m.femur_low[0])
        ends = sorted((edge, far + sign * 12.0))
        g = build.fine((ends[0], -2, m.patella_low[2] - 4), (ends[1], 62, m.patella_high[2] + 6), 0.7)
        core = build.on(g, build.solids["core"])
        half = 0.5 * np.float32(size["retinaculum_thickness"])
        sheet = np.abs(core + half + np.float32(size["deep_fascia_thickness"])) - half
        height = np.abs(g.z - np.float32(middle[2])) - np.float32(
            0.5 * (m.patella_high[2] - m.patella_low[2])
        )
        inside = np.maximum(
            np.float32(edge) - g.x if sign > 0 else g.x - np.float32(edge), np.float32(6 * s) - g.y
        )
        solid = np.maximum(np.maximum(sheet, height), np.maximum(inside, 0.4 - build.on(g, build.bones)))
        if (solid < 0).any():
            build.add(name, g, solid, sd=1.5, fibres=(1, -0.5, 0))


def laid(build: Build, path: npt.ArrayLike, values: Floats32, distance_mm: float, *, push: bool) -> Floats:
    """Move a path's points along a field's slope to a distance: exactly (push False), or at least (True)."""
    points = np.array(path, np.float64)
    g = build.coarse
    for _ in range(12):
        at = ((points - g.low_mm) / g.spacing_mm).T
        value = ndimage.map_coordinates(values, at, order=1, mode="nearest")
        slope = np.stack(
            [
                ndimage.map_coordinates(values, at + 0.5 * np.eye(3)[a][:, None], order=1, mode="nearest")
                - ndimage.map_coordinates(values, at - 0.5 * np.eye(3)[a][:, None], order=1, mode="nearest")
                for a in range(3)
            ],
            axis=1,
        )
        length = np.linalg.norm(slope, axis=1, keepdims=True)
        miss = np.float64(distance_mm) - value
        step = np.clip(np.maximum(miss, 0.0) if push else miss, -3.0, 3.0)
        points = points + step[:, None] * slope / np.maximum(length, 1e-6)
    return points


def _cord(build: Build, name: str, path: Floats, diameter_mm: float, sd: float) -> None:
    spacing = min(1.0, max(diameter_mm / 4.0, 0.35))
    smooth = rounded_path(path)
    pad = diameter_mm + 2 * spacing
    g = build.fine(smooth.min(axis=0) - pad, smooth.max(axis=0) + pad, spacing)
    build.add(name, g, tube(g, smooth, 0.5 * diameter_mm), sd=sd)


def _cords(build: Build) -> None:
    """Vessels and nerves: paths from the bones, kept off them, drawn as tubes."""
    m, size, s = build.marks, build.sizes, build.marks.scale
    top, low, high = float(m.patella_top[2]), -size["limb_below"] + 3.0, size["limb_above"] - 3.0
    radius = 0.5 * size["popliteal_artery_diameter"]
    gap = size["popliteal_artery_behind_bone"]

    def deep(z: float, x: float, more: float) -> list[float]:
        return [x, float(m.back(z)) - gap - radius - more, z]

    joint = min(float(m.back(0.0)), float(m.back(22.0 * s)))
    artery = np.array([
        [-13 * s, -15 * s, high], [-11 * s, -17 * s, 110 * s], deep(66 * s, -3 * s, 5),
        [2 * s, joint - gap - radius, 22 * s], [2.8 * s, joint - gap - radius, 0.0],
        deep(-20 * s, 3 * s, 1.5), deep(-48 * s, 4 * s, 7), [5 * s, float(m.back(-55 * s)) - 14 * s, low],
    ])  # fmt: skip
    artery = laid(build, rounded_path(artery), build.bones, radius + 0.8 * gap, push=True)
    _cord(build, "popliteal_artery", artery, 2 * radius, sd=3.0)
    vein_radius = 0.5 * size["popliteal_vein_diameter"]
    spread = radius + vein_radius + 0.8
    vein = artery + np.array([0.45, -0.9, 0.0]) * spread
    _cord(build, "popliteal_vein", vein, 2 * vein_radius, sd=3.0)
    nerve = vein + np.array([3.0, -(vein_radius + 0.5 * size["tibial_nerve_diameter"] + 1.5), 0.0])
    nerve = _within(build, nerve, 3.5)
    _cord(build, "tibial_nerve", nerve, size["tibial_nerve_diameter"], sd=4.0)
    n = m.fibula_neck
    split = nerve[int(np.argmin(np.abs(nerve[:, 2] - 72 * s)))]
    fibular = np.array([
        split + np.array([2.0, 1.0, 0.0]), [20 * s, -38 * s, 45 * s], [31 * s, -36 * s, 15 * s],
        [n[0] + 0.0, n[1] - 8.0, n[2] + 18.0], [n[0] + 3.5, n[1] - 2.0, n[2] + 3.0],
        [n[0] + 3.0, n[1] + 6.0, n[2] - 9.0], [n[0] - 4.0, n[1] + 13.0, n[2] - 30.0],
    ])  # fmt: skip
    # under the fascia first, off the bone last: at the fibula's neck the two leave little room
    fibular = _within(build, rounded_path(fibular), 2.5)
    fibular = laid(build, fibular, build.bones, 2.4, push=True)
    _cord(
        build,
        "common_fibular_nerve",
        fibular,
        size["common_fibular_nerve_diameter"],
        sd=4.0,
    )
    corner = np.array([m.patella_high[0] - 3.0, float(m.patella_top[1]) - 6.0, top - 8.0])
    around = np.array([
        [3 * s, -12 * s, 42 * s], [20 * s, -8 * s, 42 * s], [31 * s, 6 * s, 42 * s], [31 * s, 20 * s, 43 * s],
    ])  # fmt: skip
    around = laid(build, rounded_path(around, 3.0), build.femur, 1.8, push=False)
    path = laid(build, np.vstack([around, corner]), build.bones, 1.6, push=True)
    _cord(
        build,
        "superior_lateral_genicular_artery",
        path,
        size["superior_lateral_genicular_artery_diameter"],
        sd=4.0,
    )
    # under the skin: 31 mm medial of A (lower pole × tendon edge), 17 at the joint line, then across
    edge = m.patella_bottom + np.array([-0.5 * size["patellar_tendon_width"], 0.0, 0.0])
    branch = edge + np.array(
        [[-52, -30, 22], [-31, -8, 0], [-17.2, 0, -15], [-6, 0, -26], [14, 0, -33], [30, -10, -36.0]]
    )
    branch = laid(build, rounded_path(branch), build.solids["core"], 2.2, push=False)
    _cord(build, "infrapatellar_nerve", branch, size["infrapatellar_nerve_diameter"], sd=6.0)


def _within(build: Build, path: Floats, depth_mm: float) -> Floats:
    """Keep a path at least this deep under the deep fascia."""
    return laid(build, path, -build.solids["core"], depth_mm, push=True)


def complete_knee(
    axes: JointAxes,
    segmented: Mapping[str, Structure],
    subject: Subject,
    *,
    mode: Mode = "auto",
    parameters: Mapping[str, float] | None = None,
    progress: Progress | None = None,
) -> Completed:
    """Build a knee's unsegmented tissues and its cavity; see `complete_joint`.

    Raises EmptyStructureError when femur, tibia or patella is missing.
    """
    missing = [n for n in NEEDED if n not in segmented or not len(segmented[n].surface.triangles)]
    if missing:
        raise EmptyStructureError(
            f"completing a knee needs {', '.join(NEEDED)}; missing: {', '.join(missing)}"
        )
    say = progress or (lambda label, share: None)
    sizes = knee_sizes(subject, parameters or {})
    build = Build(Frame.of(axes), sizes, segmented, axes)
    say("distances to the bones", 0.0)
    build.solids["core"] = _core(build)
    if mode == "auto":
        steps: tuple[tuple[str, Callable[[Build], object]], ...] = (
            ("skin, fat and fascia", _envelopes), ("tendons", _tendons), ("fat pads", _fat_pads),
            ("muscles", _muscles), ("retinacula", _retinacula), ("vessels and nerves", _cords),
            ("shafts beyond the scan", _shafts),
        )  # fmt: skip
        for i, (label, step) in enumerate(steps):
            say(label, 0.2 + 0.07 * i)
            step(build)
    say("joint cavity", 0.7)
    cavity = knee_cavity(build, _quadriceps_tendon, _patellar_tendon, _tendon_line(build))
    structures = dict(segmented) | build.made
    if mode == "auto":
        _capsule(build, cavity, structures)
    if "synovial_fluid" not in structures:
        structures["joint_cavity"] = _cavity_structure(cavity)
    say("labels", 0.9)
    labels = paint_labels(structures, build.coarse, 1.0)
    say("completed", 1.0)
    return Completed(
        structures=structures, cavity=cavity, labels=labels, assumed=sizes.assumed + cavity.assumed
    )


def _cavity_structure(cavity: Cavity) -> Structure:
    info = structure("joint_cavity")
    return Structure(
        name="joint_cavity",
        surface=cavity.surface,
        tissue=info.tissue,
        risk=info.risk,
        source=cavity.source,
        priority=PRIORITY["cavity"],
        placement_sd_mm=1.0,
        assumed=cavity.assumed,
    )


def _shafts(build: Build) -> None:
    for bone in ("femur", "tibia", "fibula"):
        values, any_ = build.shaft(bone)
        if any_:
            build.add(f"{bone}_shaft", build.coarse, values, sd=3.0, bump=-1)


def _capsule(build: Build, cavity: Cavity, structures: dict[str, Structure]) -> None:
    """The capsule: the resting cavity's outer wall, as a solid that holds the cavity."""
    if "joint_capsule" in structures:
        return
    info = structure("joint_capsule")
    field_, thick = cavity.field, build.sizes["capsule_thickness"]
    # every second point: 1 mm is fine enough for a layer drawn around the cavity
    values = field_.values[::2, ::2, ::2]
    still = Grid(Frame(np.zeros(3), np.eye(3)), field_.origin_mm, 2.0 * field_.spacing_mm, values.shape)
    structures["joint_capsule"] = Structure(
        name="joint_capsule",
        surface=still.surface(values - np.float32(thick)),
        tissue=info.tissue,
        risk=info.risk,
        source="completed",
        priority=PRIORITY["capsule"],
        placement_sd_mm=1.5,
        assumed=(f"capsule and synovium {thick:g} mm thick around the cavity",),
    )


__all__ = ["RECESSES", "Build", "Surface", "complete_knee"]
