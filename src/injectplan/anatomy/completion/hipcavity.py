"""The hip's joint cavity: fluid in the fossa, and a sleeve around head and neck that opens in front."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from injectplan.anatomy.cavity import counted_ml, halved
from injectplan.anatomy.completion.limb import Build, Space, cavity_of
from injectplan.anatomy.completion.solids import ramp, smooth_max, smooth_min
from injectplan.anatomy.model import Cavity
from injectplan.frames import unit
from injectplan.kernels.cast import Floats, Floats32

RECESSES = ("anterior", "posterior", "central", "around_neck")
FILM_MM = (0.8, 1.1)  # assumed: of fluid under the capsule at rest; thinner falls between the grid's points
LOOSE = np.float32(0.05)  # assumed: how much harder what lies together opens, per mm beyond its fluid
BACK_MM = 12.0  # assumed: how much of the sleeve behind the neck lies together when there is least fluid
GAP_MM = 3.2  # assumed: wider than this is the fossa; bearing surfaces lie closer, and touch under load


@dataclass(frozen=True, eq=False)
class _Places:
    """Where points lie: along the neck, out of the socket, ahead (1) or behind (-1) of the neck."""

    along: Floats32
    socket: Floats32
    ahead: Floats32
    around: Floats32
    head: Floats32

    @classmethod
    def of(cls, space: Space, neck: Floats, out: Floats) -> _Places:
        """Return the places of a grid's points; neck, out : unit directions."""
        x, y, z = space.x, space.y, space.z
        along = np.asarray(x * neck[0] + y * neck[1] + z * neck[2], np.float32)
        ring = np.stack([x, y, z], -1) - along[..., None] * neck.astype(np.float32)
        around = np.linalg.norm(ring, axis=-1)
        ahead = ring[..., 1] / np.maximum(around, 1e-3)
        socket = np.asarray(x * out[0] + y * out[1] + z * out[2], np.float32)
        return cls(along, socket, ahead, around, np.sqrt(x * x + y * y + z * z))


def hip_cavity(build: Build, neck: Floats, out: Floats, s: float) -> Cavity:
    """Build the resting cavity and how it opens.

    neck, out : unit directions along the neck and out of the socket.  s : the head's size over the drawn one.
    """
    reach = 62.0 * s
    space = Space.between(build.frame, (-36 * s, -40 * s, -reach), (reach, 42 * s, 36 * s), build.fluid)
    size, at = build.sizes, _Places.of(space, neck, out)
    femur = build.distance(("femur", "femoral_head_cartilage"), space.grid, 14.0)
    pelvis = build.distance(("hip_bone", "acetabular_cartilage", "labrum"), space.grid, 6.0)
    if "labrum" in build.made:
        pelvis = np.minimum(pelvis, space.grid.distance(build.made["labrum"].surface, 6.0))
    walls = np.minimum(femur, pelvis)
    # to the intertrochanteric line in front, to the middle of the neck behind
    end = np.float32(28.0 * s) + np.float32(12.0 * s) * ramp(at.ahead, -0.5, 0.6)
    # the neck, not the trochanters: the sleeve narrows from the head to the neck and widens in front
    sleeve = at.around - np.float32(30.0 * s) + np.float32(5.0 * s) * ramp(at.along, 10.0 * s, 24.0 * s)
    socket = _in_socket(at, femur, pelvis, s)
    layer = 0.5 * (size["anterior_recess_thickness"] - 1.0)
    off = np.float32(layer) * ramp(at.along, 14.0 * s, 26.0 * s)
    beyond = np.maximum(-2.0 * s - at.socket, sleeve)
    behind = np.float32(BACK_MM * s) * (1 - ramp(at.ahead, -0.5, 0.6))

    def filled(share: float) -> Floats32:
        """Under the capsule's outer layer, above the reflected one, round head and neck."""
        half = np.float32(0.5 * (FILM_MM[0] + share * (FILM_MM[1] - FILM_MM[0])))
        held = at.along - end + behind * np.float32(1 - share)
        far = np.maximum(beyond, np.maximum(at.along - end, np.where(held < 0, held, LOOSE * held)))
        return smooth_min(socket, smooth_max(np.abs(femur - off - half - 0.05) - half, far, 1.2), 1.0)

    def has_room(share: float) -> bool:
        volume = counted_ml(np.maximum(filled(share), 0.05 - walls), 0.0, space.grid.spacing_mm)
        return volume <= size["resting_fluid"]

    low, high = halved(has_room, 0.0, 1.0, 5)
    ease = np.where(at.along > 10.0 * s, 0.25 + 0.75 * ramp(at.ahead, -0.6, 0.7), 0.1)
    ease = np.maximum(ease * ramp(end - at.along, 0.0, 8.0 * s), 0.03)
    away = np.maximum(-at.socket - 8.0 * s, sleeve - 6.0)
    most = femur - 5.5 - 2.5 * ramp(at.ahead, -0.4, 0.6)
    said = (
        f"hip cavity built from the bones: resting volume {size['resting_fluid']:g} mL, capsule from the "
        "acetabular rim to the intertrochanteric line in front and to the middle of the neck behind",
    )
    allowed = np.maximum(np.maximum(at.along - end - 2.0, most), away)
    rest, index = filled(0.5 * (low + high)), _which(space, at, neck, s)
    return cavity_of(
        build, space, rest, walls, np.asarray(ease, np.float32), allowed, index, RECESSES, size, said
    )


def _in_socket(at: _Places, femur: Floats32, pelvis: Floats32, s: float) -> Floats32:
    """Between head and socket where they stand apart: a film on the head."""
    between = np.maximum(np.maximum(femur, pelvis) - np.float32(6.0 * s), np.float32(GAP_MM) - femur - pelvis)
    bounds = np.maximum(at.socket - 2.0 * s, at.head - 33.0 * s)
    return np.maximum(np.maximum(between, bounds), femur - np.float32(FILM_MM[1]))


def _which(space: Space, at: _Places, neck: Floats, s: float) -> np.ndarray:
    """Which recess each point belongs to: index + 1 into RECESSES.

    What a sonographer calls the anterior recess lies over the head-neck junction, on the neck's middle line.
    """
    side = unit(np.cross(neck, [0.0, 1.0, 0.0]))
    aside = np.abs(np.asarray(space.x * side[0] + space.y * side[1] + space.z * side[2], np.float32))
    before = np.where((at.along < 28.0 * s) & (aside < 9.0 * s), 1, 4)
    return np.where(at.along < 12.0 * s, 3, np.where(at.ahead > -0.1, before, 2)).astype(np.uint8)
