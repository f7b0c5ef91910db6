"""What all pictures of a report share: fonts, colours, and how a figure becomes an array."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from injectplan.kernels.cast import Bytes
from injectplan.structures import all_structures

NEEDLE_COLOUR = (0.85, 0.10, 0.45)
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def colour_of(name: str) -> tuple[float, float, float]:
    """Return a structure's colour, 0–1; grey for one outside the vocabulary."""
    known = all_structures().get(name)
    red, green, blue = known.color if known else (160, 160, 160)
    return red / 255, green / 255, blue / 255


def array_of(figure: Figure) -> Bytes:
    """Return a figure as RGB, (height, width, 3) uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba(), dtype=np.uint8)[..., :3].copy()
