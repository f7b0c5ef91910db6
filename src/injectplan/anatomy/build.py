"""`build_joint`: from a label map or surfaces to a joint one can plan in."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from injectplan.anatomy.axes import NEEDED, joint_axes
from injectplan.anatomy.cartilage import CARRIERS, LESIONS, map_cartilage
from injectplan.anatomy.completion import STANDS_ON, Completed, complete_joint
from injectplan.anatomy.completion.skin import SeenSkin, skin_of_outline
from injectplan.anatomy.defects import Ellipse, find_defects
from injectplan.anatomy.model import (
    COVERED,
    FAILED,
    PRIORITY,
    CartilageMap,
    Cavity,
    JointAxes,
    JointModel,
    Kind,
    Side,
    Structure,
    Subject,
)
from injectplan.anatomy.outline import Outline, find_outline, step_of_edges_mm
from injectplan.anatomy.plausibility import check_labels
from injectplan.anatomy.repair import repair_surface
from injectplan.anatomy.surfaces import mask_of_surface, solids_of_masks
from injectplan.anatomy.together import MEETING, apart
from injectplan.errors import ContradictionError, EmptyStructureError, NothingToMeasureError
from injectplan.imaging.values import LabelMap, Surface, Volume
from injectplan.kernels.bvh import signed_distances
from injectplan.kernels.cast import Floats
from injectplan.kernels.field import Field
from injectplan.measure import Notice
from injectplan.structures import StructureInfo, structure

Progress = Callable[[str, float], None]
MOST_MISS = 0.01  # a solid's volume from its voxels'
MOST_FAILED = 0.02  # of a cartilage's vertices
BONES_OUTSIDE = 0.01  # of the bones' surface outside of the body that an image shows
# Pairs whose names state the side of the knee they lie on.
_SIDED = ("tibial_cartilage", "meniscus")


# Structures that one joint alone has: with none of its own and some of another's, a joint is misnamed.
ONLY_OF: Mapping[Kind, frozenset[str]] = {
    "knee": frozenset({
        "patella", "patellar_cartilage", "medial_meniscus", "lateral_meniscus", "femoral_cartilage",
        "tibial_cartilage", "medial_tibial_cartilage", "lateral_tibial_cartilage",
    }),
    "hip": frozenset({"hip_bone", "sacrum", "acetabular_cartilage", "femoral_head_cartilage", "labrum"}),
    "ankle": frozenset({"talus", "calcaneus", "talar_cartilage", "tibial_plafond_cartilage"}),
}  # fmt: skip


# The cartilages that bear a joint's load, each as one structure or as several that make it up.
BEARING: Mapping[Kind, tuple[tuple[str, ...], ...]] = {
    "knee": (
        ("femoral_cartilage",), ("medial_tibial_cartilage", "lateral_tibial_cartilage"),
        ("patellar_cartilage",),
    ),
    "hip": (("acetabular_cartilage",), ("femoral_head_cartilage",)),
    "ankle": (("talar_cartilage",), ("tibial_plafond_cartilage",)),
}  # fmt: skip
_UNDIVIDED: Mapping[tuple[str, ...], str] = {
    ("medial_tibial_cartilage", "lateral_tibial_cartilage"): "tibial_cartilage"
}


def structures_of(labelmap: LabelMap) -> dict[str, Structure]:
    """Return the closed solid of every named structure that occurs in a label map, with its voxel volume.

    A bone's solid and volume hold its lesions, which are structures beside it.
    """
    names = [n for n in labelmap.structures if labelmap.volume_ml(n) > 0.0]
    masks = {name: labelmap.mask(name) for name in names}
    volumes = {name: labelmap.volume_ml(name) for name in names}
    for lesion, bone in LESIONS.items():
        if lesion in masks and bone in masks:
            masks[bone] = masks[bone] | masks[lesion]
            volumes[bone] = np.count_nonzero(masks[bone]) * labelmap.voxel_volume_mm3 / 1000.0
    carried = {name: CARRIERS[name] for name in names if name in CARRIERS}
    values = {name: value for value, name in labelmap.names.items() if value in labelmap.counts}
    solids = solids_of_masks(masks, labelmap.affine, carried)
    return {
        name: segmented(
            name,
            surface,
            additions=labelmap.additions,
            label=values.get(name),
            voxel_volume_ml=volumes[name],
        )
        for name, surface in solids.items()
    }


def structures_of_surfaces(surfaces: Mapping[str, Surface]) -> dict[str, Structure]:
    """Return closed solids of surfaces from outside; what had to be repaired stands in `repaired`."""
    result = {}
    for name, surface in surfaces.items():
        mended, repaired = repair_surface(surface, name)
        result[name] = segmented(name, mended, repaired=repaired)
    return result


def segmented(
    name: str,
    surface: Surface,
    *,
    additions: Mapping[str, StructureInfo] | None = None,
    label: int | None = None,
    voxel_volume_ml: float = float("nan"),
    repaired: Sequence[str] = (),
) -> Structure:
    """Return a structure that was given, with what the vocabulary knows of its name."""
    info = structure(name, additions or {})
    return Structure(
        name=name, surface=surface, tissue=info.tissue, risk=info.risk, source="segmented",
        priority=PRIORITY[info.layer] + (name in LESIONS), label=label, voxel_volume_ml=voxel_volume_ml,
        repaired=tuple(repaired),
    )  # fmt: skip


def check_medial_lateral(structures: Mapping[str, Structure], axes: JointAxes) -> None:
    """Raise ContradictionError where a medial structure lies lateral of its lateral fellow."""
    for kind in _SIDED:
        pair = [structures.get(f"{side}_{kind}") for side in ("medial", "lateral")]
        if pair[0] is None or pair[1] is None:
            continue
        medial, lateral = (
            float(s.surface.vertices_mm.mean(axis=0) @ axes.lateral) for s in pair if s is not None
        )
        if lateral <= medial:
            raise ContradictionError(
                f"medial_{kind} lies {medial - lateral:.0f} mm lateral of lateral_{kind}: the label table "
                "swaps the two, or the side is wrong; correct the table or the side"
            )


def check_together(given: Mapping[str, Structure]) -> None:
    """Raise ContradictionError where two bones that meet in a joint do not lie together; see `apart`."""
    problem = apart({name: s.surface for name, s in given.items() if name in MEETING})
    if problem:
        raise ContradictionError(problem)


def check_given(source: LabelMap | Mapping[str, Surface], kind: Kind, side: Side) -> tuple[Notice, ...]:
    """Hold what was given against a joint and side, without building it; return what is odd about it.

    Raises what `build_joint` would: an empty structure, a contradicted side, medial and lateral swapped.
    """
    if isinstance(source, LabelMap):
        needed = [name for name in NEEDED[kind] if name in source.structures]
        return check_labels(source, kind, side, needed)
    given = structures_of_surfaces(source)
    check_together(given)
    if not all(name in given for name in NEEDED[kind]):
        return _assumed_axes(kind, side, given).notices
    axes = _axes(kind, side, given)
    check_medial_lateral(given, axes)
    return axes.notices


def missing_cartilage(kind: Kind, structures: Mapping[str, Structure]) -> list[Notice]:
    """Name the bearing cartilages that a joint lacks although their bones are there, and what that costs."""
    notices = []
    for parts in BEARING[kind]:
        whole = _UNDIVIDED.get(parts, parts[0])
        if whole in structures or CARRIERS[whole] not in structures:
            continue
        lacking = [name for name in parts if name not in structures]
        for name in [whole] if len(lacking) == len(parts) else lacking:
            said = (
                f"{name} was neither segmented nor completed: there is no thickness, bare bone or defect of "
                "it, a needle keeps no distance from it and a dose counts nothing on it"
            )
            notices.append(Notice("cartilage-missing", said, name))
    return notices


def measurement_notices(
    structures: Mapping[str, Structure], cartilage: Mapping[str, CartilageMap]
) -> list[Notice]:
    """Warn of solids that miss their voxels' volume by over 1 %, and of cartilage not measured in part."""
    notices = []
    for name, solid in structures.items():
        counted, made = solid.voxel_volume_ml, solid.surface.volume_ml
        if counted > 0.0 and abs(made / counted - 1.0) > MOST_MISS:
            said = f"the surface holds {made:.3g} mL, its voxels {counted:.3g} ({made / counted - 1.0:+.1%})"
            notices.append(Notice("volume-missed", f"{name}: {said}: too thin for this grid", name))
    for name, measured in cartilage.items():
        failed, known = (int((measured.state == s).sum()) for s in (FAILED, COVERED))
        if failed > MOST_FAILED * max(failed + known, 1):
            said = (
                f"{name}: at {failed / (failed + known):.0%} of its vertices no ray could measure it: "
                "the means leave them out; a finer grid, or a look at the labels there, helps"
            )
            notices.append(Notice("cartilage-not-measured", said, name))
    return notices


def map_all_cartilage(
    structures: Mapping[str, Structure],
    axes: JointAxes,
    *,
    coarsest_spacing_mm: float = 0.0,
    edges_mm: Floats | None = None,
) -> tuple[dict[str, CartilageMap], list[Notice]]:
    """Measure every cartilage whose bone is there; warn of those whose bone is not.

    coarsest_spacing_mm, edges_mm : of the label map's voxels, see `map_cartilage`.
    """
    maps: dict[str, CartilageMap] = {}
    notices: list[Notice] = []
    for name, solid in structures.items():
        bone = CARRIERS.get(name)
        if bone is None or solid.source != "segmented":
            continue
        if bone not in structures:
            notices.append(Notice("cartilage-without-bone", f"{name} is given without its {bone}", name))
            continue
        maps[name], warned = map_cartilage(
            name, solid.surface, bone, structures[bone].surface, axes,
            coarsest_spacing_mm=coarsest_spacing_mm, edges_mm=edges_mm, lesion=_lesion_of(bone, structures),
        )  # fmt: skip
        notices.extend(warned)
    return maps, notices


def _lesion_of(bone: str, structures: Mapping[str, Structure]) -> Surface | None:
    found = (structures[n].surface for n, b in LESIONS.items() if b == bone and n in structures)
    return next(found, None)


def input_hash(source: LabelMap | Mapping[str, Surface]) -> str:
    """SHA-256 of what was given: labels, affine and names, or vertices and triangles by name."""
    digest = hashlib.sha256()
    if isinstance(source, LabelMap):
        digest.update(np.ascontiguousarray(source.labels).tobytes())
        digest.update(source.affine.tobytes())
        digest.update(repr(sorted(source.names.items())).encode())
    else:
        for name in sorted(source):
            digest.update(name.encode())
            digest.update(source[name].vertices_mm.tobytes())
            digest.update(source[name].triangles.tobytes())
    return digest.hexdigest()


class _Clock:
    """Seconds of each step, and progress said on the way."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}
        self.since = self.begin = time.perf_counter()

    def say(self, label: str, fraction: float) -> None:
        """Report what is done now and the share that is behind, 0 to 1."""
        if self.progress is not None:
            self.progress(label, fraction)

    def done(self, step: str) -> None:
        """Note the seconds since the last step ended, under this step's name."""
        now = time.perf_counter()
        self.seconds[step] = now - self.since
        self.since = now


def build_joint(
    source: LabelMap | Mapping[str, Surface],
    *,
    kind: Kind,
    side: Side,
    subject: Subject | None = None,
    completion: Literal["auto", "none"] = "auto",
    parameters: Mapping[str, float] | None = None,
    defects: Iterable[Ellipse] = (),
    image: Volume | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> JointModel:
    """Build a joint: surfaces, directions, cartilage maps, completed tissues, cavity, defects.

    source : a label map, or surfaces by structure name. Without the joint's two bones only what is given is
        measured, with a warning: nothing completed, no cavity, axes as in a patient lying on the back.
    completion : "none" builds the cavity alone, of a knee without its patella not even that.
    parameters : overrides of completion's defaults.
    defects : ellipses drawn on cartilage.
    image : an MR image of the same frame: the skin is taken from it where it shows it. An image that shows no
        outline, or another body than the bones, is left out with a notice.

    Raises EmptyStructureError for an empty structure, ContradictionError when the anatomy contradicts the
    stated side or the medial and lateral labels.
    """
    clock = _Clock(progress)
    clock.say("surfaces", 0.0)
    given, notices = _given(source, kind, side)
    check_together(given)
    bare = not all(name in given for name in NEEDED[kind])
    axes = _assumed_axes(kind, side, given) if bare else _axes(kind, side, given)
    check_medial_lateral(given, axes)
    clock.done("surfaces")
    clock.say("cartilage thickness", 0.25)
    voxels = (
        (float(source.spacing_mm.max()), source.affine[:3, :3])
        if isinstance(source, LabelMap)
        else (0.0, None)
    )
    cartilage, warned = map_all_cartilage(given, axes, coarsest_spacing_mm=voxels[0], edges_mm=voxels[1])
    missed = measurement_notices(given, cartilage)
    clock.done("thickness")
    clock.say("completion", 0.4)
    who = subject or Subject()
    values = dict(parameters or {})
    measured_only = completion == "none" and not bare
    lacking = [name for name in STANDS_ON[kind] if measured_only and name not in given]
    skin, seen = (None, []) if image is None or bare else skin_of_image(image, given)
    seen += [
        Notice("joint-incomplete", f"{name} not given: what is given is measured; no cavity")
        for name in lacking
    ]
    if not cartilage and isinstance(source, LabelMap):
        seen.append(Notice("no-cartilage", "no cartilage was segmented: no thickness, no defects"))
    completed = uncompleted(source, given) if bare or lacking else complete_joint(
        kind, side, axes, given, who, mode=completion, parameters=values, seed=seed, skin=skin,
        progress=lambda label, share: clock.say(label, 0.4 + 0.5 * share),
    )  # fmt: skip
    structures = {**given, **completed.structures}
    seen += missing_cartilage(kind, structures)
    clock.done("completion")
    clock.say("defects", 0.92)
    found = find_defects(structures, cartilage, axes, tuple(defects))
    clock.done("defects")
    clock.seconds["total"] = time.perf_counter() - clock.begin
    clock.say("joint model", 1.0)
    grid = source if isinstance(source, LabelMap) else None
    return JointModel(
        kind=kind, side=side, axes=axes, structures=structures, cavity=completed.cavity,
        labels=completed.labels, cartilage=cartilage, defects=found, subject=who,
        notices=(*notices, *axes.notices, *warned, *missed, *seen, *completed.notices),
        assumed=tuple(completed.assumed), parameters=values, input_sha256=input_hash(source),
        input_affine=None if grid is None else grid.affine,
        input_shape=None if grid is None else grid.labels.shape, seconds=clock.seconds,
    )  # fmt: skip


def skin_of_image(image: Volume, given: Mapping[str, Structure]) -> tuple[SeenSkin | None, list[Notice]]:
    """Find the skin in an image and hold it against the bones; None, and a notice why, where it is no use."""
    if "skin" in given:
        return None, [Notice("image-unused", "the skin was segmented: the image's own outline is not used")]
    try:
        outline = find_outline(image)
    except NothingToMeasureError as error:
        return None, [Notice("image-unused", f"the skin is completed by geometry: {error}")]
    problem = _disagreement(image, outline, given)
    if problem is not None:
        return None, [Notice("image-unused", f"the skin is completed by geometry: {problem}")]
    return skin_of_outline(outline), []


def _disagreement(image: Volume, outline: Outline, given: Mapping[str, Structure]) -> str | None:
    """Why an outline cannot be that of the body whose bones are given; None where it can."""
    bones = [s.surface for s in given.values() if s.risk == "bone"]
    points = np.concatenate([b.vertices_mm[::11] for b in bones] or [np.zeros((0, 3))])
    normals = np.concatenate([b.vertex_normals[::11] for b in bones] or [np.zeros((0, 3))])
    seen = outline.depth_in_view_mm(points) > 0.0
    points, normals = points[seen], normals[seen]
    if len(points) < 100:
        return "the image lies elsewhere than the bones: check that both are of one visit and frame"
    outside = float((signed_distances(outline.surface.bvh, points) > 0.0).mean())
    if outside > BONES_OUTSIDE:
        return (
            f"{outside:.0%} of the bones' surface lies outside of the body that the image shows (limit "
            f"{BONES_OUTSIDE:.0%}): check that both are of one visit and frame"
        )
    away = step_of_edges_mm(image, points, normals)
    if away > 0.0:
        return (
            f"the image's edges fit the bones better {away:.0f} mm off: check that both are of one visit and "
            "frame"
        )
    return None


def _axes(kind: Kind, side: Side, given: Mapping[str, Structure]) -> JointAxes:
    return joint_axes(kind, side, {n: s.surface for n, s in given.items() if s.risk == "bone"})


def _assumed_axes(kind: Kind, side: Side, given: Mapping[str, Structure]) -> JointAxes:
    """The axes of a patient lying on the back, centred on what is given; for parts of a joint."""
    bounds = np.array([s.surface.bounds_mm for s in given.values()])
    missing = " and ".join(name for name in NEEDED[kind] if name not in given)
    other = next((k for k, own in ONLY_OF.items() if k != kind and own & set(given)), None)
    if other is not None and not ONLY_OF[kind] & set(given):
        named = ", ".join(sorted(ONLY_OF[other] & set(given)))
        raise ContradictionError(f"a {kind} without {missing}, but with {named}: is it a {other}?")
    return JointAxes(
        side=side,
        origin_mm=0.5 * (bounds[:, 0].min(axis=0) + bounds[:, 1].max(axis=0)),
        lateral=np.array([1.0 if side == "right" else -1.0, 0.0, 0.0]),
        anterior=np.array([0.0, 1.0, 0.0]),
        proximal=np.array([0.0, 0.0, 1.0]),
        notices=(
            Notice(
                "joint-incomplete",
                f"{missing} not given: only what is given is measured, in the directions of a patient lying "
                "on the back; no cavity, nothing completed",
            ),
        ),
    )


def uncompleted(source: LabelMap | Mapping[str, Surface], given: Mapping[str, Structure]) -> Completed:
    """Return what stands when nothing is completed: the given structures and an empty cavity."""
    far = Field(np.zeros(3), 1.0, np.full((2, 2, 2), 1e3, np.float32))
    empty = Cavity(
        surface=Surface(np.zeros((0, 3)), np.zeros((0, 3), np.int32)), field=far, distension=far,
        recess_index=np.zeros((2, 2, 2), np.uint8), recesses=(), resting_volume_ml=0.0, source="segmented",
    )  # fmt: skip
    labels = source if isinstance(source, LabelMap) else _voxelised(given)
    return Completed(structures=dict(given), cavity=empty, labels=labels)


def _voxelised(given: Mapping[str, Structure], spacing_mm: float = 1.0) -> LabelMap:
    """A label map of solids by priority."""
    bounds = np.array([s.surface.bounds_mm for s in given.values()])
    low, high = bounds[:, 0].min(axis=0) - 2.0, bounds[:, 1].max(axis=0) + 2.0
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = low
    labels = np.zeros(np.ceil((high - low) / spacing_mm).astype(int) + 1, np.uint16)
    order = sorted(given, key=lambda name: given[name].priority)
    for value, name in enumerate(order, start=1):
        labels[mask_of_surface(given[name].surface, affine, labels.shape)] = value
    return LabelMap(affine=affine, labels=labels, names=dict(enumerate(order, start=1)))


def _given(
    source: LabelMap | Mapping[str, Surface], kind: Kind, side: Side
) -> tuple[dict[str, Structure], list[Notice]]:
    """Solids and warnings of what was given."""
    if isinstance(source, LabelMap):
        named = [name for name in NEEDED[kind] if name in source.structures]
        notices = check_labels(source, kind, side, named)
        given = structures_of(source)
        if not given:
            why = f" ({'; '.join(n.message for n in source.notices[:2])} …)" if source.notices else ""
            raise EmptyStructureError(
                f"the label map holds no structure of the vocabulary{why}: rename its segments, or name its "
                "values by a label table"
            )
        return given, list(notices)
    if not source:
        raise EmptyStructureError("no surface is given")
    return structures_of_surfaces(source), []
