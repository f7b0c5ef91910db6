"""Ultrasound: an acoustic scene, and the frames a probe sees of it."""

from injectplan.ultrasound.colour import ColourMap, ColourMode
from injectplan.ultrasound.distension import Distension, distend
from injectplan.ultrasound.pressure import Pressed, press
from injectplan.ultrasound.scene import AcousticScene
from injectplan.ultrasound.simulate import FrameBuffers, simulate_frame
from injectplan.ultrasound.values import Display, Frame, NeedlePose

__all__ = [
    "AcousticScene",
    "ColourMap",
    "ColourMode",
    "Display",
    "Distension",
    "Frame",
    "FrameBuffers",
    "NeedlePose",
    "Pressed",
    "distend",
    "press",
    "simulate_frame",
]  # fmt: skip
