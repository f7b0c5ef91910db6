"""Files ⇄ volumes, label maps and surfaces, all in patient RAS mm.

Each name is imported when it is first used.
"""

from typing import TYPE_CHECKING

from injectplan.lazy import names_on_use

if TYPE_CHECKING:
    from injectplan.imaging.labels import LabelTable, label_table, shipped_tables
    from injectplan.imaging.surfaces import SurfaceSet, read_surface, read_surfaces, write_surface
    from injectplan.imaging.values import LabelMap, Surface, Volume
    from injectplan.imaging.volumes import read_labelmap, read_volume, write_labelmap, write_volume

__all__ = [
    "LabelMap", "LabelTable", "Surface", "SurfaceSet", "Volume", "label_table", "read_labelmap",
    "read_surface", "read_surfaces", "read_volume", "shipped_tables", "write_labelmap", "write_surface",
    "write_volume",
]  # fmt: skip

__getattr__ = names_on_use(
    __name__,
    {
        "labels": ("LabelTable", "label_table", "shipped_tables"),
        "surfaces": ("SurfaceSet", "read_surface", "read_surfaces", "write_surface"),
        "values": ("LabelMap", "Surface", "Volume"),
        "volumes": ("read_labelmap", "read_volume", "write_labelmap", "write_volume"),
    },
)
