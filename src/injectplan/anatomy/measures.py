"""What a joint model says of itself: the document that `injectplan model` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from injectplan.anatomy.cartilage import statistics
from injectplan.anatomy.counting import counting_sd_ml
from injectplan.anatomy.menisci import MeniscusMeasures, measure_menisci
from injectplan.anatomy.model import (
    COVERED,
    DENUDED,
    OUTSIDE,
    CartilageMap,
    Cavity,
    Defect,
    JointModel,
    Structure,
)
from injectplan.anatomy.prisms import prism_volumes_mm3
from injectplan.anatomy.threeways import volumes
from injectplan.documents import SCHEMA, plain
from injectplan.imaging.values import LabelMap, Surface
from injectplan.kernels.cast import Floats
from injectplan.kernels.field import sample_many
from injectplan.measure import NOT_A_DEVICE


def _statistics(values: Floats, areas: Floats, where: np.ndarray) -> dict[str, Any]:
    found = statistics(values, areas, where)
    document: dict[str, Any] = {
        "mean": found.mean, "median": found.median, "p95": found.p95, "sd": found.sd, "n": found.n,
    }  # fmt: skip
    if found.n == 0:
        document["reason"] = "no covered cartilage"
    return document


def cartilage_document(measured: CartilageMap, bone: Surface) -> dict[str, Any]:
    """One cartilage: thickness along the normal and nearest, coverage, bare area, volume, regions.

    Regions' areas sum to the whole's. Their volumes share the whole's by the prisms that stand on them, so
    they sum to it as well.
    """
    areas = bone.vertex_areas_mm2
    inside, covered = measured.state != OUTSIDE, measured.state == COVERED
    heights = np.nan_to_num(measured.thickness_mm)
    prisms = np.maximum(prism_volumes_mm3(bone, np.zeros(len(heights)), heights), 0.0) * covered
    whole = float(prisms.sum())
    document = _part(measured, areas, inside) | {
        "volume_ml": measured.volume_ml,
        "failed_vertices": int((inside & ~covered & (measured.state != DENUDED)).sum()),
        "trustworthy": measured.trustworthy,
        "bone": measured.bone,
        "regions": {},
    }
    for number, name in enumerate(measured.regions, start=1):
        here = measured.region == number
        share = float(prisms[here].sum()) / whole if whole > 0.0 else 0.0
        document["regions"][name] = _part(measured, areas, here) | {"volume_ml": share * measured.volume_ml}
    return document


def _part(measured: CartilageMap, areas: Floats, where: np.ndarray) -> dict[str, Any]:
    covered = where & (measured.state == COVERED)
    area, covered_area = float(areas[where].sum()), float(areas[covered].sum())
    document: dict[str, Any] = {
        "thickness_mm": _statistics(measured.thickness_mm, areas, covered),
        "nearest_mm": _statistics(measured.nearest_mm, areas, covered),
        "area_mm2": area,
        "covered_area_mm2": covered_area,
        "covered_fraction": covered_area / area if area > 0.0 else None,
        "denuded_area_mm2": float(areas[where & (measured.state == DENUDED)].sum()),
    }
    if area <= 0.0:
        document["reason"] = "no vertex of the bone lies in it"
    return document


def labelled_ml(cavity: Cavity, labels: LabelMap) -> float:
    """Volume of the voxels that a label map gives to a cavity's fluid, mL.

    Fluid that was segmented has a label of its own, above the cavity's; of it counts what lies in the cavity.
    """
    seen = np.argwhere(labels.mask("synovial_fluid"))
    inside = int((sample_many(cavity.field, labels.to_patient(seen)) <= 0.0).sum()) if len(seen) else 0
    return labels.volume_ml("joint_cavity") + inside * labels.voxel_volume_mm3 / 1000.0


def cavity_document(cavity: Cavity, labels: LabelMap) -> dict[str, Any] | None:
    """The cavity: its volume three ways, and its recesses; None where there is none."""
    if not len(cavity.surface.triangles):
        return None
    found = volumes(cavity.surface)
    return {
        "voxel_volume_ml": found.voxel_ml,
        "mesh_volume_ml": found.mesh_ml,
        "ray_volume_ml": found.ray_ml,
        "labelled_volume_ml": labelled_ml(cavity, labels),
        "resting_volume_ml": cavity.resting_volume_ml,
        "source": cavity.source,
        "segmented_volume_ml": cavity.segmented_ml,
        "completed_volume_ml": max(cavity.resting_volume_ml - cavity.segmented_ml, 0.0),
        "recesses": {
            r.name: {
                "center_mm": r.center_mm, "volume_ml": r.volume_ml, "thickness_mm": r.thickness_mm,
                "extent_mm": r.extent_mm,
            }
            for r in cavity.recesses
        },
        "assumed": list(cavity.assumed),
    }  # fmt: skip


def meniscus_document(measured: MeniscusMeasures) -> dict[str, Any]:
    """One meniscus: how far it stands out of its plateau and how much cartilage it covers."""
    document = {
        "extrusion_mm": measured.extrusion_mm, "extrusion_sd_mm": measured.extrusion_sd_mm,
        "coverage_fraction": measured.coverage_fraction, "covered_area_mm2": measured.covered_area_mm2,
    }  # fmt: skip
    return document | ({"reason": measured.reason} if measured.reason else {})


def defect_document(defect: Defect) -> dict[str, Any]:
    """One defect."""
    document = {
        "structure": defect.structure, "zone": defect.zone, "area_mm2": defect.area_mm2,
        "depth_mm": defect.depth_mm, "volume_ml": defect.volume_ml, "center_mm": defect.center_mm,
        "grade": defect.grade, "source": defect.source, "left_mm": defect.left_mm,
        "finding": defect.finding,
    }  # fmt: skip
    if not np.isfinite(defect.depth_mm):
        document["reason"] = "this cartilage's thickness is not measured"
    return document


def model_document(joint: JointModel, *, seconds: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Return the joint's document: structures, cartilage, menisci, cavity, defects, warnings, seconds.

    seconds : timings to print; None takes those of the joint's own building (none for a loaded joint).
    """
    document = {
        "schema": SCHEMA,
        "purpose": NOT_A_DEVICE,
        "joint": {
            "kind": joint.kind, "side": joint.side, "origin_mm": joint.axes.origin_mm,
            "lateral": joint.axes.lateral, "anterior": joint.axes.anterior, "proximal": joint.axes.proximal,
            "flexion_deg": joint.axes.flexion_deg,
        },
        "structures": {
            name: {
                "voxel_volume_ml": s.voxel_volume_ml, "mesh_volume_ml": s.surface.volume_ml,
                "closed": s.surface.closed, "manifold": s.surface.manifold, "source": s.source,
                "label": s.label, "repaired": list(s.repaired), "tissue": s.tissue, "risk": s.risk,
                "placement_sd_mm": s.placement_sd_mm, "voxel_volume_sd_ml": counting_sd_of(joint, s),
            }
            for name, s in joint.structures.items()
        },
        "cartilage": {
            name: cartilage_document(m, joint.structures[m.bone].surface)
            | {"volume_sd_ml": counting_sd_of(joint, joint.structures[name])}
            for name, m in joint.cartilage.items()
        },
        "menisci": {
            name: meniscus_document(m)
            for name, m in measure_menisci(joint.structures, joint.cartilage, joint.axes).items()
        },
        "cavity": cavity_document(joint.cavity, joint.labels),
        "defects": [defect_document(d) for d in joint.defects],
        "warnings": [n.to_json() for n in joint.notices],
        "assumed": list(joint.assumed),
        "input_sha256": joint.input_sha256,
        "seconds": model_seconds(joint) if seconds is None else _all_steps(seconds),
    }  # fmt: skip
    return dict(plain(document))


def counting_sd_of(joint: JointModel, solid: Structure) -> float:
    """Spread of a segmented solid's volume from counting voxels, mL; NaN where no voxels were given."""
    if joint.input_affine is None or solid.source != "segmented":
        return float("nan")
    return counting_sd_ml(solid.surface.area_mm2, joint.input_affine)


def model_seconds(joint: JointModel) -> dict[str, float]:
    """Return how long each step of a joint's building took; 0 for a joint that was loaded."""
    return _all_steps(joint.seconds)


def _all_steps(seconds: Mapping[str, float]) -> dict[str, float]:
    return {"surfaces": 0.0, "thickness": 0.0, "completion": 0.0, "total": 0.0, **seconds}
