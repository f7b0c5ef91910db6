"""Acoustic properties of tissues, every value with its source or marked `assumed`.

Density, speed and attenuation: IT'IS Foundation tissue database 5.0 (doi:10.13099/VIP21000-05-0), attenuation
turned from Np/m to dB/cm at 1 MHz. What that table lacks, or gives implausibly, is named in `source`.
Echo levels are relative to muscle and were fitted to the greys of public musculoskeletal frames shown over
60 dB; no absolute table of backscatter exists. The one anchor between speckle and boundaries is
`MUSCLE_SPECKLE_DB`: it makes cortex at -4.6 dB lie 36 dB over muscle, and fat on muscle 22 dB over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from injectplan.errors import BadInputError

MUSCLE_SPECKLE_DB = -40.0  # rms speckle of muscle re a perfect planar mirror; fitted, see above


@dataclass(frozen=True, slots=True, kw_only=True)
class Tissue:
    """What the ultrasound sees of a tissue.

    density_kg_m3, speed_m_s : longitudinal.  shear_speed_m_s : 0 for a fluid or soft tissue.
    attenuation_db_cm_mhz, attenuation_power : one-way loss alpha0 · f**b in dB/cm, f in MHz.
    echo_db : rms speckle amplitude re muscle.
    floor_db : diffuse echo of its boundary re the same boundary's mirror echo, at normal incidence.
    anisotropy_db : most that the speckle falls when the beam runs along the fibres (tendon).
    """

    name: str
    density_kg_m3: float
    speed_m_s: float
    attenuation_db_cm_mhz: float
    attenuation_power: float = 1.0
    shear_speed_m_s: float = 0.0
    echo_db: float = 0.0
    floor_db: float = -30.0
    anisotropy_db: float = 0.0
    source: str = ""
    assumed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key in ("density_kg_m3", "speed_m_s"):
            value = getattr(self, key)
            if not (math.isfinite(value) and value > 0):
                raise BadInputError(f"tissue {self.name}: {key} is {value}, must be positive and finite")
        for key in ("attenuation_db_cm_mhz", "shear_speed_m_s"):
            value = getattr(self, key)
            if not (math.isfinite(value) and value >= 0):
                raise BadInputError(f"tissue {self.name}: {key} is {value}, must be zero or more and finite")
        for key in ("attenuation_power", "echo_db", "floor_db", "anisotropy_db"):
            if not math.isfinite(getattr(self, key)):
                raise BadInputError(f"tissue {self.name}: {key} is not finite")

    @property
    def impedance_mrayl(self) -> float:
        """Density times speed, MRayl."""
        return self.density_kg_m3 * self.speed_m_s * 1e-6

    def attenuation_db_cm(self, frequency_mhz: float) -> float:
        """One-way loss in dB/cm at a frequency in MHz."""
        return self.attenuation_db_cm_mhz * frequency_mhz**self.attenuation_power


_ITIS = "IT'IS 5.0"


def _of(
    name: str, rho: float, c: float, alpha: float, b: float, echo: float, source: str = _ITIS,
    assumed: tuple[str, ...] = (), shear: float = 0.0, floor: float = -30.0, anisotropy: float = 0.0,
) -> Tissue:  # fmt: skip
    return Tissue(
        name=name, density_kg_m3=rho, speed_m_s=c, attenuation_db_cm_mhz=alpha, attenuation_power=b,
        shear_speed_m_s=shear, echo_db=echo, floor_db=floor, anisotropy_db=anisotropy,
        source=source, assumed=assumed,
    )  # fmt: skip


_TABLE = (
    _of("skin", 1109.0, 1624.0, 1.838, 1.0, 12.0, assumed=("echo_db",)),
    _of("subcutaneous_fat", 911.0, 1477.0, 0.608, 1.0, 10.0),
    _of("fat", 911.0, 1440.2, 0.379, 1.086, 14.0),
    _of("muscle", 1090.4, 1588.4, 0.617, 1.083, 0.0, anisotropy=4.0, assumed=("anisotropy_db",)),
    _of("tendon", 1142.0, 1750.0, 1.260, 1.172, 16.0, anisotropy=20.0, assumed=("echo_db", "anisotropy_db")),
    _of(
        "fascia", 1142.0, 1750.0, 1.260, 1.172, 24.0, anisotropy=6.0,
        source=_ITIS + ", its tendon; echo 18-35 dB over muscle in public frames",
        assumed=("speed_m_s", "attenuation_db_cm_mhz", "anisotropy_db"),
    ),
    _of(
        "cartilage", 1099.5, 1639.6, 1.0, 1.0, -13.0,
        source=_ITIS + "; attenuation 1 dB/cm/MHz (range 1-5): IT'IS's 0.038 is implausibly low, and with "
        "more the bone under a trochlea's cartilage is darker than any public frame shows it",
        assumed=("attenuation_db_cm_mhz", "echo_db"),
    ),
    _of(
        "meniscus", 1099.5, 1639.6, 1.260, 1.172, 14.0,
        source=_ITIS + ": cartilage's density and speed, ligament's attenuation",
        assumed=("attenuation_db_cm_mhz", "echo_db"),
    ),
    _of(
        "cortical_bone", 1908.0, 3514.9, 21.45, 0.55, -20.0, shear=1800.0, floor=-24.0,
        source=_ITIS + "; attenuation through 52 dB/cm at 5 MHz of wet bovine femur, radial "
        "(doi:10.1016/0301-5629(92)90099-v) and about 65 at 7.5 MHz",
        assumed=("attenuation_power", "shear_speed_m_s", "echo_db", "floor_db"),
    ),
    _of(
        "cancellous_bone", 1178.0, 2117.5, 4.082, 1.2, -20.0, shear=1000.0, floor=-20.0,
        assumed=("shear_speed_m_s", "echo_db", "floor_db"),
    ),
    _of("marrow_yellow", 980.0, 1371.9, 0.379, 1.086, -15.0, assumed=("echo_db",)),
    _of("marrow_red", 1028.5, 1450.0, 1.086, 1.086, -15.0, assumed=("echo_db",)),
    _of(
        "synovial_fluid", 1010.0, 1544.0, 0.093, 1.16, -45.0,
        source="speed: PubMed 11695281; density and attenuation (blood plasma's) stand in",
        assumed=("density_kg_m3", "attenuation_db_cm_mhz"),
    ),
    _of("blood", 1049.8, 1578.2, 0.206, 1.050, -45.0),
    _of(
        "synovium", 1026.5, 1545.0, 1.260, 1.172, 4.0,
        source=_ITIS + ", connective tissue",
        assumed=("density_kg_m3", "speed_m_s", "attenuation_db_cm_mhz", "echo_db"),
    ),
    _of("nerve", 1075.0, 1629.5, 1.150, 1.0, 8.0, anisotropy=6.0, assumed=("echo_db", "anisotropy_db")),
    _of("vessel_wall", 1101.5, 1569.1, 0.610, 1.0, 12.0, assumed=("echo_db",)),
    _of(
        "water", 994.0, 1482.3, 0.0022, 2.0, -60.0,
        source=_ITIS + "; power 2, as for any water", assumed=("echo_db",),
    ),
    _of(
        "steel", 7900.0, 5790.0, 0.0, 1.0, -60.0, shear=3100.0, floor=-20.0,
        source="velocity tables of gauge makers (304L)", assumed=("density_kg_m3", "shear_speed_m_s"),
    ),
    _of("air", 1.2, 343.0, 0.003, 2.0, -160.0),
)  # fmt: skip

TISSUES: Mapping[str, Tissue] = MappingProxyType({tissue.name: tissue for tissue in _TABLE})

CORTICAL_BONE_ITIS = replace(
    TISSUES["cortical_bone"],
    attenuation_db_cm_mhz=4.738,
    attenuation_power=1.0,
    source=_ITIS + ", its own attenuation; the far cortex of thin bone then shows",
)


def tissue_of(name: str, tissues: Mapping[str, Tissue] | None = None) -> Tissue:
    """Return the tissue of this name, looking in `tissues` first; BadInputError names the nearest known."""
    if tissues and name in tissues:
        return tissues[name]
    if name in TISSUES:
        return TISSUES[name]
    known = sorted({*TISSUES, *(tissues or {})})
    raise BadInputError(f"unknown tissue {name!r}{_nearest(name, known)}; known are {', '.join(known)}")


def _nearest(name: str, known: Iterable[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def assumptions(names: Iterable[str], tissues: Mapping[str, Tissue] | None = None) -> tuple[str, ...]:
    """List the assumed values that these tissues bring into a result, sorted, as "tissue.key = value"."""
    used = [tissue_of(name, tissues) for name in names]
    return tuple(sorted({f"{t.name}.{key} = {getattr(t, key)}" for t in used for key in t.assumed}))
