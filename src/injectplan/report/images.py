"""Frames as people look at them, and pictures as files; no plots, which take long to import."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from injectplan.kernels.cast import Bytes
from injectplan.ultrasound.values import Frame

PNG_LEVEL = 3  # of 9: grain does not shrink, and the rest takes a third of the time of level 6


def save(picture: npt.NDArray[np.uint8], path: Path, *, format: str | None = None) -> None:
    """Write an RGB or grey picture as PNG."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.save(path, format=format or "PNG", compress_level=PNG_LEVEL)


def read(path: Path) -> Bytes:
    """Read back a picture that `save` wrote."""
    with Image.open(path) as image:
        return np.asarray(image)


def shown(frame: Frame, *, trust: bool = False) -> Bytes:
    """Return a frame as people look at it: grey (h, w); RGB (h, w, 3) with colour, or with doubt tinted.

    Colour: red to yellow towards the probe, blue to cyan away from it, full at the Nyquist speed.
    trust : tint what ray theory does not hold for.
    """
    coloured = frame.colour is not None and bool(np.isfinite(frame.colour.velocity_mm_s).any())
    if not coloured and not trust:
        return frame.bmode
    picture = np.repeat(frame.bmode[:, :, None], 3, axis=2)
    if trust:
        doubt = ~frame.trust & np.isfinite(frame.depth_mm)
        picture[doubt] = (0.6 * picture[doubt] + 0.4 * np.array(DOUBT_COLOUR)).astype(np.uint8)
    if coloured:
        assert frame.colour is not None
        speed = frame.colour.velocity_mm_s
        moving = np.isfinite(speed)
        part = np.clip(np.abs(speed[moving]) / frame.colour.nyquist_mm_s, 0.0, 1.0)[:, None]
        toward = speed[moving][:, None] > 0
        low, high = (np.where(toward, *ends) for ends in _FLOW_COLOURS)
        picture[moving] = (low + part * (high - low)).astype(np.uint8)
    return picture


DOUBT_COLOUR = (205, 120, 30)
# Slow and fast: towards the probe, away from it.
_FLOW_COLOURS = (((120.0, 0.0, 0.0), (0.0, 0.0, 130.0)), ((255.0, 230.0, 60.0), (90.0, 240.0, 255.0)))


def save_gif(frames: Sequence[npt.NDArray[np.uint8]], path: Path, *, frame_ms: int = 80) -> None:
    """Write grey or RGB frames as an animation."""
    frames = same_depth(frames)
    images = [Image.fromarray(np.ascontiguousarray(f)) for f in frames]
    images[0].save(path, save_all=True, append_images=images[1:], duration=frame_ms, loop=0)


def same_depth(frames: Sequence[npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.uint8]]:
    """Make all frames RGB where one of them is."""
    if all(f.ndim == 2 for f in frames):
        return list(frames)
    return [np.repeat(f[:, :, None], 3, axis=2) if f.ndim == 2 else f for f in frames]


def png_bytes(picture: npt.NDArray[np.uint8]) -> bytes:
    """Return a picture as the bytes of a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(stream, format="PNG", compress_level=PNG_LEVEL)
    return stream.getvalue()
