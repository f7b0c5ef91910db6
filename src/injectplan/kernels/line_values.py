"""What a scan line's kernels are handed: tissues, surfaces, rays, grid, texture, and what they write.

Lengths in mm, speeds in mm/µs (= km/s); amplitudes are re a perfect planar mirror.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from injectplan.kernels.bvh import Bvh
from injectplan.kernels.cast import Bools, Bytes, Floats, Floats32, Ints

GRAIN = 128  # edge of the periodic speckle texture in voxels
ROOM = 128  # boundary crossings kept per sub-ray
COLUMNS = 32  # pixel columns labelled at once, even: a cache line of labels
HELD_NONE, HELD_ALL = 0, 1  # of a picture's row between the columns that hold a part of the image; else 2
PATTERN = (64, 128, 128)  # edges of the periodic amplitude patterns
C0 = 1.54  # displayed speed, mm/µs
NEPER = 0.11512925464970229  # nepers a dB
FAINT = 1.0e-6  # amplitude below which nothing is followed or drawn


class Medium(NamedTuple):
    """Tissues at the probe's frequency, one entry each, float64.

    loss : two-way amplitude loss, nepers per mm.  echo : rms speckle.  floor : diffuse part of a boundary.
    anisotropy : dB the speckle falls when the beam runs along the fibres.  air : whether it is air.
    """

    density: Floats
    speed: Floats
    shear: Floats
    loss: Floats
    echo: Floats
    floor: Floats
    anisotropy: Floats
    air: Bytes


class Skin(NamedTuple):
    """What closed surfaces' triangles belong to; rows follow their tree's order.

    normals (m, 9) : unit normals at the corners.  solid (m,) : whose triangle it is.  low, high (3,) :
    bounds, inf when empty.
    """

    normals: Floats32
    solid: Ints
    low: Floats
    high: Floats


class Makeup(NamedTuple):
    """What each solid is made of (n of them, the last one the injected fluid's place).

    tissue, priority, style (0 = plain), fibre (n, 3), axes (n, 3, 3) rows that turn a place into pattern
    voxels, radial (n,), membrane amplitude.
    """

    tissue: Ints
    priority: Ints
    style: Ints
    fibre: Floats
    axes: Floats
    radial: Bytes
    membrane: Floats


class Mesh(NamedTuple):
    """Closed surfaces in one tree."""

    tree: Bvh
    skin: Skin


class Solids(NamedTuple):
    """A mesh and its solids. Parallel kernels take the parts, since numba unpacks one level only."""

    mesh: Mesh
    makeup: Makeup


class Rays(NamedTuple):
    """One look: line origins, directions, lateral axes (n, 3), elevation axis (3,), plane offsets (k,)."""

    origin: Floats
    direction: Floats
    lateral: Floats
    elevation: Floats
    planes: Floats


class Grid(NamedTuple):
    """The beam grid's tables along depth (samples), float32 where the inner loops read them.

    step : mm of displayed depth.  sigma_z : axial amplitude sd.
    grain_weight, plane_weight (planes, samples): elevation weights for speckle, with its normalisation, and
    for boundaries.  rough (samples): speckle's normalisation on a surface.  smear_x, smear_y : sd that the
    filters apply.  f_lateral, f_elevation.  axial (taps): half of the symmetric axial filter.
    deaf (planes, 2) : samples [first, last) at which a plane lies too far out of the slice to be heard.
    """

    step: float
    sigma_z: float
    grain_weight: Floats32
    plane_weight: Floats32
    rough: Floats32
    smear_x: Floats32
    smear_y: Floats32
    f_lateral: Floats32
    f_elevation: Floats32
    axial: Floats32
    deaf: Ints


class Texture(NamedTuple):
    """Speckle (GRAIN³,) int32, four int8: real and imaginary part of a voxel and of the next one along k (see
    `_lanes.grains`), with its place: voxel = matrix @ (p - origin) + shift; and the patterns.

    turns (3,) int32, circle (256,) : the phase of a voxel, see `_lanes.grains`.  scale turns numbers into a
    complex normal one of unit power.  patterns (styles, *PATTERN) uint8 index `gains` (256,), amplitude
    factors.  axis_origin, axis (3, 3): rows e1, e2, along, for radial patterns.
    """

    grain: npt.NDArray[np.int32]
    matrix: Floats
    origin: Floats
    shift: Floats
    turns: Ints
    circle: Floats32
    scale: float
    patterns: Bytes
    gains: Floats32
    axis_origin: Floats
    axis: Floats


class Options(NamedTuple):
    """What the walk is to do. veil : amplitude re the bone's echo, 0 = none; veil_loss : nepers per mm."""

    background: int
    film: float
    refract: bool
    patterned: bool
    veil: float
    veil_loss: float


class Rod(NamedTuple):
    """A needle: tip, unit axis towards the hub, length, outer radius; radius 0 = none."""

    tip: Floats
    axis: Floats
    length: float
    radius: float


class Walked(NamedTuple):
    """What the walk writes, (lines, samples) float32 unless said.

    re, im : complex signal after the axial filter.  through : two-way amplitude transmission.
    reach : true path in mm at each sample, middle plane.  trust uint8.  contact (lines,) uint8.
    """

    re: Floats32
    im: Floats32
    through: Floats32
    reach: Floats32
    trust: Bytes
    contact: Bytes


class Desk(NamedTuple):
    """Room to work in; each of its n places serves one line, or one group of pixel columns, at a time.

    rows (n, 6, samples) float32 : place in texture voxels, amplitude, speckle before the axial filter.
    ts, which (n, ROOM) : a ray's crossings.  counts (n, solids) : how often each solid holds the place.
    fall (n, tissues) : what speckle falls by in a sample.  column (n, height, COLUMNS) : labels before they
    are laid into the picture.  edge, below (n, 3, ROOM) : depths at which labels change along three pixel
    columns, and the label below each.
    """

    rows: Floats32
    ts: Floats
    which: Ints
    counts: Ints
    fall: Floats
    column: npt.NDArray[np.uint16]
    edge: Floats
    below: npt.NDArray[np.uint16]


class Columns(NamedTuple):
    """The pixel columns to label: one ray down each.

    origin (3,) : of column 0's ray, `back` mm before the first row's centres.  across : unit, from column to
    column.  down : unit.  step : a pixel in mm.  first, last : columns that hold a part of the image.
    inside, labels (h, w) : pixels of the image; what is written, a solid's index + 1, 0 outside all.
    held (h,) : HELD_ALL or HELD_NONE of a row's columns lie in the image, so that `inside` need not be read.
    """

    origin: Floats
    across: Floats
    down: Floats
    back: float
    step: float
    first: int
    last: int
    inside: Bools
    held: Bytes
    labels: npt.NDArray[np.uint16]
