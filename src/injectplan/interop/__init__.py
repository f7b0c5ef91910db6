"""What other programs read: Slicer markups, tables, entry quality on the skin, sequences and films."""

from injectplan.interop.markups import read_lines, write_axes, write_markups
from injectplan.interop.sequences import write_preview_sequence, write_sequence
from injectplan.interop.tables import write_plan_csv, write_skin_map
from injectplan.interop.video import has_video, write_mp4

__all__ = [
    "has_video", "read_lines", "write_axes", "write_markups", "write_mp4", "write_plan_csv",
    "write_preview_sequence", "write_sequence", "write_skin_map",
]  # fmt: skip
