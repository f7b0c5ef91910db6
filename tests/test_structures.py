from __future__ import annotations

import pytest

from injectplan.anatomy.model import PRIORITY
from injectplan.errors import UsageError
from injectplan.structures import RISK_CLASSES, all_structures, nearest_names, read_additions, structure

TISSUES = [
    "skin",
    "subcutaneous_fat",
    "fat",
    "muscle",
    "tendon",
    "fascia",
    "cartilage",
    "meniscus",
    "cortical_bone",
    "cancellous_bone",
    "marrow_yellow",
    "marrow_red",
    "synovial_fluid",
    "blood",
    "synovium",
    "nerve",
    "vessel_wall",
    "water",
    "steel",
    "air",
]
PROMISED = [
    "femur",
    "tibia",
    "fibula",
    "patella",
    "hip_bone",
    "sacrum",
    "talus",
    "calcaneus",
    "femoral_cartilage",
    "tibial_cartilage",
    "medial_tibial_cartilage",
    "lateral_tibial_cartilage",
    "patellar_cartilage",
    "acetabular_cartilage",
    "femoral_head_cartilage",
    "talar_cartilage",
    "tibial_plafond_cartilage",
    "medial_meniscus",
    "lateral_meniscus",
    "labrum",
    "femoral_lesion",
    "tibial_lesion",
    "patellar_lesion",
    "talar_lesion",
    "synovial_fluid",
    "joint_cavity",
    "joint_capsule",
    "skin",
    "subcutaneous_fat",
    "deep_fascia",
    "quadriceps_tendon",
    "patellar_tendon",
    "suprapatellar_fat_pad",
    "prefemoral_fat_pad",
    "infrapatellar_fat_pad",
    "rectus_femoris",
    "vastus_lateralis",
    "vastus_medialis",
    "vastus_intermedius",
    "sartorius",
    "iliacus",
    "psoas_major",
    "tensor_fasciae_latae",
    "tibialis_anterior",
    "muscle",
    "femoral_artery",
    "femoral_vein",
    "femoral_nerve",
    "lateral_circumflex_femoral_artery",
    "lateral_femoral_cutaneous_nerve",
    "popliteal_artery",
    "popliteal_vein",
    "tibial_nerve",
    "common_fibular_nerve",
    "superior_lateral_genicular_artery",
    "infrapatellar_nerve",
    "dorsalis_pedis_artery",
    "deep_fibular_nerve",
    "superficial_fibular_nerve",
]


def test_every_promised_structure_is_there_and_every_entry_is_sound() -> None:
    vocabulary = all_structures()
    assert set(PROMISED) <= set(vocabulary)
    for name, info in vocabulary.items():
        assert info.name == name
        assert info.tissue in TISSUES, name
        assert info.risk in RISK_CLASSES, name
        assert info.layer in PRIORITY, name
        assert len(info.color) == 3
        assert all(0 <= part <= 255 for part in info.color)
        assert (info.code is None) == (info.meaning is None), name
        assert info.code is None or info.code.isdecimal(), name


@pytest.mark.parametrize(
    ("ending", "risk"),
    [("_artery", "artery"), ("_vein", "vein"), ("_nerve", "nerve"), ("_cartilage", "cartilage")],
)  # fmt: skip
def test_a_name_and_its_risk_class_agree(ending: str, risk: str) -> None:
    found = [info for info in all_structures().values() if info.name.endswith(ending)]
    assert found
    assert {info.risk for info in found} == {risk}


def test_codes_agree_with_the_dicom_dictionary() -> None:
    from pydicom.sr._concepts_dict import concepts

    meanings: dict[str, set[str]] = {}
    for entry in concepts["SCT"].values():
        for code, (meaning, _) in entry.items():
            meanings.setdefault(code, set()).add(meaning)
    checked = [i for i in all_structures().values() if i.code in meanings]
    assert len(checked) > 50
    for info in checked:
        assert info.meaning in meanings[str(info.code)], info.name


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'femoral_cartlage' is not .* nearest: femoral_cartilage"):
        structure("femoral_cartlage")
    assert nearest_names("Femoral Cartilage", all_structures())[0] == "femoral_cartilage"


def test_additions_win_and_are_checked() -> None:
    given = read_additions(
        {"cyst": {"tissue": "water", "risk": "none"}, "skin": {"tissue": "air"}}, "case.toml"
    )
    assert structure("cyst", given).layer == "fill"
    assert structure("cyst", given).given
    assert structure("skin", given).tissue == "air"
    assert structure("skin").tissue == "skin"
    for entry, message in [
        ({"tissue": "water", "risk": "deadly"}, "risk is 'deadly'"),
        ({"risk": "none"}, "needs tissue"),
        ({"tissue": "water", "risk": "none", "tisue": 1}, "unknown key 'tisue'"),
        ({"tissue": "water", "risk": "none", "color": [1, 2, 300]}, "color is"),
        ({"tissue": "water", "risk": "none", "layer": "attic"}, "layer is 'attic'"),
        (3, "must be a table"),
    ]:
        with pytest.raises(UsageError, match=message):
            read_additions({"cyst": entry}, "case.toml")
