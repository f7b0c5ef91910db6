"""The knee's synovial folds beside and behind the condyles: films on the bone, and how far they reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from injectplan.anatomy.cavity import counted_ml, halved
from injectplan.anatomy.completion.kneebuild import Build
from injectplan.anatomy.completion.solids import curve_of, ramp, smooth_max, smooth_min
from injectplan.kernels.cast import Floats32

# assumed: what is left of a fold at rest; thinner ones would fall between the points of the cavity's grid
FILM_MM = 0.75
LOOSE = np.float32(0.08)  # assumed: how much harder a fold that lies together opens, per mm above its fluid
LEAST_SHARE = 0.3  # assumed: of its height, what a fold of an empty joint still holds
MOST_THINNED_MM = 1.6  # a pouch of 2.6 mm is empty then
# where the synovium turns over onto the femur, above the joint line, with the knee distended: in front, at
# the epicondyle, behind (MRI of 50 knees and 20 cadavers, PMID 34829311)
REFLECTION_MM = {"lateral": (65.0, 27.4, 15.2), "medial": (45.7, 17.4, 19.9)}
MENISCUS_MM = 4.0  # assumed: the folds begin above the menisci's outer edge
CONDYLE_TOP_MM = 31.0  # assumed: behind, the capsule holds the whole cartilage of the condyles


@dataclass(frozen=True, eq=False)
class Folds:
    """The folds at points (n,): the film's own value and how far each point lies beyond its outlines.

    film, beyond : values of the film and of the fold's full outline, mm.  low, high : heights above the
    joint's line between which a share of the fold holds fluid at rest.  hung : 1 where a fold hangs from the
    pouch and is as full as that.  z : the points' heights.
    """

    film: Floats32
    beyond: Floats32
    low: float
    high: Floats32
    hung: Floats32
    z: Floats32

    def some(self, which: npt.NDArray[np.int64]) -> Folds:
        """The folds at some of the points."""
        kept = (values[which] for values in (self.high, self.hung, self.z))
        return Folds(self.film[which], self.beyond[which], self.low, *kept)

    def at_share(self, share: float) -> Floats32:
        """Values of the folds when they hold fluid up to a share of their height, full from side to side."""
        held = np.float32(share) + np.float32(1 - share) * self.hung
        above = self.z - (np.float32(self.low) + held * (self.high - np.float32(self.low)))
        loose = np.where(above < 0, above, LOOSE * above)
        return np.maximum(self.film, np.maximum(self.beyond, loose))


def folds(build: Build, d: Floats32, x: Floats32, y: Floats32, z: Floats32) -> Folds:
    """Return the gutters and posterior recesses at points (n,).  d : distance to femur and its cartilage."""
    m, s = build.marks, build.marks.scale
    across = x - np.float32(0.5 * (float(m.femur_low[0]) + float(m.femur_high[0])))
    low = MENISCUS_MM * s
    side_top, side = _beside(build, across, y, z)
    back_top, back = _behind(build, across, y, z)
    beyond = smooth_max(smooth_min(side, back, 3.0 * s), np.float32(low) - z, 1.0)
    high = np.maximum(side_top, np.float32(low) + (back_top - np.float32(low)) * ramp(y, -2.0 * s, -12.0 * s))
    hung = ramp(y, 6.0 * s, 24.0 * s)
    return Folds(np.asarray(d - np.float32(FILM_MM)), beyond, low, np.asarray(high, np.float32), hung, z)


def _beside(build: Build, across: Floats32, y: Floats32, z: Floats32) -> tuple[Floats32, Floats32]:
    """The gutters' upper edge at each point, and how far points lie beyond their outline, mm."""
    m, s = build.marks, build.marks.scale
    # in front the gutters hang from the pouch where that leaves the bone, beside the patella's upper pole
    hung = float(m.patella_top[2]) + 4.0
    tops = []
    for front, middle, behind in (REFLECTION_MM[k] for k in ("medial", "lateral")):
        knots = {28.0 * s: min(front * s, hung), 2.0 * s: middle * s, -14.0 * s: behind * s}
        tops.append(curve_of(y, knots))
    top = np.where(across > 0, tops[1], tops[0])
    # off the trochlea, where the patella's film takes over: an oval as wide as the groove
    middle_z = 0.5 * (m.trochlea_top + MENISCUS_MM * s)
    half = 0.5 * (m.trochlea_top - MENISCUS_MM * s) + 2.0
    oval = np.sqrt(
        (across / np.float32(18.0 * s)) ** 2 + ((z - np.float32(middle_z)) / np.float32(half)) ** 2
    )
    off = np.where(y > 0, np.float32(18.0 * s) * (1 - oval), np.float32(18.0 * s) - np.abs(across))
    beyond = smooth_max(smooth_max(z - top, np.float32(-20.0 * s) - y, 4.0 * s), off, 2.0 * s)
    return top, beyond


def _behind(build: Build, across: Floats32, y: Floats32, z: Floats32) -> tuple[Floats32, Floats32]:
    """The same for the recesses under the capsule behind both condyles: half an oval each."""
    s = build.marks.scale
    low, high, wide = MENISCUS_MM * s, CONDYLE_TOP_MM * s, 14.0 * s
    aside = (np.abs(across) - np.float32(21.0 * s)) / np.float32(wide)
    rise = np.maximum(z - np.float32(low), 0) / np.float32(high - low)
    oval = np.sqrt(aside * aside + rise * rise)
    top = low + (high - low) * np.sqrt(np.maximum(1 - aside * aside, np.float32(0.0)))
    beyond = smooth_max(np.float32(wide) * (oval - 1), y + np.float32(5.0 * s), 4.0 * s)
    return np.asarray(top, np.float32), beyond


def resting(
    found: Folds, others: Floats32, ease: Floats32, free: Floats32, resting_ml: float, spacing_mm: float
) -> Floats32:
    """Values of the whole cavity, its parts emptied together until it holds its resting volume.

    The parts with room are thinned, most where the wall gives; the folds keep their film and empty from
    their upper edge.
    others : values of the other parts.  free : where bone and cartilage leave room (negative).
    """
    give = (np.float32(0.1) + np.float32(0.9) * ease) * np.float32(MOST_THINNED_MM)
    # what the fullest cavity does not reach counts in none
    near = np.flatnonzero(_emptied(found, others, give, 0.0) < np.float32(0.5 * spacing_mm))
    some = Folds(
        found.film[near], found.beyond[near], found.low, found.high[near], found.hung[near], found.z[near]
    )
    at, gives, room = others[near], give[near], free[near]

    def too_full(by: float) -> bool:
        left = np.maximum(_emptied(some, at, gives, by), room)
        return counted_ml(left, 0.0, spacing_mm) > resting_ml

    low, high = halved(too_full, 0.0, 1.0, 7)
    return _emptied(found, others, give, 0.5 * (low + high))


def _emptied(found: Folds, others: Floats32, give: Floats32, by: float) -> Floats32:
    """The cavity from as full as it is drawn (0) to as empty as it gets (1)."""
    return smooth_min(others + np.float32(by) * give, found.at_share(1.0 - by * (1.0 - LEAST_SHARE)), 1.0)
