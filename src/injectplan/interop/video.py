"""MP4 films of frames, where the extra `video` (imageio-ffmpeg, which brings its own ffmpeg) is installed."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from injectplan.errors import BadInputError, FileError
from injectplan.files import atomic_file


def has_video() -> bool:
    """Whether films can be written."""
    return importlib.util.find_spec("imageio_ffmpeg") is not None


def write_mp4(frames: Sequence[npt.NDArray[np.uint8]], path: Path, *, frame_ms: int = 80) -> None:
    """Write grey (h, w) or RGB (h, w, 3) frames of one size as H.264; odd sizes are padded by one pixel.

    One thread and no dates, so that the same frames give the same bytes.
    Raises BadInputError when there is no frame, they differ in size, or the extra is not installed.
    """
    if not frames or len({f.shape for f in frames}) != 1:
        raise BadInputError("a film needs one or more frames of one size")
    if not has_video():
        raise BadInputError("writing an MP4 needs the extra `video`: pip install 'injectplan[video]'")
    import imageio_ffmpeg

    height, width = frames[0].shape[:2]
    pad = ((0, height % 2), (0, width % 2), (0, 0))[: frames[0].ndim]
    raw = np.stack([np.pad(f, pad, mode="edge") for f in frames]).tobytes()
    size, layout = f"{width + width % 2}x{height + height % 2}", "gray" if frames[0].ndim == 2 else "rgb24"
    with atomic_file(path) as part:
        command = [
            imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", layout,
            "-s", size, "-r", f"{1000.0 / frame_ms:g}", "-i", "-", "-an", "-c:v", "libx264", "-crf", "18",
            "-pix_fmt", "yuv420p", "-threads", "1", "-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v",
            "+bitexact", "-f", "mp4", str(part),
        ]  # fmt: skip
        done = subprocess.run(command, input=raw, capture_output=True, check=False)
        if done.returncode:
            why = done.stderr.decode(errors="replace").strip().splitlines()
            raise FileError(f"{path}: the film could not be written ({why[-1] if why else 'ffmpeg failed'})")
