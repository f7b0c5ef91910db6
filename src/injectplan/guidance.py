"""preview_guidance: what the probe will show while the needle advances along a plan, and as fluid spreads."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import ndimage

from injectplan.anatomy.model import FillState
from injectplan.errors import BadInputError
from injectplan.frames import Pose
from injectplan.instruments import Needle
from injectplan.kernels.cast import Bools, Floats
from injectplan.planning.values import Plan, Trajectory
from injectplan.ultrasound import (
    AcousticScene,
    ColourMode,
    Display,
    Distension,
    Frame,
    NeedlePose,
    simulate_frame,
)

FULL_CONTRAST_GREY = 100.0  # a needle this much over its surroundings counts as fully visible (assumed)
RING_MM = (0.8, 2.5)  # surroundings: this far from the needle's wall
SOUGHT_MM = 2.0  # of tissue at 1440 to 1600 m/s an echo from 40 mm lies off by up to 2 mm
TIP_MM = 1.5  # pixels this near the tip are the tip


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """How a needle stands out: grey of shaft and tip over their surroundings, in units of 255.

    NaN where the slice holds none of it.  score : 0–1, half shaft and half tip, 0 where neither is seen.
    """

    shaft: float
    tip: float
    score: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Preview:
    """Frames along a trajectory, then as the fluid spreads, and how well the needle is seen in each.

    inserted_mm : length of the needle under the skin in each frame.  injected_ml : fluid given by then.
    """

    trajectory: Trajectory
    frames: tuple[Frame, ...]
    contrasts: tuple[Contrast, ...]
    inserted_mm: tuple[float, ...]
    injected_ml: tuple[float, ...]
    probe_to_patient: Pose
    assumed: tuple[str, ...] = field(default_factory=tuple)

    @property
    def visibility(self) -> tuple[float, ...]:
        """The score of each frame, 0–1."""
        return tuple(c.score for c in self.contrasts)


def needle_contrast(frame: Frame, needle: NeedlePose) -> Contrast:
    """Measure how a needle stands out in a frame, from its grey values and its needle map.

    The peak across the wall counts, since the echo is a line at the wall and the map a band.  The map shows
    where the needle is, the echo where it seems to be: tissue that is not 1540 m/s fast moves it in depth,
    so the line is sought within 2 mm above and below.
    """
    pixel_mm = float(np.linalg.norm(frame.pixel_to_patient[:3, 0]))
    covered = frame.needle > 0
    image = np.isfinite(frame.depth_mm)
    grey = ndimage.maximum_filter(frame.bmode, size=(5, 1)).astype(np.float64)
    down = _echo_below(grey, covered & image, math.ceil(SOUGHT_MM / pixel_mm))
    covered = _moved(covered, down)
    tip = _near(frame, needle.tip_mm, TIP_MM, down) & image
    off = (
        ndimage.distance_transform_edt(~covered) * pixel_mm if covered.any() else np.full(grey.shape, np.inf)
    )
    ring = (off >= RING_MM[0]) & (off <= RING_MM[1]) & image

    def over(where: Bools, around: Bools) -> float:
        if not where.any() or not around.any():
            return float("nan")
        return float(np.median(grey[where]) - np.median(frame.bmode[around])) / 255.0

    shaft = over(covered & ~tip, ring & ~_near(frame, needle.tip_mm, 2.0 * TIP_MM, down))
    spot = covered & tip
    end = float("nan")
    if spot.any():
        around = _near(frame, needle.tip_mm, 3.0 * TIP_MM, down) & (off >= RING_MM[0]) & image
        peak = float(np.percentile(frame.bmode[spot], 95))
        end = (peak - float(np.median(frame.bmode[around]))) / 255.0 if around.any() else float("nan")
    parts = [0.0 if np.isnan(c) else min(1.0, max(0.0, c * 255.0 / FULL_CONTRAST_GREY)) for c in (shaft, end)]
    return Contrast(shaft=shaft, tip=end, score=0.5 * (parts[0] + parts[1]))


def _moved(mask: Bools, down: int) -> Bools:
    """A mask moved down by some rows."""
    result = np.zeros_like(mask)
    if down >= 0:
        result[down:] = mask[: len(mask) - down]
    else:
        result[:down] = mask[-down:]
    return result


def _echo_below(grey: Floats, covered: Bools, most: int) -> int:
    """How many rows below the needle's place its echo lies: where the median along it is brightest."""
    rows, columns = np.nonzero(covered)
    best, found = 0, -1.0
    for down in sorted(range(-most, most + 1), key=abs):
        at = rows + down
        inside = (at >= 0) & (at < len(grey))
        if inside.any():
            bright = float(np.median(grey[at[inside], columns[inside]]))
            if bright > found:
                best, found = down, bright
    return best


def _near(frame: Frame, point_mm: Floats, within_mm: float, down: int) -> Bools:
    """Pixels whose place in the slice lies near a point's foot in it, moved down by some rows."""
    height, width = frame.bmode.shape
    at = np.linalg.inv(frame.pixel_to_patient) @ np.append(np.asarray(point_mm, dtype=np.float64), 1.0)
    reach = within_mm / float(np.linalg.norm(frame.pixel_to_patient[:3, 0]))
    below, along = np.arange(height) - at[1] - down, np.arange(width) - at[0]
    return np.asarray(below[:, None] ** 2 + along[None, :] ** 2 <= reach**2)


def needle_at(trajectory: Trajectory, needle: Needle, inserted_mm: float) -> NeedlePose:
    """Return the needle's pose once this much of it lies past the entry point."""
    way = np.asarray(trajectory.tip_mm, dtype=np.float64) - trajectory.entry_mm
    way = way / np.linalg.norm(way)
    tip = trajectory.entry_mm + inserted_mm * way
    return NeedlePose(
        entry_mm=tip - needle.length_mm * way, tip_mm=tip, outer_mm=needle.outer_mm, inner_mm=needle.inner_mm,
        bevel_deg=needle.bevel_deg,
    )  # fmt: skip


def preview_guidance(
    plan: Plan | Trajectory,
    scene: AcousticScene,
    *,
    needle: Needle | None = None,
    frames: int = 12,
    fill_states: Sequence[FillState] = (),
    display: Display | None = None,
    seed: int = 0,
    colour: ColourMode | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Preview:
    """Simulate the frames of a needle advancing along a trajectory, then those of the fluid spreading.

    plan : its first trajectory is taken.  needle : 22 gauge,
    50 mm unless given; longer when the way needs it.
    frames : number of steps from just under the skin to the tip.  fill_states : one frame each,
    needle in place.  colour : colour those of them in which fluid leaves the needle.
    Raises BadInputError for a plan without trajectories or fewer than one frame.
    """
    if isinstance(plan, Plan):
        if not plan.trajectories:
            raise BadInputError("the plan holds no trajectory to preview")
        trajectory = plan.trajectories[0]
    else:
        trajectory = plan
    if frames < 1:
        raise BadInputError(f"a preview of {frames} frames: needs at least 1")
    used = needle or Needle()
    if used.length_mm < trajectory.length_mm:
        used = replace(used, length_mm=trajectory.length_mm)
    pose = trajectory.ultrasound.probe_to_patient
    length = float(trajectory.length_mm)
    depths = np.linspace(0.0, length, frames + 1)[1:] if frames > 1 else np.array([length])
    steps: list[tuple[float, FillState | None]] = [(float(d), None) for d in depths]
    steps += [(length, state) for state in fill_states]
    near = scene.around(pose)
    distension = Distension(near)
    made, seen = [], []
    with ThreadPoolExecutor(max_workers=1) as beside:  # tissue gives way while the needle is on its way
        filled = [None if s is None else beside.submit(distension.filled, s) for _, s in steps]
        for index, ((inserted, state), distended) in enumerate(zip(steps, filled, strict=True)):
            tube = needle_at(trajectory, used, inserted)
            flows = state is not None and state.jet_speed_mm_s > 0.0
            seen_now = near if distended is None else distended.result()
            stands = pose if state is None else distension.riding(state, pose)
            frame = simulate_frame(
                seen_now, stands, needle=tube, display=display, seed=seed, colour=colour if flows else None
            )
            contrast = needle_contrast(frame, tube)
            made.append(replace(frame, visibility=contrast.score))
            seen.append(contrast)
            if progress is not None:
                progress("preview", (index + 1) / len(steps))
    return Preview(
        trajectory=trajectory, frames=tuple(made), contrasts=tuple(seen),
        inserted_mm=tuple(s[0] for s in steps),
        injected_ml=tuple(0.0 if s[1] is None else s[1].injected_ml for s in steps),
        probe_to_patient=pose, assumed=scene.assumed,
    )  # fmt: skip
