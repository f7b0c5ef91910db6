"""`frame --injected --colour --force --trust`: what is written, and what is refused."""

from __future__ import annotations

import numpy as np
from PIL import Image

BALL = """
[view]
probe_to_patient = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -30], [0, 0, 0, 1]]
[probe]
kind = "linear"
lines = 32
elevation_planes = 3
[display]
width_px = 64
height_px = 64
"""


def test_colour_adds_its_arrays_and_trust_its_tint(command, case_file, tmp_path):
    case = case_file(BALL, anatomy='phantom = "sphere"')
    done = command("frame", case, "--quiet", "--colour", "--trust", "--out", tmp_path / "f.npz", "--png",
                   tmp_path / "f.png")  # fmt: skip
    assert done.code == 0, done.err
    with np.load(tmp_path / "f.npz") as arrays:
        assert np.isnan(arrays["colour_mm_s"]).all(), "nothing flows"
        assert arrays["colour_mm_s"].shape == arrays["bmode"].shape
        assert float(arrays["colour_nyquist_mm_s"]) > 0
        doubt = ~arrays["trust"] & np.isfinite(arrays["depth_mm"])
    picture = np.asarray(Image.open(tmp_path / "f.png"))
    assert picture.ndim == 3
    tinted = picture[..., 0].astype(int) - picture[..., 2] > 20
    assert np.array_equal(tinted, doubt)


def test_what_makes_no_sense_is_one_line_and_exit_2(command, case_file, tmp_path):
    case = case_file(BALL, anatomy='phantom = "sphere"')
    for options in (["--injected", "1"], ["--injected", "-1"], ["--injected", "nan"], ["--force", "50"]):
        done = command("frame", case, "--quiet", *options, "--out", tmp_path / "x.npz")
        assert done.code == 2, options
        assert done.err.startswith("error: ")
        assert done.err.count("\n") == 1
        assert not (tmp_path / "x.npz").exists()
