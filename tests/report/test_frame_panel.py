"""A frame's panel names all that it shows, and no name runs off the page."""

import numpy as np
import pytest

from injectplan.frames import Pose
from injectplan.report.pictures import frame_panel
from injectplan.structures import all_structures
from injectplan.ultrasound.values import Frame

LONGEST = sorted(all_structures(), key=len)[::-1]


def frame(names: list[str]) -> Frame:
    shape = (240, 320)
    labels = np.zeros(shape, np.uint16)
    for i, band in enumerate(np.array_split(np.arange(shape[1]), len(names))):
        labels[:, band] = i + 1
    return Frame(
        bmode=np.full(shape, 90, np.uint8), envelope_db=np.zeros((1, 1), np.float32), sample_mm=0.1,
        line_origin_mm=np.zeros((1, 3)), line_direction=np.array([[0.0, 1.0, 0.0]]), labels=labels,
        label_names=dict(enumerate(names, start=1)), needle=np.zeros(shape, np.uint8),
        shadow=np.zeros(shape, np.float32), trust=np.ones(shape, bool), depth_mm=np.zeros(shape, np.float32),
        pixel_to_patient=np.diag([0.1, 0.1, 1.0, 1.0]),
        probe_to_patient=Pose.from_axes([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], np.zeros(3)),
    )  # fmt: skip


@pytest.mark.parametrize("count", [1, 6, 19, 30])
def test_every_name_is_on_the_page(count: int) -> None:
    picture = frame_panel(frame(LONGEST[:count]))
    edges = np.concatenate([picture[:, :3], picture[:, -3:]], axis=1)
    assert (edges[picture.shape[0] // 2 :] == 255).all()
    assert (picture[-3:] == 255).all()
