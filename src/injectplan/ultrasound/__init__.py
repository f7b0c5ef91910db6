"""Ultrasound: an acoustic scene, and the frames a probe sees of it."""

from injectplan.ultrasound.scene import AcousticScene
from injectplan.ultrasound.simulate import FrameBuffers, simulate_frame
from injectplan.ultrasound.values import Display, Frame, NeedlePose

__all__ = ["AcousticScene", "Display", "Frame", "FrameBuffers", "NeedlePose", "simulate_frame"]
