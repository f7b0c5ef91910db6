"""Completed structures land where the literature says, on three phantom knees of different weight and sex."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from injectplan.anatomy.build import build_joint
from injectplan.anatomy.model import JointModel, Subject
from injectplan.kernels.bvh import contains, first_hits, nearest_points, signed_distances
from injectplan.phantoms import make_phantom
from whole_joints import completed, joint_points

# (BMI, sex, size): a lean man, a woman of normal weight, an obese woman
PEOPLE = ((22.0, "male", 1.08), (27.0, "female", 0.95), (35.0, "female", 1.0))


@cache
def knee(bmi: float, sex: str, size: float) -> JointModel:
    phantom = make_phantom(
        "knee", {"spacing_mm": 1.5, "slice_mm": 1.5, "shaft_mm": 60.0, "size": size, "sex": sex}
    )
    return build_joint(phantom.labelmap, kind="knee", side="right", subject=Subject(bmi=bmi, sex=sex))


@pytest.fixture(params=PEOPLE, ids=lambda p: f"{p[1]} {p[0]:g}")
def joint(request) -> JointModel:
    return knee(*request.param)


def local(joint: JointModel, name: str) -> np.ndarray:
    return joint_points(joint.axes, joint.structures[name].surface)


def thickness(joint: JointModel, name: str, at, along=(0.0, 1.0, 0.0)) -> float:
    """Length inside a structure of a line through a joint point."""
    axes = joint.axes
    basis = np.column_stack([axes.lateral, axes.anterior, axes.proximal])
    way = basis @ np.asarray(along, float)
    start = basis @ np.asarray(at, float) + axes.origin_mm - 300.0 * way
    total, at_mm, inside = 0.0, 0.0, False
    tree = joint.structures[name].surface.bvh
    while True:
        hit, _ = first_hits(tree, (start + at_mm * way)[None], way[None])
        if not np.isfinite(hit[0]) or at_mm > 900.0:
            return total
        total += float(hit[0]) if inside else 0.0
        at_mm += float(hit[0]) + 1e-4
        inside = not inside


def pole(joint: JointModel) -> np.ndarray:
    points = local(joint, "patella")
    return points[points[:, 2].argmax()]


def test_quadriceps_tendon_is_6_to_9_mm_thick_over_4_cm(joint):
    top = pole(joint)
    for up in (10.0, 20.0, 40.0):
        assert 5.4 < thickness(joint, "quadriceps_tendon", (top[0], 0.0, top[2] + up)) < 9.0


def test_patellar_tendon_is_4_to_6_mm_thick(joint):
    points = local(joint, "patellar_tendon")
    middle = points.mean(axis=0)
    assert 3.9 < thickness(joint, "patellar_tendon", middle) < 6.4


def test_prefemoral_fat_pad_is_as_ultrasound_measures_it(joint):
    top = pole(joint)
    assert 5.0 < thickness(joint, "prefemoral_fat_pad", (top[0], 0.0, top[2] + 15.0)) < 15.0


def test_the_recess_reaches_4_to_5_cm_above_the_trochlea(joint):
    recess = next(r for r in joint.cavity.recesses if r.name == "suprapatellar")
    assert 0.8 < recess.thickness_mm < 4.0  # the fluid line of a normal knee
    assert 30.0 < recess.extent_mm.max() < 60.0
    inside = np.argwhere(joint.cavity.recess_index == joint.cavity.recesses.index(recess) + 1)
    basis = np.column_stack([joint.axes.lateral, joint.axes.anterior, joint.axes.proximal])
    field = joint.cavity.field
    across, _, along = np.ptp(
        (field.origin_mm + inside * field.spacing_mm - joint.axes.origin_mm) @ basis, axis=0
    )
    assert 36.0 < across < 52.0  # the pouch is about 4-5 cm wide
    assert 40.0 < along < 50.0
    top = local(joint, "joint_cavity")[:, 2].max()
    cartilage = local(joint, "femoral_cartilage")
    trochlea = cartilage[cartilage[:, 1] > 0.6 * cartilage[:, 1].max()][:, 2].max()
    assert 35.0 < top - trochlea < 57.0


def test_the_popliteal_artery_lies_behind_the_joint_by_what_mri_found(joint):
    """3.9 ± 2 mm behind the tibia at the joint line in extension (The Knee 2009;16:143)."""
    artery = local(joint, "popliteal_artery")
    level = artery[np.abs(artery[:, 2]) < 4.0]
    tibia = local(joint, "tibia")
    spans = tibia[(np.abs(tibia[:, 0]) < 24.0) & (np.abs(tibia[:, 2] + 4.0) < 6.0)]
    assert 1.9 < spans[:, 1].min() - level[:, 1].max() < 5.9
    assert -10.0 < level[:, 0].mean() < 12.0


def test_fat_over_the_patella_grows_with_weight_and_stays_in_its_table(joint):
    front = local(joint, "patella")
    at = front[front[:, 1].argmax()]
    skin = thickness(joint, "skin", at) - thickness(joint, "subcutaneous_fat", at)
    assert 2.0 < skin < 8.0  # two skins: before and behind
    fat = 0.5 * (thickness(joint, "subcutaneous_fat", at) - thickness(joint, "deep_fascia", at))
    assert 2.0 < fat < 30.0


def test_more_weight_more_fat_at_the_portal():
    found = []
    for who in PEOPLE:
        one = knee(*who)
        top = pole(one)
        at = (top[0] + 25.0, 0.0, top[2] + 10.0)
        found.append(thickness(one, "subcutaneous_fat", at) - thickness(one, "deep_fascia", at))
    assert found[0] < found[1] < found[2]


def held(axes, labels, low, high) -> dict[str, float]:
    """Share of each structure in a box of joint coordinates; what lies in none counts as ""."""
    steps = [np.arange(a, b, 1.5) for a, b in zip(low, high, strict=True)]
    xyz = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)
    basis = np.column_stack([axes.lateral, axes.anterior, axes.proximal])
    index = (xyz @ basis.T + axes.origin_mm - labels.affine[:3, 3]) @ np.linalg.inv(labels.affine[:3, :3]).T
    i, j, k = np.clip(np.round(index).astype(int), 0, np.array(labels.labels.shape) - 1).T
    names = [labels.names.get(int(v), "") for v in labels.labels[i, j, k]]
    return {name: names.count(name) / len(names) for name in set(names)}


def test_the_iliotibial_tract_is_as_thick_as_ultrasound_measures_it(joint):
    """1.95 ± 0.3 mm at the femoral condyle (doi:10.1002/jcu.10168), within two standard deviations."""
    tract = local(joint, "iliotibial_tract")
    level = tract[np.abs(tract[:, 2] - 22.0) < 3.0]
    at = (0.0, level[:, 1].mean(), 22.0)
    assert 1.35 < thickness(joint, "iliotibial_tract", at, (1.0, 0.0, 0.0)) < 2.75
    assert level[:, 0].min() > local(joint, "femur")[:, 0].max() - 6.0  # beside the condyle
    assert local(joint, "tibia")[:, 2].max() - tract[:, 2].min() > 15.0  # down to Gerdy's tubercle


def test_collateral_ligaments_have_their_published_attachments(joint):
    """LaPrade 2007: tibial end 61.2 mm below the joint line (two spreads of 5.5 mm, 10 cadavers, either way);
    lateral one 4.0 mm thick, 48-70 mm long."""
    medial, lateral = (local(joint, f"{n}_collateral_ligament") for n in ("medial", "lateral"))
    line = local(joint, "medial_tibial_cartilage")[:, 2].mean()
    assert line - medial[:, 2].min() == pytest.approx(61.2, abs=11.0)
    femur = local(joint, "femur")
    side = femur[(femur[:, 2] > 12.0) & (femur[:, 2] < 38.0)]
    epicondyle = side[side[:, 0].argmin()]
    assert 0.0 < medial[:, 2].max() - epicondyle[2] < 8.0  # 3.2 mm above it, half its own width apart
    assert 38.0 < np.linalg.norm(np.ptp(lateral, axis=0)) < 76.0
    middle = lateral[np.abs(lateral[:, 2] - lateral[:, 2].mean()) < 3.0]
    assert 3.0 < np.ptp(middle[:, 1]) < 6.0
    fibula = local(joint, "fibula") if "fibula" in joint.structures else None
    if fibula is not None:
        assert lateral[:, 2].min() < fibula[:, 2].max() + 2.0


def test_the_notch_and_the_popliteal_fossa_hold_fat_and_no_muscle(joint):
    size = float(np.ptp(local(joint, "femur")[:, 0])) / 76.0
    notch = held(joint.axes, joint.labels, np.array([-6, -14, 7]) * size, np.array([6, 2, 18]) * size)
    assert notch.get("muscle", 0.0) < 0.02
    assert notch.get("intercondylar_fat_pad", 0.0) > 0.1
    assert sum(v for k, v in notch.items() if k.endswith("cruciate_ligament")) > 0.1
    back = local(joint, "femur")
    y = back[(np.abs(back[:, 0]) < 24.0) & (back[:, 2] > 5.0) & (back[:, 2] < 30.0)][:, 1].min()
    low, high = np.array([-9.0, y - 13.0, 12.0]), np.array([11.0, y - 2.0, 40.0])
    fossa = held(joint.axes, joint.labels, low, high)
    assert fossa.get("muscle", 0.0) < 0.02
    assert fossa.get("popliteal_fat_pad", 0.0) > 0.4
    assert fossa.get("popliteal_artery", 0.0) + fossa.get("popliteal_vein", 0.0) > 0.02


def test_hamstrings_bound_the_fossa_and_the_calf_lies_under_it(joint):
    x = {
        n: local(joint, n) for n in ("semimembranosus", "biceps_femoris", "gastrocnemius", "popliteal_artery")
    }
    level = {n: p[np.abs(p[:, 2] - 35.0) < 5.0][:, 0] for n, p in x.items() if n != "gastrocnemius"}
    assert level["semimembranosus"].max() < level["popliteal_artery"].mean() < level["biceps_femoris"].min()
    assert x["gastrocnemius"][:, 2].max() < 40.0
    assert local(joint, "popliteus")[:, 2].max() < 5.0


@pytest.mark.parametrize(
    ("bmi", "least", "most"), [(22.0, 38.0, 54.0), (27.0, 50.0, 66.0), (32.0, 62.0, 82.0)]
)
def test_skin_to_hip_joint_grows_as_stated(bmi, least, most):
    axes, made = completed("hip", "right", bmi)
    at = axes.origin_mm + 23.0 * axes.anterior
    depth, _ = first_hits(made.structures["skin"].surface.bvh, at[None], axes.anterior[None])
    assert least < depth[0] < most


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("femoral_artery", 11.0, 28.5), ("femoral_vein", 8.5, 26.5), ("femoral_nerve", 12.5, 34.5)],
)
def test_femoral_nerve_artery_and_vein_pass_the_hip_at_published_distances(name, least, most):
    """Mean ± 2 SD of 115 MRIs: artery 19.6 ± 4.2, vein 17.5 ± 4.4, nerve 23.6 ± 5.4 mm from the joint."""
    made = completed("hip", "right", 25.0)[1]
    points = made.structures[name].surface.vertices_mm
    gap = nearest_points(made.structures["femur"].surface.bvh, points)[0]
    assert least < gap.min() < most


@pytest.mark.parametrize("bmi", [22.0, 32.0])
def test_the_ankle_lies_8_to_20_mm_under_the_skin(bmi):
    """Where the medial part of the front recess is shallowest, square to the skin."""
    axes, made = completed("ankle", "right", bmi)
    cavity = joint_points(axes, made.cavity.surface)
    medial = made.cavity.surface.vertices_mm[(cavity[:, 0] < -3.0) & (cavity[:, 1] > 7.0)]
    depth = nearest_points(made.structures["skin"].surface.bvh, medial)[0]
    assert 8.0 < depth.min() < 20.0


@pytest.fixture(params=[(22.0, "right"), (25.0, "left"), (32.0, "right")], ids=lambda p: f"{p[1]} {p[0]:g}")
def ankle(request):
    return completed("ankle", request.param[1], request.param[0])


def _at(axes, made, name: str, z: float, within: float = 3.0) -> np.ndarray:
    points = joint_points(axes, made.structures[name].surface)
    return points[np.abs(points[:, 2] - z) < within].mean(axis=0)


def test_what_runs_behind_the_medial_malleolus_lies_in_its_order(ankle):
    """Tibialis posterior, flexor digitorum, artery, nerve, flexor hallucis, from the malleolus on."""
    axes, made = ankle
    order = ("tibialis_posterior_tendon", "flexor_digitorum_longus_tendon", "posterior_tibial_artery",
             "tibial_nerve", "flexor_hallucis_longus_tendon")  # fmt: skip
    places = [_at(axes, made, name, 4.0)[:2] for name in order]
    way = places[-1] - places[0]
    along = [float((p - places[0]) @ way) for p in places]
    assert along == sorted(along)
    tibia = made.structures["tibia"].surface
    for name in order:
        assert nearest_points(tibia.bvh, made.structures[name].surface.vertices_mm)[0].min() < 14.0
        assert signed_distances(tibia.bvh, made.structures[name].surface.vertices_mm).min() > -0.3


def test_sural_nerve_and_fibular_tendons_lie_behind_the_lateral_malleolus(ankle):
    axes, made = ankle
    fibula = joint_points(axes, made.structures["fibula"].surface)
    level = fibula[np.abs(fibula[:, 2]) < 3.0]
    nerve, tendons = (_at(axes, made, n, 0.0) for n in ("sural_nerve", "fibularis_tendons"))
    assert 4.0 < level[:, 1].min() - nerve[1] < 22.0
    assert 0.0 < level[:, 1].min() - tendons[1] < 10.0
    assert tendons[1] > nerve[1]
    # in the fat: under the skin, over the deep fascia
    points = made.structures["sural_nerve"].surface.vertices_mm
    z = joint_points(axes, made.structures["sural_nerve"].surface)[:, 2]
    points = points[(z > -10.0) & (z < 40.0)]
    assert contains(made.structures["skin"].surface.bvh, points).all()
    assert contains(made.structures["deep_fascia"].surface.bvh, points).mean() < 0.3


def test_fat_fills_the_ankle_before_the_achilles_tendon_and_no_muscle_reaches_the_joint(ankle):
    axes, made = ankle
    pad = joint_points(axes, made.structures["kager_fat_pad"].surface)
    achilles = joint_points(axes, made.structures["achilles_tendon"].surface)
    assert pad[:, 1].min() > achilles[:, 1].min()
    assert 2.0 < made.structures["kager_fat_pad"].surface.volume_ml < 20.0
    around = held(axes, made.labels, (-20.0, -34.0, -8.0), (20.0, 26.0, 8.0))
    assert around.get("muscle", 0.0) < 0.01
    assert around.get("kager_fat_pad", 0.0) + around.get("deep_fat", 0.0) > 0.1


def test_the_anterior_fat_pad_is_a_wedge_that_points_into_the_joint(ankle):
    axes, made = ankle
    pad = joint_points(axes, made.structures["anterior_ankle_fat_pad"].surface)
    wide = [np.ptp(pad[np.abs(pad[:, 2] - z) < 1.5][:, 0]) for z in (0.0, 18.0)]
    deep = [np.ptp(pad[(np.abs(pad[:, 2] - z) < 1.5) & (np.abs(pad[:, 0]) < 4.0)][:, 1]) for z in (0.0, 18.0)]
    assert deep[1] < 0.8 * deep[0]
    assert wide[1] < wide[0] + 1.0


@pytest.mark.parametrize("bmi", [22.0, 25.0, 32.0])
def test_the_hip_s_nerve_glutei_and_fossa(bmi):
    axes, made = completed("hip", "right", bmi)
    nerve = _at(axes, made, "sciatic_nerve", 0.0, 5.0)
    assert nerve[1] < -30.0  # behind the socket
    for bone in ("femur", "hip_bone"):
        gap = signed_distances(made.structures[bone].surface.bvh,
                               made.structures["sciatic_nerve"].surface.vertices_mm)  # fmt: skip
        assert gap.min() > 1.0, bone
    gluteus = joint_points(axes, made.structures["gluteus_maximus"].surface)
    level = gluteus[np.abs(gluteus[:, 2]) < 5.0]
    assert level[:, 1].mean() < nerve[1]  # the nerve runs under it
    inner, outer = (_at(axes, made, n, 40.0, 5.0) for n in ("gluteus_minimus", "gluteus_medius"))
    assert inner[0] < outer[0]
    pad = made.structures["acetabular_fat_pad"].surface
    assert 0.2 < pad.volume_ml < 8.0
    away = np.linalg.norm(joint_points(axes, pad), axis=1)
    assert away.max() < 36.0
