"""A knee made whole: envelopes, tendons, fat pads, muscles, vessels, nerves and the cavity, from its bones.

All formulas are in the joint's own coordinates (x lateral, y anterior, z proximal of the middle between the
most distal points of the condyles), so a left knee is a right one's mirror image. Positions follow landmarks
measured on the bones; sizes follow `dimensions.KNEE`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from injectplan.anatomy.completion import Completed, Mode, Progress
from injectplan.anatomy.completion.dimensions import knee_sizes
from injectplan.anatomy.completion.kneeback import add_deep_fat, add_hind_muscles, add_ligaments
from injectplan.anatomy.completion.kneebuild import Build, add_shafts
from injectplan.anatomy.completion.kneecavity import knee_cavity
from injectplan.anatomy.completion.kneecords import add_cords
from injectplan.anatomy.completion.kneelimb import add_envelopes, shape_limb
from injectplan.anatomy.completion.kneesoft import add_fat_pads, add_muscles
from injectplan.anatomy.completion.kneetendons import (
    add_retinacula,
    add_tendons,
    patellar_tendon,
    quadriceps_tendon,
    tendon_line,
)  # fmt: skip
from injectplan.anatomy.completion.making import finished, need
from injectplan.anatomy.completion.skin import SeenSkin
from injectplan.anatomy.completion.solids import Drafts, Frame
from injectplan.anatomy.model import JointAxes, Structure, Subject


def complete_knee(
    axes: JointAxes,
    segmented: Mapping[str, Structure],
    subject: Subject,
    *,
    mode: Mode = "auto",
    parameters: Mapping[str, float] | None = None,
    skin: SeenSkin | None = None,
    drafts: Drafts | None = None,
    progress: Progress | None = None,
) -> Completed:
    """Build a knee's unsegmented tissues and its cavity; see `complete_joint`.

    Raises EmptyStructureError when femur, tibia or patella is missing.
    """
    need("knee", segmented)
    say = progress or (lambda label, share: None)
    sizes = knee_sizes(subject, parameters or {})
    build = Build(Frame.of(axes, drafts), sizes, segmented, skin=skin)
    say("distances to the bones", 0.0)
    shape_limb(build, skin=mode == "auto")
    if mode == "auto":
        steps: tuple[tuple[str, Callable[[Build], object]], ...] = (
            ("skin, fat and fascia", add_envelopes), ("tendons", add_tendons), ("fat pads", add_fat_pads),
            ("muscles", add_muscles), ("hind side", add_hind_muscles), ("ligaments", add_ligaments),
            ("fat between", add_deep_fat), ("retinacula", add_retinacula), ("vessels and nerves", add_cords),
            ("shafts beyond the scan", add_shafts),
        )  # fmt: skip
        for i, (label, step) in enumerate(steps):
            say(label, 0.2 + 0.05 * i)
            step(build)
    say("joint cavity", 0.7)
    cavity = build.with_own_fluid(
        lambda: knee_cavity(build, quadriceps_tendon, patellar_tendon, tendon_line(build))
    )
    say("labels", 0.9)
    made = finished(build, cavity, build.coarse, 1.0, mode=mode, every=2)
    say("completed", 1.0)
    return made
