"""What other programs read: Slicer markups, tables, the map of entry quality on the skin."""

from injectplan.interop.markups import read_lines, write_axes, write_markups
from injectplan.interop.tables import write_plan_csv, write_skin_map

__all__ = ["read_lines", "write_axes", "write_markups", "write_plan_csv", "write_skin_map"]
