"""The joint as a value: surfaces, directions, cartilage, defects, completion, saved and read whole.

Each name is imported when it is first used.
"""

from typing import TYPE_CHECKING

from injectplan.lazy import names_on_use

if TYPE_CHECKING:
    from injectplan.anatomy.axes import femoral_head, joint_axes
    from injectplan.anatomy.build import (
        build_joint,
        check_given,
        structures_of,
        structures_of_surfaces,
    )
    from injectplan.anatomy.cartilage import CARRIERS, map_cartilage, statistics, thickness_volume
    from injectplan.anatomy.cavity import fill_cavity
    from injectplan.anatomy.defects import Ellipse, find_defects
    from injectplan.anatomy.measures import model_document, model_seconds
    from injectplan.anatomy.model import (
        COVERED,
        DENUDED,
        FAILED,
        OUTSIDE,
        PRIORITY,
        CartilageMap,
        Cavity,
        Defect,
        FillState,
        JointAxes,
        JointModel,
        Recess,
        Structure,
        Subject,
    )
    from injectplan.anatomy.repair import repair_surface
    from injectplan.anatomy.saving import save_joint
    from injectplan.anatomy.store import load_joint
    from injectplan.anatomy.surfaces import mask_of_surface, surface_of_mask
    from injectplan.anatomy.threeways import chord_volume_ml
    from injectplan.anatomy.together import apart

__all__ = [
    "CARRIERS", "COVERED", "DENUDED", "FAILED", "OUTSIDE", "PRIORITY", "CartilageMap", "Cavity", "Defect",
    "Ellipse", "FillState", "JointAxes", "JointModel", "Recess", "Structure", "Subject", "apart",
    "build_joint", "check_given", "chord_volume_ml", "femoral_head", "fill_cavity", "find_defects",
    "joint_axes", "load_joint", "map_cartilage", "mask_of_surface", "model_document", "model_seconds",
    "repair_surface", "save_joint", "statistics", "structures_of", "structures_of_surfaces",
    "surface_of_mask", "thickness_volume",
]  # fmt: skip

__getattr__ = names_on_use(
    __name__,
    {
        "axes": ("femoral_head", "joint_axes"),
        "build": ("build_joint", "check_given", "structures_of", "structures_of_surfaces"),
        "cartilage": ("CARRIERS", "map_cartilage", "statistics", "thickness_volume"),
        "cavity": ("fill_cavity",),
        "defects": ("Ellipse", "find_defects"),
        "measures": ("model_document", "model_seconds"),
        "model": (
            "COVERED",
            "DENUDED",
            "FAILED",
            "OUTSIDE",
            "PRIORITY",
            "CartilageMap",
            "Cavity",
            "Defect",
            "FillState",
            "JointAxes",
            "JointModel",
            "Recess",
            "Structure",
            "Subject",
        ),
        "repair": ("repair_surface",),
        "saving": ("save_joint",),
        "store": ("load_joint",),
        "surfaces": ("mask_of_surface", "surface_of_mask"),
        "threeways": ("chord_volume_ml",),
        "together": ("apart",),
    },
)
