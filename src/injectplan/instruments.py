"""Probes, needles, syringes and injectates, and their catalogues with sources."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from injectplan.errors import BadInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A transducer and the controls a sonographer has.

    Linear: `width_mm` is the face's width.  Curvilinear: `radius_mm` and `angle_deg` (full fan).
    bandwidth : pulse-echo, fraction.  f_number : receive; transmit_f_number : transmit, 0 = as receive.
    elevation_planes : sub-rays across the slice.  steer_deg : of the one look, or of the middle one.
    compounding_deg : steering of the looks that are averaged after detection; empty means one look.
    tgc_db : gains at equal steps of depth, face to `depth_mm`, linear between.  0 dB re a perfect planar
        mirror is white when all gains are 0; `dynamic_range_db` below it is black.
    samples : along a line, 0 = chosen from the axial resolution.  refraction : bend rays by Snell's law.
    raw : the physics alone, one look; the switches after it then are without effect.
    noise_db : receiver noise re a perfect mirror, before TGC.  haze_db : clutter re the mean power round a
        sample, which fills vessels and effusions.  veil : grey reverberation under bone.
    loss_scale : attenuation re that at the centre frequency, since a pulse's frequency falls on its way.
    texture : septa, fascicles and fibrils as amplitude patterns.  smoothing_mm : after detection (sd).
    """

    name: str = "inline"
    kind: Literal["linear", "curvilinear"] = "linear"
    frequency_mhz: float = 10.0
    bandwidth: float = 0.6
    lines: int = 192
    width_mm: float = 38.0
    radius_mm: float = 60.0
    angle_deg: float = 60.0
    depth_mm: float = 40.0
    focus_mm: float = 20.0
    f_number: float = 2.0
    transmit_f_number: float = 0.0
    elevation_focus_mm: float = 20.0
    elevation_aperture_mm: float = 5.0
    elevation_planes: int = 9
    steer_deg: float = 0.0
    compounding_deg: tuple[float, ...] = ()
    gain_db: float = 0.0
    tgc_db: tuple[float, ...] = ()
    dynamic_range_db: float = 60.0
    raw: bool = True
    refraction: bool = False
    samples: int = 0
    noise_db: float = -92.0
    haze_db: float = -25.5
    loss_scale: float = 0.5
    veil: bool = True
    texture: bool = True
    smoothing_mm: float = 0.0
    source: str = ""
    assumed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "compounding_deg", tuple(float(a) for a in self.compounding_deg))
        object.__setattr__(self, "tgc_db", tuple(float(g) for g in self.tgc_db))
        _check_probe(self)

    @property
    def transmit_f(self) -> float:
        """The transmit f-number in force."""
        return self.transmit_f_number or self.f_number

    @property
    def wavelength_mm(self) -> float:
        """Wavelength in mm at 1540 m/s."""
        return 1.54 / self.frequency_mhz

    @property
    def face_mm(self) -> float:
        """Length of the transducer's face along x (curvilinear: along the arc)."""
        return self.width_mm if self.kind == "linear" else self.radius_mm * math.radians(self.angle_deg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needle:
    """A straight hollow steel needle."""

    gauge: float = 22
    length_mm: float = 50.0
    outer_mm: float = 0.718
    inner_mm: float = 0.413
    inner_tolerance_mm: float = 0.019
    bevel_deg: float = 18.0
    source: str = ""
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Syringe:
    """A syringe by its barrel's inner diameter."""

    volume_ml: float = 5.0
    barrel_mm: float = 12.06
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Injectate:
    """What is injected. Newtonian with `viscosity_mpa_s`, or a power law when `k_pa_s_n` is given."""

    kind: str = "saline"
    volume_ml: float = 5.0
    flow_ml_s: float = 0.25
    cells_million: float = 0.0
    viscosity_mpa_s: float = 1.0
    k_pa_s_n: float | None = None
    n: float = 1.0
    density_kg_m3: float = 1005.0
    tissue: str = "water"
    source: str = ""
    assumed: tuple[str, ...] = ()


_POSITIVE = ("frequency_mhz", "bandwidth", "width_mm", "radius_mm", "angle_deg", "depth_mm", "focus_mm",
             "f_number", "elevation_focus_mm", "elevation_aperture_mm", "dynamic_range_db")  # fmt: skip
_LIMITS: Mapping[str, tuple[float, float]] = {
    "frequency_mhz": (1.0, 30.0), "bandwidth": (0.05, 1.5), "lines": (2, 2048), "elevation_planes": (1, 65),
    "depth_mm": (2.0, 300.0), "steer_deg": (-45.0, 45.0), "angle_deg": (1.0, 170.0), "samples": (0, 8192),
    "transmit_f_number": (0.0, 50.0), "loss_scale": (0.0, 2.0), "dynamic_range_db": (5.0, 150.0),
    "smoothing_mm": (0.0, 5.0),
}  # fmt: skip


def _check_probe(probe: Probe) -> None:
    if probe.kind not in ("linear", "curvilinear"):
        raise BadInputError(f"probe kind {probe.kind!r}: must be 'linear' or 'curvilinear'")
    for key in _POSITIVE:
        value = getattr(probe, key)
        if not (math.isfinite(value) and value > 0):
            raise BadInputError(f"probe {probe.name}: {key} is {value}, must be positive and finite")
    for key, (low, high) in _LIMITS.items():
        value = getattr(probe, key)
        if not low <= value <= high:
            raise BadInputError(f"probe {probe.name}: {key} is {value}, must lie in {low:g} to {high:g}")
    for angle in probe.compounding_deg:
        if not abs(angle) <= 45.0:
            raise BadInputError(f"probe {probe.name}: a compounding angle is {angle}, limit 45 degrees")
    if not all(math.isfinite(g) for g in (*probe.tgc_db, probe.gain_db, probe.noise_db)):
        raise BadInputError(f"probe {probe.name}: a gain is not finite")


def _tgc(db_per_cm: float, depth_mm: float, flat_after_mm: float) -> tuple[float, ...]:
    """Return eight sliders of a ramp that ends at `flat_after_mm`."""
    return tuple(round(db_per_cm * min(depth_mm * i / 7.0, flat_after_mm) / 10.0, 2) for i in range(8))


_PRESET: dict[str, Any] = {"raw": False, "bandwidth": 0.3, "f_number": 3.0, "transmit_f_number": 6.0,
                           "smoothing_mm": 0.06, "elevation_planes": 5}  # fmt: skip
_PRESET_ASSUMED = ("bandwidth", "f_number", "transmit_f_number", "elevation_aperture_mm", "tgc_db",
                   "noise_db", "haze_db", "loss_scale", "smoothing_mm", "compounding_deg")  # fmt: skip
_SCHOLTEN = "slice thickness ranges: Scholten, WFUMB Ultrasound Open"
_LOOKS = (-8.0, 0.0, 8.0)

_PROBES = (
    Probe(
        name="linear-12", kind="linear", frequency_mhz=12.0, lines=192, width_mm=50.0, depth_mm=30.0,
        focus_mm=18.0, elevation_focus_mm=18.0, elevation_aperture_mm=4.0, compounding_deg=_LOOKS,
        tgc_db=_tgc(11.0, 30.0, 24.0), gain_db=-1.5, haze_db=-27.5, **_PRESET, assumed=_PRESET_ASSUMED,
        source="50 mm face of the Clarius L15 and GE ML6-15; " + _SCHOLTEN,
    ),
    Probe(
        name="linear-9", kind="linear", frequency_mhz=9.0, lines=192, width_mm=38.0, depth_mm=50.0,
        focus_mm=25.0, elevation_focus_mm=22.0, elevation_aperture_mm=4.5, compounding_deg=_LOOKS,
        tgc_db=_tgc(8.0, 50.0, 40.0), **_PRESET, assumed=_PRESET_ASSUMED,
        source="38 mm face of the Ultrasonix L14-5/38; " + _SCHOLTEN,
    ),
    Probe(
        name="linear-7-limb", kind="linear", frequency_mhz=7.5, lines=192, width_mm=51.0, depth_mm=44.0,
        focus_mm=20.0, elevation_focus_mm=20.0, elevation_aperture_mm=4.5, gain_db=-1.2,
        compounding_deg=(-17.0, -8.5, 0.0, 8.5, 17.0), tgc_db=_tgc(6.5, 44.0, 24.0),
        **_PRESET | {"bandwidth": 0.22}, assumed=(*_PRESET_ASSUMED, "frequency_mhz", "gain_db"),
        source="limbs: 51 mm face and 44 mm of UltraBones100k's scanner; controls read from its frames, a "
        "pulse as long as their grain (0.4-0.5 mm), looks so far aside that tilted bone stays bright; "
        + _SCHOLTEN,
    ),
    Probe(
        name="linear-12-vessel", kind="linear", frequency_mhz=12.0, lines=192, width_mm=38.0, depth_mm=34.0,
        focus_mm=20.0, elevation_focus_mm=18.0, elevation_aperture_mm=4.0, gain_db=-5.2, haze_db=-22.0,
        compounding_deg=_LOOKS, tgc_db=_tgc(9.0, 34.0, 22.0), **_PRESET,
        assumed=(*_PRESET_ASSUMED, "gain_db"),
        source="vessels: 38 mm face of the Mindray L14-6Ns class; less gain, the haze of usgra-seg's frames; "
        + _SCHOLTEN,
    ),
    Probe(
        name="hockey-15", kind="linear", frequency_mhz=15.0, lines=160, width_mm=25.0, depth_mm=25.0,
        focus_mm=12.0, elevation_focus_mm=12.0, elevation_aperture_mm=3.0, compounding_deg=_LOOKS,
        tgc_db=_tgc(13.0, 25.0, 20.0), **_PRESET, assumed=(*_PRESET_ASSUMED, "width_mm"),
        source="a small-footprint (hockey stick) array; " + _SCHOLTEN,
    ),
    Probe(
        name="curvilinear-3", kind="curvilinear", frequency_mhz=3.5, lines=192, radius_mm=60.0,
        angle_deg=58.0, depth_mm=100.0, focus_mm=60.0, elevation_focus_mm=60.0, elevation_aperture_mm=12.0,
        compounding_deg=(), tgc_db=_tgc(2.8, 100.0, 90.0), **_PRESET,
        assumed=(*_PRESET_ASSUMED, "radius_mm", "angle_deg"),
        source="60 mm radius of the C5-2/60 class; " + _SCHOLTEN,
    ),
    Probe(
        name="curvilinear-5", kind="curvilinear", frequency_mhz=5.0, lines=192, radius_mm=50.0,
        angle_deg=65.0, depth_mm=90.0, focus_mm=50.0, elevation_focus_mm=60.0, elevation_aperture_mm=10.2,
        compounding_deg=(), tgc_db=_tgc(3.4, 90.0, 80.0), **_PRESET,
        assumed=(*_PRESET_ASSUMED, "radius_mm", "angle_deg"),
        source="2-6 MHz curvilinear of hip injections (Smith, Mayo); " + _SCHOLTEN,
    ),
)  # fmt: skip

PROBES: Mapping[str, Probe] = MappingProxyType({probe.name: probe for probe in _PROBES})


def _unknown(what: str, name: object, known: Iterable[str]) -> BadInputError:
    names = list(known)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.4)
    hint = f", did you mean {close[0]!r}?" if close else ""
    return BadInputError(f"unknown {what} {name!r}{hint}; known are {', '.join(names)}")


def probe_model(name: str, **changes: Any) -> Probe:
    """Return a probe of the catalogue, with single controls changed; BadInputError names what is known."""
    if name not in PROBES:
        raise _unknown("probe model", name, PROBES)
    probe = PROBES[name]
    for key in changes:
        if key not in Probe.__dataclass_fields__:
            raise _unknown("probe key", key, Probe.__dataclass_fields__)
    return replace(probe, **changes) if changes else probe


# Outer and inner diameter in mm, regular wall: en.wikipedia.org/wiki/Needle_gauge_comparison_chart
# (nominal values that follow ISO 9626); the bore's tolerance is +-0.019 mm from 20 gauge up.
GAUGES: Mapping[float, tuple[float, float]] = MappingProxyType({
    18: (1.270, 0.838), 19: (1.067, 0.686), 20: (0.908, 0.603), 21: (0.819, 0.514), 22: (0.718, 0.413),
    23: (0.641, 0.337), 24: (0.565, 0.311), 25: (0.514, 0.260), 26: (0.464, 0.260), 27: (0.413, 0.210),
    28: (0.362, 0.184), 29: (0.337, 0.184), 30: (0.311, 0.159), 31: (0.260, 0.133),
})  # fmt: skip
_GAUGE_SOURCE = "needle gauge chart (Wikipedia, regular wall, after ISO 9626)"


def needle_of(
    gauge: float, length_mm: float = 50.0, *, inner_mm: float | None = None, bevel_deg: float = 18.0
) -> Needle:
    """Return the regular-wall needle of a gauge 18-31; a thin wall needs its own `inner_mm`.

    BadInputError when the gauge is unknown, the bore does not fit, or the length is not 5-300 mm.
    """
    if gauge not in GAUGES:
        raise BadInputError(f"needle gauge {gauge!r} is unknown; known are 18 to 31")
    outer, inner = GAUGES[gauge]
    if inner_mm is not None:
        if not 0.0 < inner_mm < outer:
            raise BadInputError(f"needle bore {inner_mm} mm: must lie between 0 and the outer {outer} mm")
        inner = inner_mm
    if not 5.0 <= length_mm <= 300.0:
        raise BadInputError(f"needle length {length_mm} mm: must lie between 5 and 300 mm")
    if not 5.0 <= bevel_deg <= 90.0:
        raise BadInputError(f"needle bevel {bevel_deg} degrees: must lie between 5 and 90")
    tolerance = 0.019 if gauge >= 20 else 0.025
    assumed = ("bevel_deg",) if gauge >= 20 else ("bevel_deg", "inner_tolerance_mm")
    return Needle(
        gauge=gauge, length_mm=length_mm, outer_mm=outer, inner_mm=inner, inner_tolerance_mm=tolerance,
        bevel_deg=bevel_deg, source=_GAUGE_SOURCE, assumed=assumed,
    )  # fmt: skip


# Barrel diameters are those of common plastic syringes of one maker's data sheets; 12.06 mm for 5 mL.
_BARRELS: Mapping[float, float] = {1.0: 4.78, 2.0: 8.66, 3.0: 8.66, 5.0: 12.06, 10.0: 14.5, 20.0: 19.13}


def syringe_of(volume_ml: float = 5.0, *, barrel_mm: float | None = None) -> Syringe:
    """Return the smallest common syringe that holds a volume, or one of a given barrel."""
    if not (math.isfinite(volume_ml) and volume_ml > 0):
        raise BadInputError(f"syringe volume {volume_ml} mL: must be positive")
    if barrel_mm is not None:
        if not 1.0 <= barrel_mm <= 60.0:
            raise BadInputError(f"syringe barrel {barrel_mm} mm: must lie between 1 and 60 mm")
        return Syringe(volume_ml=volume_ml, barrel_mm=barrel_mm, source="given")
    for size, barrel in _BARRELS.items():
        if volume_ml <= size:
            return Syringe(volume_ml=size, barrel_mm=barrel, source="common plastic syringe (assumed)")
    raise BadInputError(f"syringe volume {volume_ml} mL: the largest known is 20 mL; give barrel_mm")


INJECTATES: Mapping[str, Injectate] = MappingProxyType({
    injectate.kind: injectate
    for injectate in (
        Injectate(kind="saline", source="water-like, 1 mPa s at 20 C", assumed=("viscosity_mpa_s",)),
        Injectate(
            kind="cell suspension", cells_million=50.0, viscosity_mpa_s=1.2, density_kg_m3=1010.0,
            source="dose within 10-100 million (Jo 2014); saline raised by the cells' volume fraction",
            assumed=("viscosity_mpa_s", "cells_million"),
        ),
        Injectate(
            kind="prp", viscosity_mpa_s=2.0, density_kg_m3=1025.0,
            source="shear-thinning in truth (Mitra 2020); a Newtonian stand-in", assumed=("viscosity_mpa_s",),
        ),
        Injectate(
            kind="hyaluronic acid", volume_ml=2.0, viscosity_mpa_s=1000.0, k_pa_s_n=5.0, n=0.4,
            source="illustrative power law; products span two decades", assumed=("k_pa_s_n", "n"),
        ),
        Injectate(
            kind="contrast", viscosity_mpa_s=5.0, density_kg_m3=1300.0, source="iodinated, about 300 mg/mL",
            assumed=("viscosity_mpa_s", "density_kg_m3"),
        ),
        Injectate(kind="custom", density_kg_m3=1000.0, source="given", assumed=("density_kg_m3",)),
    )
})  # fmt: skip


THINNEST_MPA_S = 0.2  # water at 100 °C has 0.28 mPa·s (IAPWS); what is given under it is in another unit


def injectate_of(kind: str = "saline", **changes: Any) -> Injectate:
    """Return an injectate of the catalogue with values changed; BadInputError names what is known."""
    if kind not in INJECTATES:
        raise _unknown("injectate", kind, INJECTATES)
    base = INJECTATES[kind]
    for key in changes:
        if key not in Injectate.__dataclass_fields__:
            raise _unknown("injectate key", key, Injectate.__dataclass_fields__)
    if "viscosity_mpa_s" in changes and "k_pa_s_n" not in changes:
        changes = {"k_pa_s_n": None, "n": 1.0, **changes}
    changed = replace(base, assumed=tuple(a for a in base.assumed if a not in changes), **changes)
    for key in ("volume_ml", "flow_ml_s", "viscosity_mpa_s", "density_kg_m3"):
        value = getattr(changed, key)
        if not (math.isfinite(value) and value > 0):
            raise BadInputError(f"injectate {kind}: {key} is {value}, must be positive and finite")
    if changed.k_pa_s_n is None and changed.viscosity_mpa_s < THINNEST_MPA_S:
        raise BadInputError(
            f"injectate {kind}: viscosity_mpa_s is {changed.viscosity_mpa_s:g}, thinner than hot water "
            f"(at least {THINNEST_MPA_S:g}): give it in mPa·s, water has 1"
        )
    if not (math.isfinite(changed.cells_million) and changed.cells_million >= 0):
        raise BadInputError(
            f"injectate {kind}: cells_million is {changed.cells_million}, must not be negative"
        )
    if changed.k_pa_s_n is not None and not (changed.k_pa_s_n > 0 and 0.05 <= changed.n <= 2.0):
        raise BadInputError(
            f"injectate {kind}: power law k={changed.k_pa_s_n}, n={changed.n}: "
            "k must be positive and n in 0.05 to 2"
        )
    return changed
