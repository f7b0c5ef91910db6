"""Case files: `case.toml` ⇄ `Case`, each mistake named with its path in the file.

The models below are the file's form (and its JSON Schema); `Case` is what the workflow takes.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from injectplan import documents
from injectplan.anatomy.model import Kind, Side, Subject
from injectplan.errors import CaseFileError, FileError
from injectplan.frames import Pose
from injectplan.instruments import Injectate, Needle, Probe, injectate_of, needle_of, probe_model
from injectplan.kernels.cast import Floats
from injectplan.planning.values import DEFAULT_MARGINS_MM, Constraints
from injectplan.ultrasound.values import Display

LARGEST_CASE_BYTES = 1_000_000
APPROACHES: Mapping[Kind, tuple[str, ...]] = {
    "knee": (
        "suprapatellar-lateral", "suprapatellar-medial", "midpatellar-lateral", "midpatellar-medial",
        "anterolateral", "anteromedial",
    ),
    "hip": ("hip-anterior-oblique", "hip-lateral"),
    "ankle": ("ankle-anteromedial", "ankle-anterolateral", "ankle-posterolateral"),
}  # fmt: skip

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Point = Annotated[list[float], Field(min_length=3, max_length=3)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


class JointTable(_Table):
    """`[joint]`."""

    kind: Kind
    side: Side


class SubjectTable(_Table):
    """`[subject]`: steers completion and phantoms."""

    bmi: Annotated[float, Field(ge=12, le=70)] | None = None
    sex: Literal["female", "male"] | None = None


class AnatomyTable(_Table):
    """`[anatomy]`: exactly one of phantom, labelmap, surfaces, model."""

    phantom: str | None = None
    parameters: dict[str, float | str | bool] = {}
    labelmap: str | None = None
    labels: str | None = None
    image: str | None = None
    surfaces: dict[str, str] | None = None
    units: Literal["auto", "mm", "m"] | Positive = "auto"
    frame: Literal["RAS", "LPS"] = "RAS"
    model: str | None = None
    completion: Literal["auto", "none"] = "auto"

    @model_validator(mode="after")
    def _one_source(self) -> AnatomyTable:
        given = [k for k in ("phantom", "labelmap", "surfaces", "model") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(
                f"needs exactly one of phantom, labelmap, surfaces, model; has {', '.join(given) or 'none'}"
            )
        return self


class DefectTable(_Table):
    """`[[defects]]`: an ellipse drawn on a cartilage surface."""

    structure: str
    center_mm: Point
    radii_mm: Annotated[list[Positive], Field(min_length=2, max_length=2)]


class ProbeTable(_Table):
    """`[probe]`: a model of the catalogue, or inline; keys beside a model's name change that model."""

    model: str | None = None
    kind: Literal["linear", "curvilinear"] | None = None
    frequency_mhz: Annotated[float, Field(ge=0.5, le=50)] | None = None
    bandwidth: Annotated[float, Field(gt=0, le=2)] | None = None
    lines: Annotated[int, Field(ge=2, le=4096)] | None = None
    width_mm: Annotated[float, Field(gt=0, le=200)] | None = None
    radius_mm: Annotated[float, Field(gt=0, le=500)] | None = None
    angle_deg: Annotated[float, Field(gt=0, le=180)] | None = None
    depth_mm: Annotated[float, Field(gt=0, le=400)] | None = None
    focus_mm: Annotated[float, Field(gt=0, le=1000)] | None = None
    f_number: Annotated[float, Field(gt=0, le=50)] | None = None
    transmit_f_number: Annotated[float, Field(ge=0, le=50)] | None = None
    elevation_focus_mm: Annotated[float, Field(gt=0, le=1000)] | None = None
    elevation_aperture_mm: Annotated[float, Field(gt=0, le=100)] | None = None
    elevation_planes: Annotated[int, Field(ge=1, le=65)] | None = None
    steer_deg: Annotated[float, Field(ge=-45, le=45)] | None = None
    compounding_deg: list[float] | None = None
    gain_db: Annotated[float, Field(ge=-100, le=100)] | None = None
    tgc_db: list[float] | None = None
    dynamic_range_db: Annotated[float, Field(gt=0, le=200)] | None = None
    raw: bool | None = None


class NeedleTable(_Table):
    """`[needle]`."""

    gauge: Annotated[float, Field(ge=10, le=34)] | None = None
    length_mm: Annotated[float, Field(gt=0, le=300)] | None = None
    id_mm: Annotated[float, Field(gt=0, le=5)] | None = None
    bevel_deg: Annotated[float, Field(gt=0, le=90)] | None = None


class PowerLawTable(_Table):
    """`power_law = { k_pa_s_n, n }`."""

    k_pa_s_n: Positive
    n: Annotated[float, Field(gt=0, le=2)]


class InjectateTable(_Table):
    """`[injectate]`."""

    kind: Literal["saline", "cell suspension", "prp", "hyaluronic acid", "contrast", "custom"] | None = None
    volume_ml: Annotated[float, Field(gt=0, le=200)] | None = None
    flow_ml_s: Annotated[float, Field(gt=0, le=50)] | None = None
    cells_million: Annotated[float, Field(ge=0, le=1e5)] | None = None
    viscosity_mpa_s: Positive | None = None
    power_law: PowerLawTable | None = None


class SphereTable(_Table):
    """One forbidden zone."""

    center_mm: Point
    radius_mm: Positive


class PlanningTable(_Table):
    """`[planning]`."""

    approach: str = "any"
    entries: Annotated[int, Field(ge=1, le=1_000_000)] = 20000
    targets: Annotated[int, Field(ge=1, le=4096)] = 64
    margins_mm: dict[str, NotNegative] = {}
    targeting_sd_mm: Annotated[float, Field(ge=0, le=50)] = 1.63
    entry_mm: Point | None = None
    target_mm: Point | None = None
    forbidden: list[SphereTable] = []


class ViewNeedleTable(_Table):
    """Two points of the needle's axis, hub side first."""

    entry_mm: Point
    tip_mm: Point


class ViewTable(_Table):
    """`[view]`: fixes the probe; then a needle is drawn only if given."""

    probe_to_patient: list[list[float]]
    needle: ViewNeedleTable | None = None


class DisplayTable(_Table):
    """`[display]`."""

    width_px: Annotated[int, Field(ge=16, le=4096)] = 640
    height_px: Annotated[int, Field(ge=16, le=4096)] = 512


class StructureTable(_Table):
    """`[structures.NAME]`: a structure outside the vocabulary, or another tissue for one inside it."""

    tissue: str
    risk: Literal["none", "bone", "cartilage", "tendon", "artery", "vein", "nerve", "organ"] = "none"


class TissueTable(_Table):
    """`[tissues.NAME]`: defines or overrides a tissue."""

    density_kg_m3: Positive | None = None
    speed_m_s: Positive | None = None
    shear_speed_m_s: NotNegative | None = None
    attenuation_db_cm_mhz: NotNegative | None = None
    attenuation_power: NotNegative | None = None
    echo_db: float | None = None


class CaseTable(_Table):
    """A whole case file."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    name: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    joint: JointTable
    subject: SubjectTable = SubjectTable()
    anatomy: AnatomyTable
    defects: list[DefectTable] = []
    probe: ProbeTable = ProbeTable()
    needle: NeedleTable = NeedleTable()
    injectate: InjectateTable = InjectateTable()
    planning: PlanningTable = PlanningTable()
    view: ViewTable | None = None
    display: DisplayTable = DisplayTable()
    structures: dict[str, StructureTable] = {}
    tissues: dict[str, TissueTable] = {}


documents.register_schema("case", CaseTable.model_json_schema(by_alias=True))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnatomySource:
    """Where the anatomy comes from; exactly one of phantom, labelmap, surfaces, model is set."""

    phantom: str | None = None
    parameters: Mapping[str, float | str | bool] = field(default_factory=dict)
    labelmap: Path | None = None
    labels: str | None = None
    image: Path | None = None
    surfaces: Mapping[str, Path] = field(default_factory=dict)
    units: str | float = "auto"
    frame: Literal["RAS", "LPS"] = "RAS"
    model: Path | None = None
    completion: Literal["auto", "none"] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DrawnDefect:
    """An ellipse the user drew on a cartilage surface."""

    structure: str
    center_mm: Floats
    radii_mm: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """A probe pose fixed by the user, and the needle to draw, if any."""

    probe_to_patient: Pose
    needle: tuple[Floats, Floats] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One rehearsal, ready to run.

    origins : "table.key" → "given", "default" or "assumed", for every effective value.
    inputs_sha256 : role → hash of the case file's bytes (files it names are added when they are read).
    """

    name: str
    seed: int
    kind: Kind
    side: Side
    subject: Subject
    anatomy: AnatomySource
    defects: tuple[DrawnDefect, ...]
    probe: Probe
    needle: Needle
    injectate: Injectate
    constraints: Constraints
    view: View | None
    display: Display
    structures: Mapping[str, tuple[str, str]]
    tissues: Mapping[str, Mapping[str, float]]
    effective: Mapping[str, Any]
    inputs_sha256: Mapping[str, str]

    @property
    def assumed(self) -> tuple[str, ...]:
        """The effective values that are assumptions, as "table.key"."""
        return tuple(path for path, entry in _entries(self.effective) if entry["source"] == "assumed")


def read_case(path: Path) -> Case:
    """Read a case file; the first mistake raises CaseFileError with its path in the file."""
    path = Path(path)
    try:
        if path.is_dir():
            path = path / "case.toml"
        if not path.is_file():
            raise FileError(f"{path.name}: no such case file")
        if path.stat().st_size > LARGEST_CASE_BYTES:
            raise FileError(f"{path.name}: {path.stat().st_size} bytes, a case file has at most 1 MB")
        content = path.read_bytes()
        raw = tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise FileError(f"{path.name}: cannot be read ({type(error).__name__})") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise CaseFileError(f"{path.name}: not TOML: {error}") from error
    return case_of(raw, folder=path.parent, name=path.name, sha256=hashlib.sha256(content).hexdigest())


def case_of(raw: Mapping[str, Any], *, folder: Path, name: str = "case", sha256: str = "") -> Case:
    """Turn a case file's tables into a Case; paths are relative to `folder`."""
    _refuse_unknown_keys(raw, CaseTable, name, "")
    try:
        table = CaseTable.model_validate(dict(raw))
    except ValidationError as error:
        raise CaseFileError(f"{name}: {_first_mistake(error)}") from error
    try:
        return _case(table, raw, folder, sha256)
    except ValueError as error:
        raise CaseFileError(f"{name}: {error}") from error


def _case(table: CaseTable, raw: Mapping[str, Any], folder: Path, sha256: str) -> Case:
    kind = table.joint.kind
    planning = table.planning
    if planning.approach not in (*APPROACHES[kind], "any"):
        near = difflib.get_close_matches(planning.approach, [*APPROACHES[kind], "any"], 1, 0.0)[0]
        raise ValueError(
            f"[planning] approach: {planning.approach!r} is not one for the {kind}; nearest: {near}"
        )
    for risk in planning.margins_mm:
        if risk not in DEFAULT_MARGINS_MM and risk != "organ":
            near = difflib.get_close_matches(risk, list(DEFAULT_MARGINS_MM), 1, 0.0)[0]
            raise ValueError(f"[planning] margins_mm.{risk}: unknown risk class; nearest: {near}")
    probe = _probe(table.probe, kind)
    needle = _needle(table.needle, kind)
    injectate = _injectate(table.injectate, kind)
    constraints = Constraints(
        approach=planning.approach,
        entries=planning.entries,
        targets=planning.targets,
        margins_mm={**DEFAULT_MARGINS_MM, **planning.margins_mm},
        targeting_sd_mm=planning.targeting_sd_mm,
        entry_mm=_point(planning.entry_mm),
        target_mm=_point(planning.target_mm),
        forbidden=tuple((np.array(s.center_mm), s.radius_mm) for s in planning.forbidden),
    )
    anatomy = table.anatomy
    source = AnatomySource(
        phantom=anatomy.phantom,
        parameters=anatomy.parameters,
        labelmap=_path(anatomy.labelmap, folder),
        labels=_labels(anatomy.labels, folder),
        image=_path(anatomy.image, folder),
        surfaces={n: folder / p for n, p in (anatomy.surfaces or {}).items()},
        units=anatomy.units,
        frame=anatomy.frame,
        model=_path(anatomy.model, folder),
        completion=anatomy.completion,
    )
    return Case(
        name=table.name or f"{kind}, {table.joint.side}",
        seed=table.seed,
        kind=kind,
        side=table.joint.side,
        subject=Subject(bmi=table.subject.bmi, sex=table.subject.sex),
        anatomy=source,
        defects=tuple(
            DrawnDefect(
                structure=d.structure,
                center_mm=np.array(d.center_mm),
                radii_mm=(d.radii_mm[0], d.radii_mm[1]),
            )
            for d in table.defects
        ),
        probe=probe,
        needle=needle,
        injectate=injectate,
        constraints=constraints,
        view=_view(table.view),
        display=Display(width_px=table.display.width_px, height_px=table.display.height_px),
        structures={n: (s.tissue, s.risk) for n, s in table.structures.items()},
        tissues={n: t.model_dump(exclude_none=True) for n, t in table.tissues.items()},
        effective=_effective(table, raw, probe, needle, injectate, constraints),
        inputs_sha256={"case": sha256} if sha256 else {},
    )


def _point(values: list[float] | None) -> Floats | None:
    return None if values is None else np.array(values, dtype=np.float64)


def _path(text: str | None, folder: Path) -> Path | None:
    return None if text is None else folder / text


def _labels(text: str | None, folder: Path) -> str | None:
    """Return a label table's name, or the path of a user's own beside the case file."""
    return text if text is None or not text.endswith(".toml") else str(folder / text)


def _view(table: ViewTable | None) -> View | None:
    if table is None:
        return None
    try:
        matrix = np.array(table.probe_to_patient, dtype=np.float64)
        if matrix.shape not in ((4, 4), (3, 4)):
            raise ValueError(f"has shape {matrix.shape}, needs 4 rows of 4")
        pose = Pose.from_matrix(matrix)
    except ValueError as error:
        raise ValueError(f"[view] probe_to_patient: {error}") from error
    if table.needle is None:
        return View(probe_to_patient=pose)
    entry, tip = np.array(table.needle.entry_mm), np.array(table.needle.tip_mm)
    if np.linalg.norm(tip - entry) < 1e-6:
        raise ValueError("[view] needle: entry_mm and tip_mm are the same point, the axis has no direction")
    return View(probe_to_patient=pose, needle=(entry, tip))


# What a joint is guided and injected with when the file does not say (clinical texts; see docs/reference).
_PROBES: Mapping[Kind, str] = {"knee": "linear-12", "hip": "curvilinear-5", "ankle": "linear-12"}
_NEEDLES: Mapping[Kind, tuple[float, float]] = {"knee": (22, 50.0), "hip": (22, 90.0), "ankle": (25, 38.0)}
_VOLUMES_ML: Mapping[Kind, float] = {"knee": 5.0, "hip": 5.0, "ankle": 3.0}


def _probe(table: ProbeTable, kind: Kind) -> Probe:
    """Return a catalogue's probe with the keys that were given, or an inline one."""
    given = table.model_dump(exclude_none=True, exclude={"model"})
    for key in ("compounding_deg", "tgc_db"):
        if key in given:
            given[key] = tuple(given[key])
    if table.model is None and table.kind is not None:
        needed = ("frequency_mhz", "width_mm") if table.kind == "linear" else ("frequency_mhz", "radius_mm")
        missing = [key for key in needed if key not in given]
        if missing:
            raise ValueError(f"[probe] {missing[0]}: an inline {table.kind} probe needs it")
        return replace(Probe(), **given)
    model = probe_model(table.model or _PROBES[kind])
    if table.kind is not None and table.kind != model.kind:
        raise ValueError(f"[probe] kind: {table.kind!r}, but model {model.name!r} is {model.kind}")
    return replace(model, **given)


def _needle(table: NeedleTable, kind: Kind) -> Needle:
    gauge, length_mm = _NEEDLES[kind]
    return needle_of(
        table.gauge or gauge,
        table.length_mm or length_mm,
        inner_mm=table.id_mm,
        bevel_deg=table.bevel_deg,
    )


def _injectate(table: InjectateTable, kind: Kind) -> Injectate:
    given = table.model_dump(exclude_none=True, exclude={"kind", "power_law"})
    given.setdefault("volume_ml", _VOLUMES_ML[kind])
    if table.power_law is not None:
        given |= {"k_pa_s_n": table.power_law.k_pa_s_n, "n": table.power_law.n}
    return injectate_of(table.kind or "saline", **given)


# --- mistakes, said with their place ------------------------------------------------------------------------


def _tables_in(annotation: Any) -> Iterator[type[_Table]]:
    """Yield the table models that a field's annotation may hold."""
    if isinstance(annotation, type) and issubclass(annotation, _Table):
        yield annotation
    for part in get_args(annotation):
        yield from _tables_in(part)


def _refuse_unknown_keys(raw: Any, model: type[_Table], file: str, place: str) -> None:
    """Raise CaseFileError at the first key that no table knows, naming the nearest known one."""
    if not isinstance(raw, Mapping):
        return
    known = {(f.alias or name): f for name, f in model.model_fields.items()}
    for key, value in raw.items():
        if key not in known:
            near = difflib.get_close_matches(key, list(known), 1, 0.0)
            raise CaseFileError(
                f"{file}: {place}{key}: unknown key; nearest known: {place}{near[0] if near else '(none)'}"
            )
        inner = next(_tables_in(known[key].annotation), None)
        if inner is None:
            continue
        free = str(known[key].annotation).startswith("dict[")
        children = value.items() if free and isinstance(value, Mapping) else [(None, value)]
        for name, child in children:
            here = f"{place}{key}." + (f"{name}." if name else "")
            for i, item in enumerate(child if isinstance(child, list) else [child]):
                label = here if not isinstance(child, list) else f"{place}{key}[{i}]."
                _refuse_unknown_keys(item, inner, file, label)


_TYPE_NAMES = ("constrained-float", "constrained-int", "float", "str", "bool")  # pydantic's words for a union


def _first_mistake(error: ValidationError) -> str:
    mistake = error.errors(include_url=False)[0]
    place = ""
    for part in mistake["loc"]:
        if isinstance(part, int):
            place += f"[{part}]"
        elif (
            part not in ("constrained-float", "constrained-int", "float", "str", "bool")
            and "literal" not in part
        ):
            place += f".{part}" if place else part
    given = mistake.get("input")
    shown = "" if isinstance(given, Mapping | list) else f" (has {given!r})"
    message = mistake["msg"].removeprefix("Value error, ")
    return f"{place}: {message[0].lower()}{message[1:]}{shown}"


# --- every effective value with where it comes from ---------------------------------------------------------


def _entries(effective: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, entry in effective.items():
        if isinstance(entry, Mapping) and "source" in entry and "value" in entry:
            yield f"{place}{key}", entry
        elif isinstance(entry, Mapping):
            yield from _entries(entry, f"{place}{key}.")


def _effective(
    table: CaseTable,
    raw: Mapping[str, Any],
    probe: Probe,
    needle: Needle,
    injectate: Injectate,
    constraints: Constraints,
) -> dict[str, Any]:
    """Return every value that the case runs with, each {value, source}."""

    def said(place: str, values: Mapping[str, Any], assumed: tuple[str, ...] = ()) -> dict[str, Any]:
        given = raw.get(place, {})
        return {
            key: {
                "value": value if not (isinstance(value, float) and not math.isfinite(value)) else None,
                "source": "given" if key in given else "assumed" if key in assumed else "default",
            }
            for key, value in values.items()
        }

    def of(value: Any, *leave_out: str) -> dict[str, Any]:
        return {k: getattr(value, k) for k in value.__slots__ if k not in {"source", "assumed", *leave_out}}

    subject = {"bmi": table.subject.bmi, "sex": table.subject.sex}
    return {
        "name": {"value": table.name, "source": "given" if "name" in raw else "default"},
        "seed": {"value": table.seed, "source": "given" if "seed" in raw else "default"},
        "joint": said("joint", table.joint.model_dump()),
        "subject": said("subject", subject, tuple(k for k, v in subject.items() if v is None)),
        "anatomy": said("anatomy", table.anatomy.model_dump(exclude_none=True)),
        "probe": said("probe", of(probe), probe.assumed),
        "needle": said("needle", of(needle), needle.assumed),
        "injectate": said("injectate", of(injectate), injectate.assumed),
        "planning": said(
            "planning",
            of(constraints, "forbidden", "entry_mm", "target_mm")
            | {
                k: v
                for k, v in table.planning.model_dump().items()
                if k in ("entry_mm", "target_mm", "forbidden")
            },
            ("margins_mm",),
        ),
        "view": said("view", table.view.model_dump() if table.view else {}),
        "display": said("display", table.display.model_dump()),
    }
