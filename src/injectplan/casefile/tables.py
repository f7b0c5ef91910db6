"""The form of a case file, table by table; its JSON Schema follows from these models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from injectplan import documents
from injectplan.anatomy.model import Kind, Side

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Point = Annotated[list[float], Field(min_length=3, max_length=3)]


class Table(BaseModel):
    """A table of a case file: unknown keys, NaN and values of another type are mistakes."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


class JointTable(Table):
    """`[joint]`."""

    kind: Kind
    side: Side


class SubjectTable(Table):
    """`[subject]`: steers completion and phantoms."""

    bmi: Annotated[float, Field(ge=12, le=70)] | None = None
    sex: Literal["female", "male"] | None = None


class AnatomyTable(Table):
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


class DefectTable(Table):
    """`[[defects]]`: an ellipse drawn on a cartilage surface."""

    structure: str
    center_mm: Point
    radii_mm: Annotated[list[Positive], Field(min_length=2, max_length=2)]


class ProbeTable(Table):
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
    refraction: bool | None = None
    noise_db: Annotated[float, Field(ge=-200, le=0)] | None = None
    haze_db: Annotated[float, Field(ge=-200, le=0)] | None = None
    smoothing_mm: Annotated[float, Field(ge=0, le=5)] | None = None


class NeedleTable(Table):
    """`[needle]`."""

    gauge: Annotated[float, Field(ge=10, le=34)] | None = None
    length_mm: Annotated[float, Field(gt=0, le=300)] | None = None
    id_mm: Annotated[float, Field(gt=0, le=5)] | None = None
    bevel_deg: Annotated[float, Field(ge=5, le=90)] | None = None


class PowerLawTable(Table):
    """`power_law = { k_pa_s_n, n }`."""

    k_pa_s_n: Positive
    n: Annotated[float, Field(gt=0, le=2)]


class InjectateTable(Table):
    """`[injectate]`."""

    kind: Literal["saline", "cell suspension", "prp", "hyaluronic acid", "contrast", "custom"] | None = None
    volume_ml: Annotated[float, Field(gt=0, le=200)] | None = None
    flow_ml_s: Annotated[float, Field(gt=0, le=50)] | None = None
    cells_million: Annotated[float, Field(ge=0, le=1e5)] | None = None
    viscosity_mpa_s: Positive | None = None
    power_law: PowerLawTable | None = None


class SphereTable(Table):
    """One forbidden zone."""

    center_mm: Point
    radius_mm: Positive


class PlanningTable(Table):
    """`[planning]`."""

    approach: str = "any"
    entries: Annotated[int, Field(ge=1, le=1_000_000)] = 20000
    targets: Annotated[int, Field(ge=1, le=4096)] = 64
    margins_mm: dict[str, NotNegative] = {}
    targeting_sd_mm: Annotated[float, Field(ge=0, le=50)] = 1.63
    entry_mm: Point | None = None
    target_mm: Point | None = None
    forbidden: list[SphereTable] = []


class ViewNeedleTable(Table):
    """Two points of the needle's axis, hub side first."""

    entry_mm: Point
    tip_mm: Point


class ViewTable(Table):
    """`[view]`: fixes the probe; then a needle is drawn only if given."""

    probe_to_patient: list[list[float]]
    needle: ViewNeedleTable | None = None


class DisplayTable(Table):
    """`[display]`."""

    width_px: Annotated[int, Field(ge=16, le=4096)] = 640
    height_px: Annotated[int, Field(ge=16, le=4096)] = 512


class StructureTable(Table):
    """`[structures.NAME]`: a structure outside the vocabulary, or another tissue for one inside it."""

    tissue: str
    risk: Literal["none", "bone", "cartilage", "tendon", "artery", "vein", "nerve", "organ"] = "none"


class TissueTable(Table):
    """`[tissues.NAME]`: defines or overrides a tissue."""

    # ranges from air to steel: outside them the unit is another
    density_kg_m3: Annotated[float, Field(ge=0.5, le=25000.0)] | None = None
    speed_m_s: Annotated[float, Field(ge=200.0, le=8000.0)] | None = None
    shear_speed_m_s: Annotated[float, Field(ge=0.0, le=5000.0)] | None = None
    attenuation_db_cm_mhz: Annotated[float, Field(ge=0.0, le=200.0)] | None = None
    attenuation_power: NotNegative | None = None
    echo_db: float | None = None


class CaseTable(Table):
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
