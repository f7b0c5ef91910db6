"""Made-up joints and bodies whose answers are known: `make_phantom(name, parameters)`.

Each name is imported when it is first used.
"""

from typing import TYPE_CHECKING

from injectplan.lazy import names_on_use

if TYPE_CHECKING:
    from injectplan.phantoms.analytic import analytic_structures
    from injectplan.phantoms.ankle import ankle_phantom
    from injectplan.phantoms.catalogue import (
        make_phantom,
        phantom_names,
        phantom_parameters,
        phantom_surfaces,
        phantom_table,
        read_parameters,
    )
    from injectplan.phantoms.export import export_phantom
    from injectplan.phantoms.hip import hip_phantom
    from injectplan.phantoms.knee import knee_phantom
    from injectplan.phantoms.tissues import tissues_of
    from injectplan.phantoms.values import Phantom, Truth

__all__ = [
    "Phantom",
    "Truth",
    "analytic_structures",
    "ankle_phantom",
    "export_phantom",
    "hip_phantom",
    "knee_phantom",
    "make_phantom",
    "phantom_names",
    "phantom_parameters",
    "phantom_surfaces",
    "phantom_table",
    "read_parameters",
    "tissues_of",
]

__getattr__ = names_on_use(
    __name__,
    {
        "analytic": ("analytic_structures",),
        "ankle": ("ankle_phantom",),
        "catalogue": (
            "make_phantom", "phantom_names", "phantom_parameters", "phantom_surfaces", "phantom_table",
            "read_parameters",
        ),
        "export": ("export_phantom",),
        "hip": ("hip_phantom",),
        "knee": ("knee_phantom",),
        "tissues": ("tissues_of",),
        "values": ("Phantom", "Truth"),
    },
)  # fmt: skip
