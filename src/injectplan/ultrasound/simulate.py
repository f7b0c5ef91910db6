"""simulate_frame: a scene, a probe's pose and a needle become one frame with its maps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from injectplan.anatomy.model import FillState
from injectplan.errors import BadInputError
from injectplan.frames import Pose
from injectplan.imaging.values import Surface
from injectplan.instruments import Probe
from injectplan.kernels import beam, clutter, crossing, doubt, echo
from injectplan.kernels import line_values as values
from injectplan.kernels import needle as needles
from injectplan.kernels.cast import Bools, Bytes, Floats
from injectplan.kernels.chance import uniforms
from injectplan.ultrasound.bubbles import bubbles
from injectplan.ultrasound.colour import ColourMap, ColourMode, colour_map
from injectplan.ultrasound.patterns import (
    INT8_SIGMA,
    circle_table,
    exponential_table,
    gain_table,
    pattern_volumes,
    speckle_pairs,
)
from injectplan.ultrasound.scene import AcousticScene, mesh_of
from injectplan.ultrasound.tables import Tables, line_frames, tables_of
from injectplan.ultrasound.values import Display, Frame, NeedlePose

# Gel that still couples, a face this close to the skin counts as touching (assumed): where physics is
# tested hardly any, in pictures what a sonographer puts on.
COUPLING_FILM_MM, GEL_MM = 0.25, 1.5
# A convex face is pressed in until its sides couple too; the tissue it meets rises to it (assumed).
PRESSED_MM = 10.0
VEIL_DB = -38.0  # reverberation under bone re the bone's echo; fitted to shadows of public frames
VEIL_DB_MM = -1.2  # its decay with depth, after TGC; the same
# Diffuse floor of a shaft re its facing echo, its tip's edges re a perfect mirror, and a gain, dB. Physics of
# plain steel; and what public needle frames show: a shaft 36 dB over its surroundings when it faces the
# beam, a third of that contrast at 25-50 degrees, a tip that stays bright.
NEEDLE_DB, NEEDLE_SHOWN_DB = (-19.5, -20.0, 0.0), (-9.0, -12.0, 11.0)
PLACES = 32  # lines under work at once, at most; more than threads, so that these share the work evenly
# Haze of a scanner's picture: `Probe.haze_db` of the neighbourhood's power, which counts up to CLUTTER_CAP_DB
# re a perfect mirror, trailing into the depth after TGC; fitted to the grey of vessels in public frames (0.41
# of the ring round them), of fluid in knees (up to 0.3 of fat) and of a trochlea's cartilage (0.30-0.35).
CLUTTER_CAP_DB, CLUTTER_TRAIL_MM, CLUTTER_REACH_MM = -33.5, 6.5, 3.0
BORE_MM = 0.413  # of a jet without a needle: 22 gauge
LOST = 1e-3  # two-way amplitude under which nothing is to be trusted: 60 dB
DOUBT_MM = 1.0  # ring round a needle where ray theory is not trusted
_NO_FLUID = mesh_of([])


class FrameBuffers:
    """Room that frames of one probe, display and scene are computed in, so that none is allocated per frame.

    A frame made with buffers shares their memory: the next one overwrites it.
    """

    def __init__(self, scene: AcousticScene, display: Display | None = None) -> None:
        self.display = display or Display()
        self.probe = scene.probe
        self.tables = tables_of(scene.probe, self.display)
        lines, n = self.probe.lines, self.tables.samples
        h, w = self.display.height_px, self.display.width_px
        self.solids, self.tissues = len(scene.names), len(scene.tissue_names)

        def single(*shape: int) -> Any:
            return np.zeros(shape, np.float32)

        self.walked = values.Walked(
            single(lines, n), single(lines, n), single(lines, n), single(lines, n),
            np.zeros((lines, n), np.uint8), np.zeros(lines, np.uint8),
        )  # fmt: skip
        self.desk = _desk(scene, n, h)
        self.through, self.trust = single(lines, n), np.zeros((lines, n), np.uint8)
        self.contact = np.zeros(lines, np.uint8)
        self.row_re, self.row_im = single(lines, n), single(lines, n)
        self.power, self.side, self.sum = single(lines, n), single(lines, n), single(lines, n)
        self.envelope, self.grey, self.smooth = single(lines, n), single(lines, n), single(lines, n)
        self.marks, self.mean = np.zeros(lines), single(n)
        self.tops, self.aside = single(lines), np.zeros((lines, n), np.uint8)
        self.away, self.edge = single(n), single(n)
        self.labels = np.zeros((h, w), np.uint16)
        self.bmode, self.needle = np.zeros((h, w), np.uint8), np.zeros((h, w), np.uint8)
        self.shadow, self.trusted = single(h, w), np.zeros((h, w), np.bool_)

        held = np.flatnonzero(self.tables.inside.any(axis=0))
        self.held = (int(held[0]), int(held[-1]) + 1)
        self.rows_held = _rows_held(self.tables.inside[:, self.held[0] : self.held[1]])

    def fits(self, scene: AcousticScene, display: Display) -> bool:
        """Whether these buffers serve a scene and display."""
        same = self.solids == len(scene.names) and self.tissues == len(scene.tissue_names)
        return same and self.probe == scene.probe and self.display == display


def _rows_held(inside: Bools) -> Bytes:
    """Whether rows lie wholly in the image, not at all, or in part; see `Columns`."""
    some = np.where(inside.any(axis=1), 2, values.HELD_NONE)
    return np.where(inside.all(axis=1), values.HELD_ALL, some).astype(np.uint8)


def _desk(scene: AcousticScene, samples: int, height: int) -> values.Desk:
    """Room to work in, the same whatever the number of threads."""
    return values.Desk(
        rows=np.zeros((PLACES, 6, samples), np.float32), ts=np.zeros((PLACES, values.ROOM)),
        which=np.zeros((PLACES, values.ROOM), np.int32),
        counts=np.zeros((PLACES, len(scene.names)), np.int32),
        fall=np.zeros((PLACES, len(scene.tissue_names))),
        column=np.zeros((PLACES, height, values.COLUMNS), np.uint16),
        edge=np.zeros((PLACES, 3, values.ROOM)), below=np.zeros((PLACES, 3, values.ROOM), np.uint16),
    )  # fmt: skip


def _rays(probe: Probe, tables: Tables, pose: Pose, steer_deg: float) -> values.Rays:
    origin, direction, lateral = line_frames(probe, steer_deg)
    return values.Rays(
        np.ascontiguousarray(pose.apply(origin)), np.ascontiguousarray(pose.rotate(direction)),
        np.ascontiguousarray(pose.rotate(lateral)), pose.rotation[:, 1].copy(), tables.planes_mm,
    )  # fmt: skip


def _texture(scene: AcousticScene, tables: Tables, seed: int, pose: Pose, steer_deg: float) -> values.Texture:
    """The speckle as seen from a pose; each steering angle has its own.

    Each grain's echo has the phase of its way there and back, 2k·(direction · place), so that a turned probe
    sees other speckle: |µ|² = exp(-(2kσ sin β)²/2) for a turn by β, up to about 13 degrees, where the phase
    turns by half a circle from voxel to voxel. It is rounded to whole turns over the texture's period, a
    twentieth to a fifth of a degree of direction.
    """
    probe = scene.probe
    shift = 128.0 * uniforms(seed, 0, 3) + np.array([41.3, 67.7, 29.1]) * (steer_deg / 8.0)
    turns = (
        2.0
        * values.GRAIN
        * tables.voxel_mm
        / probe.wavelength_mm
        * (scene.texture_axes @ pose.rotation[:, 2])
    )
    plain = probe.raw or not probe.texture
    patterns = np.zeros((1, 1, 1, 1), np.uint8) if plain else pattern_volumes()
    if plain:
        patterns.setflags(write=False)
    return values.Texture(
        speckle_pairs(), scene.texture_axes / tables.voxel_mm, scene.texture_origin_mm, shift,
        np.rint(turns).astype(np.int32), circle_table(), 1.0 / (INT8_SIGMA * math.sqrt(2.0)), patterns,
        gain_table(), scene.limb_origin_mm, scene.limb_axes,
    )  # fmt: skip


def _tgc_slope(probe: Probe) -> float:
    """Mean rise of the gain with depth, dB per mm, at least 0: what decays must outrun on the screen."""
    if len(probe.tgc_db) < 2:
        return 0.0
    return max(0.0, (probe.tgc_db[-1] - probe.tgc_db[0]) / probe.depth_mm)


def _options(scene: AcousticScene) -> values.Options:
    probe = scene.probe
    neper = math.log(10.0) / 20.0
    slope = _tgc_slope(probe)
    veil = 0.0 if probe.raw or not probe.veil else math.exp(neper * VEIL_DB)
    film = GEL_MM if probe.kind == "linear" else PRESSED_MM
    return values.Options(
        scene.background, COUPLING_FILM_MM if probe.raw else film, probe.refraction,
        not probe.raw and probe.texture, veil, neper * (slope - VEIL_DB_MM),
    )  # fmt: skip


def _steel(needle: NeedlePose | None, probe: Probe) -> tuple[values.Rod, needles.Steel]:
    if needle is None:
        zero = np.zeros(3)
        return values.Rod(zero, zero, 0.0, 0.0), needles.Steel(zero, zero, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    axis, tip = np.array(needle.axis), np.array(needle.tip_mm)
    radius = needle.outer_mm / 2.0
    bevel = math.radians(needle.bevel_deg)
    level = NEEDLE_DB if probe.raw else NEEDLE_SHOWN_DB
    return (
        values.Rod(tip, axis, needle.length_mm, radius),
        needles.Steel(tip, axis, needle.length_mm, radius, needle.inner_mm / 2.0, bevel, *level),
    )


def _fluid(state: FillState | None, scene: AcousticScene) -> values.Mesh:
    """Return the mesh of a fill state's fluid, as far as the scene's rays reach; the last few are kept."""
    if state is None or state.fluid is None or not len(state.fluid.triangles):
        return _NO_FLUID
    key = (id(state.fluid), id(scene.shapes))
    if key not in _FLUIDS:
        while len(_FLUIDS) >= 8:
            _FLUIDS.pop(next(iter(_FLUIDS)))
        _FLUIDS[key] = (state.fluid, scene.shapes, scene.shapes.mesh_within_reach([state.fluid]))
    return _FLUIDS[key][2]


# the surface and the shapes are held so that their ids stay theirs
_FLUIDS: dict[tuple[int, int], tuple[Surface, object, values.Mesh]] = {}


def simulate_frame(
    scene: AcousticScene,
    probe_to_patient: Pose,
    *,
    needle: NeedlePose | None = None,
    fill: FillState | None = None,
    display: Display | None = None,
    seed: int = 0,
    buffers: FrameBuffers | None = None,
    colour: ColourMode | None = None,
) -> Frame:
    """Simulate one B-mode frame with its registered maps.

    scene : tissues and probe.  probe_to_patient : the probe's pose.  needle : drawn as a steel tube.
    fill : injected fluid (instead of the scene's own).  display : the picture's size.  seed : of the grain
    and the noise.  buffers : room to compute in; the frame then shares it, and the next one overwrites it.
    colour : also colour the injectate by its speed along the beam, from the fill state's jet.
    Raises BadInputError when the buffers belong to another scene, probe or display.
    """
    shown = display or (buffers.display if buffers else Display())
    if buffers is None:
        buffers = FrameBuffers(scene, shown)
    elif not buffers.fits(scene, shown):
        raise BadInputError("these frame buffers belong to another probe, display or scene")
    b, t, probe = buffers, buffers.tables, scene.probe
    state = fill if fill is not None else scene.fill
    fluid = _fluid(state, scene)
    rod, steel = _steel(needle, probe)
    medium, options = scene.medium(), _options(scene)
    points, loud = scene.points_mm, scene.point_amplitude
    if not probe.raw:
        places, echoes = bubbles(state, fluid.tree, probe_to_patient, probe.face_mm, probe.depth_mm, seed + 3)
        points, loud = np.concatenate([points, places]), np.concatenate([loud, echoes])
    middle = t.looks_deg.index(min(t.looks_deg, key=lambda a: abs(a - probe.steer_deg)))
    order = [i for i in range(len(t.looks_deg)) if i != middle] + [middle]
    matrix = probe_to_patient.matrix @ t.pixel_to_probe
    columns = _columns(b, t, scene, fluid, matrix)
    for turn, look in enumerate(order):
        rays = _rays(probe, t, probe_to_patient, t.looks_deg[look])
        echo.walk_lines(
            scene.solids,
            fluid,
            medium,
            _texture(scene, t, seed, probe_to_patient, t.looks_deg[look]),
            options,
            t.grid,
            rays,
            rod,
            b.walked,
            b.desk,
            columns if look == middle else columns._replace(last=columns.first),
        )
        beam.focus_lines(
            t.focus, steel, points, loud, rays, b.walked, b.row_re, b.row_im,
            b.power,
            b.marks, b.envelope,
        )  # fmt: skip
        if len(order) > 1:
            beam.add_look(
                b.power, t.look_line[look], t.look_sample[look], t.look_share[look], b.sum, turn == 0
            )
    doubt.doubt_more(
        b.walked.through, b.marks, np.float32(t.step_mm), np.float32(LOST), np.float32(probe.wavelength_mm),
        t.pitch_mm, b.walked.trust, b.tops, b.away, b.edge, b.aside,
    )  # fmt: skip
    _draw(b, t, probe, seed, compounded=len(order) > 1)
    needles.mark_needle(
        steel, matrix, t.half_slice_mm, t.scan, t.depth_mm, t.step_mm, DOUBT_MM, t.pixel_mm, b.needle,
        b.trusted,
    )  # fmt: skip
    coloured = None
    if colour is not None:
        bore = needle.inner_mm if needle is not None else BORE_MM
        coloured = _coloured(scene, b, t, state, colour, bore, matrix, seed)
    return Frame(
        bmode=b.bmode, envelope_db=b.envelope, sample_mm=t.step_mm, line_origin_mm=rays.origin,
        line_direction=rays.direction, labels=b.labels, label_names=scene.label_names, needle=b.needle,
        shadow=b.shadow, trust=b.trusted, depth_mm=t.depth_mm, pixel_to_patient=matrix,
        probe_to_patient=probe_to_patient, assumed=scene.assumed, colour=coloured,
        extra={"contact_fraction": float(b.walked.contact.mean())},
    )  # fmt: skip


def _coloured(
    scene: AcousticScene, b: FrameBuffers, t: Tables, state: FillState | None, mode: ColourMode,
    bore_mm: float, matrix: Floats, seed: int,
) -> ColourMap:  # fmt: skip
    lean = mode.steer_deg if scene.probe.kind == "linear" else 0.0
    turn = matrix[:3, :3] @ np.linalg.inv(t.pixel_to_probe[:3, :3])
    beams = np.ascontiguousarray(line_frames(scene.probe, lean)[1] @ turn.T)
    return colour_map(
        state, mode, scene.probe, bore_mm=bore_mm, to_patient=matrix, scan=t.scan, samples=t.samples,
        directions=beams, labels=b.labels, fluid=len(scene.names), shadow=b.shadow, seed=seed + 2,
    )  # fmt: skip


def _haze(b: FrameBuffers, t: Tables, probe: Probe, seed: int, compounded: bool) -> None:
    fall = 1.0 / CLUTTER_TRAIL_MM + _tgc_slope(probe) * math.log(10.0) / 10.0  # nepers of power a mm
    clutter.add_clutter(
        b.sum if compounded else b.power, not compounded, np.float32(10.0 ** (CLUTTER_CAP_DB / 10.0)),
        10.0 ** (probe.haze_db / 10.0), np.float32(math.exp(-t.step_mm * fall)),
        max(1, round(CLUTTER_REACH_MM * probe.lines / probe.face_mm)), exponential_table(), seed + 1, b.side,
        b.mean,
    )  # fmt: skip


def _draw(b: FrameBuffers, t: Tables, probe: Probe, seed: int, *, compounded: bool) -> None:
    noise = 0.0 if probe.raw else 10.0 ** (probe.noise_db / 10.0)
    if not probe.raw and probe.texture:
        _haze(b, t, probe, seed, compounded)
    beam.grey_lines(
        b.sum if compounded else b.power, b.walked.contact, t.gain_db, np.float32(-probe.dynamic_range_db),
        float(probe.dynamic_range_db), np.float32(noise), exponential_table(), seed, b.envelope,
        b.grey, not compounded,
    )  # fmt: skip
    grey = b.grey
    if not probe.raw and probe.smoothing_mm > 0.0:
        deep = 0.5 * min(1.0, (probe.smoothing_mm / t.step_mm) ** 2) * 0.66
        side = 0.5 * min(1.0, (2.0 * probe.smoothing_mm / (probe.face_mm / probe.lines)) ** 2) * 0.66
        beam.smooth_lines(b.grey, np.float32(side), np.float32(deep), b.smooth)
        grey = b.smooth
    walked = b.walked
    beam.scan_convert(
        grey, walked.through, walked.trust, t.scan, t.plain_scan, *b.held, b.bmode, b.shadow, b.trusted
    )


def _columns(
    b: FrameBuffers, t: Tables, scene: AcousticScene, fluid: values.Mesh, matrix: Floats
) -> values.Columns:
    """The pixel columns' rays, for the labels."""
    across, down = matrix[:3, 0] / t.pixel_mm, matrix[:3, 1] / t.pixel_mm
    top, solids = matrix[:3, 3], scene.solids.mesh.skin
    bounds = (solids.low, solids.high, fluid.skin.low, fluid.skin.high)
    width = b.display.width_px
    back = max(crossing.distance_behind(*bounds, *(top + k * matrix[:3, 0]), *down) for k in (0, width - 1))
    return values.Columns(
        np.ascontiguousarray(top - back * down), np.ascontiguousarray(across), np.ascontiguousarray(down),
        back, t.pixel_mm, *b.held, t.inside, b.rows_held, b.labels,
    )  # fmt: skip
