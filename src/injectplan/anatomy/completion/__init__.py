"""Completion: the tissues around a joint that no one segmented, built from its bones and published sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from injectplan.anatomy.model import Cavity, JointAxes, Kind, Side, Structure, Subject
from injectplan.errors import ContradictionError
from injectplan.imaging.values import LabelMap
from injectplan.measure import Notice

if TYPE_CHECKING:
    from injectplan.anatomy.completion.skin import SeenSkin
    from injectplan.anatomy.completion.solids import Drafts

Mode = Literal["auto", "none"]
Progress = Callable[[str, float], None]
# the bones on which a joint's completion stands, its cavity included
STANDS_ON: Mapping[Kind, tuple[str, ...]] = {
    "knee": ("femur", "tibia", "patella"), "hip": ("femur", "hip_bone"), "ankle": ("tibia", "talus"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Completed:
    """A joint made whole.

    structures : everything, what was segmented (unchanged) and what was built.
    cavity : the joint cavity at rest.  labels : all structures on one grid, by priority.
    assumed : every assumption that entered, one line each.
    """

    structures: Mapping[str, Structure]
    cavity: Cavity
    labels: LabelMap
    notices: tuple[Notice, ...] = ()
    assumed: tuple[str, ...] = ()


def complete_joint(
    kind: Kind,
    side: Side,
    axes: JointAxes,
    segmented: Mapping[str, Structure],
    subject: Subject,
    *,
    mode: Mode = "auto",
    parameters: Mapping[str, float] | None = None,
    seed: int = 0,
    skin: SeenSkin | None = None,
    drafts: Drafts | None = None,
    progress: Progress | None = None,
) -> Completed:
    """Build what was not segmented; what was is kept as it is.

    mode : "auto" builds every structure of the joint's kind; "none" builds the cavity alone.
    parameters : overrides by name, e.g. effusion_ml, or any name of the joint's table of dimensions.
    seed : for the joints whose completion draws; the same seed gives the same joint.
    skin : as an image shows it; None where none was given. A segmented skin counts without it.
    drafts : given where the joint is drawn many times: coarser grids, shared distances, no label map.

    Raises EmptyStructureError when a bone that the completion stands on is missing, ContradictionError when
    the side is not that of the axes.
    """
    if side != axes.side:
        raise ContradictionError(
            f"completion of a {side} {kind} was asked for, but its axes are a {axes.side} one's"
        )
    given = dict(parameters or {})
    if kind == "knee":
        from injectplan.anatomy.completion.knee import complete_knee

        return complete_knee(
            axes, segmented, subject, mode=mode, parameters=given, skin=skin, drafts=drafts, progress=progress
        )
    if kind == "hip":
        from injectplan.anatomy.completion.hip import complete_hip

        return complete_hip(
            axes, segmented, subject, mode=mode, parameters=given, skin=skin, drafts=drafts, progress=progress
        )
    from injectplan.anatomy.completion.ankle import complete_ankle

    return complete_ankle(
        axes, segmented, subject, mode=mode, parameters=given, skin=skin, drafts=drafts, progress=progress
    )
