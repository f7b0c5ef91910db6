"""What lies behind and beside a hip, and in the floor of its socket: glutei, sciatic nerve, fossa fat.

Courses are those of anatomy texts, drawn for a head of 23 mm radius (assumed) and scaled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from injectplan.anatomy.completion.limb import Build
from injectplan.anatomy.completion.solids import Grid, laid, rounded_path, smooth_max, upsample
from injectplan.anatomy.model import PRIORITY
from injectplan.kernels.cast import Floats, Floats32

GLUTEI_SD_MM = 14.0  # as an atlas's gluteus maximus lies from the one drawn (the minimus 10)
SCIATIC_SD_MM = 10.0  # as the femoral bundle (no atlas's nerve was at hand)
OFF_BONE_MM = 3.0  # between the nerve and the ischium: obturator internus and gemelli
FILLING = PRIORITY["muscle"] + 2 - PRIORITY["fat_pad"]  # over muscle without a name, under everything else
FOSSA_MM = 31.0  # from the head's centre to the floor of the fossa
LEAST_GAP_MM = 2.5  # between the two surfaces: less is the joint's own slit

Rows = Sequence[Sequence[float]]
MUSCLES: Mapping[str, Rows] = {
    "gluteus_maximus": ((110, -30, -50, 30, 10), (60, -4, -56, 42, 12), (15, 14, -55, 42, 12),
                        (-30, 30, -46, 28, 11), (-95, 40, -26, 9, 8)),
    "gluteus_minimus": ((90, 8, -8, 7, 18), (55, 20, -8, 7, 18), (25, 34, -8, 7, 13), (0, 45, -3, 5, 8)),
}  # fmt: skip


def add_hind_side(build: Build, s: float, out: Floats, core: Floats32) -> None:
    """Add gluteus maximus and minimus, the sciatic nerve and the fat in the acetabular fossa."""
    under = np.float32(build.sizes["deep_fascia_thickness"] + 0.4)

    def inside(grid: Grid) -> Floats32:
        return np.asarray(upsample(core, build.grid, grid) + under, np.float32)

    for i, (name, rows) in enumerate(MUSCLES.items()):
        scaled = [[[v * s for v in row] for row in rows]]
        build.bands(name, scaled, build.grid, sd=GLUTEI_SD_MM, bump=i, spacing_mm=2.0, cut=inside)
    radius = 0.5 * build.sizes["sciatic_nerve_diameter"]
    # from where it leaves the pelvis, over the ischium's hind face
    knots = np.array([[-14, -50, 50], [-4, -49, 36], [6, -46, 10], [11, -43, -30], [9, -40, -70],
                      [7, -40, -120]]) * s  # fmt: skip
    knots = knots[knots[:, 2] > build.grid.low_mm[2] - 30.0 * s]
    path = laid(build.grid, rounded_path(knots), -core, radius + 12.0 * s, push=True)  # under the gluteus
    path = laid(build.grid, path, build.kept["bones"], radius + OFF_BONE_MM, push=True)
    build.cord("sciatic_nerve", path, radius, sd=SCIATIC_SD_MM)
    _fossa_fat(build, s, out)


def _fossa_fat(build: Build, s: float, out: Floats) -> None:
    """Fat where the socket's floor stands off the head: what neither bone nor cartilage fills."""
    reach = FOSSA_MM * s
    grid = Grid.between(build.frame, [-reach - 2.0] * 3, [reach + 2.0] * 3, 1.0)
    radial = np.sqrt(grid.x**2 + grid.y**2 + grid.z**2)
    along = sum(np.float32(out[a]) * g for a, g in enumerate((grid.x, grid.y, grid.z)))
    names = ("femur", "femoral_head_cartilage")
    head = build.distance(names, grid, 6.0)
    socket = build.distance(("hip_bone", "acetabular_cartilage"), grid, 6.0)
    solid = smooth_max(radial - np.float32(reach), along + np.float32(4.0 * s), 2.0)
    solid = np.maximum(solid, np.maximum(np.float32(0.2) - head, np.float32(0.1) - socket))
    solid = np.maximum(solid, np.float32(LEAST_GAP_MM) - head - socket)
    if (solid < 0.0).any():
        build.add("acetabular_fat_pad", grid, np.asarray(solid, np.float32), sd=1.5, bump=FILLING)
