"""Sizes that completion stands on: value, spread, source; `assumed` where no number could be cited.

Lengths in mm, volumes in mL, unless the name says otherwise. A case's parameters may override any by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from injectplan.anatomy.model import Subject
from injectplan.errors import UsageError


@dataclass(frozen=True, slots=True)
class Dimension:
    """A size with its spread (standard deviation), bounds and source; `assumed` marks a judgement."""

    value: float
    sd: float
    low: float
    high: float
    source: str
    assumed: bool = False


_D = Dimension
IN_ML = ("resting_fluid", "joint_capacity")
KNEE: Mapping[str, Dimension] = {
    "skin_thickness": _D(1.8, 0.3, 1.2, 2.8, "skin at the knee 1.5-2.0 mm, men about 0.3 mm more", True),
    "deep_fascia_thickness": _D(0.9, 0.3, 0.5, 2.0, "fascia lata about 1 mm", True),
    "quadriceps_tendon_thickness": _D(
        7.3, 1.1, 5.0, 10.0, "MRI 7.13/7.41/7.26 mm at 1/2/4 cm, doi:10.1016/j.asmr.2023.04.005"
    ),
    "quadriceps_tendon_width": _D(40.0, 3.0, 30.0, 50.0, "35-45 mm at the patella", True),
    "quadriceps_tendon_length": _D(75.0, 5.0, 50.0, 90.0, "70-85 mm", True),
    "patellar_tendon_thickness": _D(
        4.7, 0.4, 3.5, 6.5, "US 4.7 ± 0.4 mm, doi:10.4103/jcls.jcls_20_19; MRI 4.35-4.81 mm"
    ),
    "patellar_tendon_width": _D(24.0, 3.8, 18.0, 34.0, "US 22.4 ± 3.8 mm, doi:10.4103/jcls.jcls_20_19"),
    "prefemoral_fat_pad_thickness": _D(
        9.0, 2.7, 4.0, 15.0, "US 11.1 ± 2.7 mm at 30°, 9.1 ± 2.7 mm at 60°, doi:10.4103/JMU.JMU_15_17"
    ),
    "suprapatellar_fat_pad_height": _D(13.0, 3.0, 6.0, 20.0, "10-15 mm along the limb", True),
    "suprapatellar_fat_pad_thickness": _D(7.0, 1.0, 4.0, 11.0, "6-8 mm front to back", True),
    "recess_thickness": _D(2.6, 0.6, 1.0, 4.0, "fluid line of 2-4 mm, doi:10.1136/ard.2003.015081"),
    "recess_height_above_trochlea": _D(45.0, 5.0, 30.0, 55.0, "4-5 cm above the trochlear border"),
    "recess_half_width": _D(22.0, 4.0, 14.0, 32.0, "pouch about 4-5 cm wide", True),
    "capsule_thickness": _D(1.2, 0.4, 0.5, 2.5, "0.5-1.5 mm, thicker behind", True),
    "retinaculum_thickness": _D(1.5, 0.4, 0.8, 3.0, "1-2 mm; MPFL 0.91-1.7 mm", True),
    "medial_collateral_ligament_thickness": _D(2.4, 0.5, 1.2, 4.5, "superficial layer 2-3 mm", True),
    "medial_collateral_ligament_width": _D(11.0, 2.0, 6.0, 18.0, "10-12 mm", True),
    "lateral_collateral_ligament_thickness": _D(
        4.0, 0.5, 2.5, 6.0, "4.0 mm (standard error 0.16), 10 cadavers, PMID 14623649"
    ),
    "anterior_cruciate_ligament_thickness": _D(9.0, 1.2, 6.0, 13.0, "round, 8-11 mm", True),
    "posterior_cruciate_ligament_thickness": _D(10.0, 1.3, 7.0, 14.0, "round, 9-12 mm", True),
    "iliotibial_tract_thickness": _D(
        1.95, 0.3, 0.8, 3.5, "US 1.95 ± 0.3 mm at the femoral condyle, doi:10.1002/jcu.10168"
    ),
    "resting_fluid": _D(7.0, 1.5, 2.0, 8.0, "normal fluid 5-8 mL (Balazs), 2-4 mL in other texts", True),
    "vastus_intermedius_thickness": _D(12.0, 3.0, 6.0, 20.0, "above the recess", True),
    "popliteal_artery_behind_bone": _D(
        3.9, 2.0, 1.0, 9.0, "3.9 mm behind the capsule in extension, The Knee 2009;16:143"
    ),
    "popliteal_artery_diameter": _D(6.0, 0.8, 4.5, 8.0, "6.5 mm men, 5.5 mm women", True),
    "popliteal_vein_diameter": _D(8.0, 1.0, 6.0, 10.0, "7-9 mm", True),
    "tibial_nerve_diameter": _D(5.0, 0.3, 4.0, 6.0, "19.6 ± 1.4 mm² across, doi:10.15557/JoU.2022.0024"),
    "common_fibular_nerve_diameter": _D(3.4, 0.4, 2.5, 4.5, "at most 9-11 mm² across"),
    "superior_lateral_genicular_artery_diameter": _D(1.5, 0.3, 1.0, 2.2, "1-2 mm", True),
    "infrapatellar_nerve_diameter": _D(1.4, 0.3, 0.8, 2.0, "a branch of 1-2 mm", True),
    "great_saphenous_vein_diameter": _D(3.8, 0.9, 1.8, 6.0, "2.9 mm in the thigh, 3.8 in the leg", True),
    "saphenous_nerve_diameter": _D(2.2, 0.4, 1.2, 3.5, "2-3 mm", True),
    "limb_above": _D(150.0, 0.0, 90.0, 220.0, "how far the limb is built above the joint line", True),
    "limb_below": _D(100.0, 0.0, 70.0, 160.0, "how far the limb is built below the joint line", True),
    "joint_capacity": _D(110.0, 20.0, 60.0, 150.0, "most that a knee holds, 100-150 mL", True),
    "effusion_ml": _D(0.0, 0.0, 0.0, 100.0, "fluid beyond the resting volume, as given"),
}

BMI = (22.0, 27.0, 32.0, 38.0)
# Subcutaneous fat over the knee by BMI, men's; women's are 1.3 times as thick. All assumed.
KNEE_FAT: Mapping[str, tuple[float, float, float, float]] = {
    "patella_fat": (3.0, 5.0, 8.0, 12.0),
    "suprapatellar_fat": (6.0, 9.0, 14.0, 20.0),
    "superolateral_fat": (6.0, 9.0, 13.0, 18.0),
    "medial_fat": (9.0, 15.0, 24.0, 35.0),
}
FEMALE_FAT_FACTOR = 1.3
DEFAULT_BMI = 25.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """The values in force for one joint, and a line for each that was assumed and read.

    values : by name, mm or mL. Read here, not by `sizes[name]`, a value counts as not used: for grids'
        extents and other choices that move no result.
    lines : what is said of values that nobody gave, and for which of them it is said.
    """

    values: Mapping[str, float]
    lines: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)

    def __getitem__(self, name: str) -> float:
        self.read.add(name)
        return self.values[name]

    @property
    def assumed(self) -> tuple[str, ...]:
        """The lines of the values that were read so far."""
        return tuple(line for line, names in self.lines.items() if not self.read.isdisjoint(names))


def sizes_of(table: Mapping[str, Dimension], parameters: Mapping[str, float]) -> Sizes:
    """Return a joint's sizes from its table; parameters override by name.

    Raises UsageError for a value outside the dimension's bounds. Parameters of other names are left to
    others (a phantom's own, for instance).
    """
    values, lines = {}, {}
    for name, d in table.items():
        given = parameters.get(name)
        if given is not None and not d.low <= given <= d.high:
            raise UsageError(f"{name} = {given:g} is outside {d.low:g} to {d.high:g}: give a value within")
        values[name] = d.value if given is None else float(given)
        if given is None and name != "effusion_ml":
            mark = "assumed" if d.assumed else "population mean"
            line = f"{name} = {values[name]:g} {'mL' if name in IN_ML else 'mm'} ({mark}: {d.source})"
            lines[line] = (name,)
    return Sizes(values, lines)


def body_mass(subject: Subject) -> tuple[float, tuple[str, ...]]:
    """The body mass index in force, and the line that says it was assumed, if it was."""
    if subject.bmi is not None:
        return subject.bmi, ()
    return DEFAULT_BMI, (f"bmi = {DEFAULT_BMI:g} (assumed: not given)",)


def _of_person(table: Mapping[str, Dimension], subject: Subject) -> dict[str, Dimension]:
    """The knee's table with the means of this person's sex."""
    result = dict(table)
    if subject.sex:
        artery = 6.5 if subject.sex == "male" else 5.5
        result["popliteal_artery_diameter"] = replace(table["popliteal_artery_diameter"], value=artery)
    if subject.sex == "male":
        skin = table["skin_thickness"]
        result["skin_thickness"] = replace(skin, value=skin.value + 0.3)
    return result


def knee_sizes(subject: Subject, parameters: Mapping[str, float]) -> Sizes:
    """Return the knee's sizes for a person, with the fat over it by body mass and sex; see `sizes_of`."""
    bmi, said = body_mass(subject)
    sizes = sizes_of(_of_person(KNEE, subject), parameters)
    values, lines = dict(sizes.values), dict(sizes.lines)
    by_person = tuple(name for name in KNEE_FAT if name not in parameters)
    lines |= dict.fromkeys(said, by_person)
    if subject.sex is None:
        lines["sex not given: fat between a man's and a woman's (assumed)"] = by_person
    factor = {"female": FEMALE_FAT_FACTOR, "male": 1.0, None: 0.5 * (1 + FEMALE_FAT_FACTOR)}[subject.sex]
    for name, table in KNEE_FAT.items():
        low = table[0] + (table[1] - table[0]) / 5.0 * (bmi - BMI[0])  # leaner than the table's leanest
        by_bmi = max(float(np.interp(bmi, BMI, table)) if bmi > BMI[0] else low, 1.5)
        values[name] = float(parameters.get(name, by_bmi * factor))
        if name not in parameters:
            lines[f"{name} = {values[name]:.1f} mm (assumed: by BMI and sex)"] = (name,)
    return Sizes(values, lines)


def front_fat(
    sizes: Sizes, by_person: float, said: tuple[str, ...], parameters: Mapping[str, float]
) -> Sizes:
    """Return a hip's or an ankle's sizes with the fat before the joint, `anterior_fat` in mm.

    by_person : its thickness by the body mass.  said : the lines that the body mass brings.
    """
    given = parameters.get("anterior_fat")
    if given is not None:
        return replace(sizes, values={**sizes.values, "anterior_fat": float(given)})
    lines = {**sizes.lines, **dict.fromkeys(said, ("anterior_fat",))}
    lines[f"anterior_fat = {by_person:.1f} mm (assumed: by BMI)"] = ("anterior_fat",)
    return replace(sizes, values={**sizes.values, "anterior_fat": by_person}, lines=lines)
