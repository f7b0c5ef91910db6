"""A hip made whole: envelopes, muscles, vessels, nerves, labrum, capsule and the cavity, from its bones.

Joint coordinates: x lateral, y anterior, z proximal of the femoral head's centre. Paths were drawn for a head
of 23 mm radius and scale with the head found.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from injectplan.anatomy.axes import femoral_neck
from injectplan.anatomy.completion import STANDS_ON, Completed, Mode, Progress
from injectplan.anatomy.completion.bearing import Side, bear
from injectplan.anatomy.completion.dimensions import BMI, Dimension, body_mass, front_fat, sizes_of
from injectplan.anatomy.completion.giving import covering, give_way
from injectplan.anatomy.completion.hipback import add_hind_side
from injectplan.anatomy.completion.hipcavity import hip_cavity
from injectplan.anatomy.completion.limb import Build, levelled
from injectplan.anatomy.completion.making import finished, need
from injectplan.anatomy.completion.skin import SeenSkin
from injectplan.anatomy.completion.solids import (
    Drafts,
    Frame,
    Grid,
    curve,
    ellipse,
    evened,
    laid,
    rounded_path,
    smooth_min,
    tube,
)
from injectplan.anatomy.model import JointAxes, Structure, Subject
from injectplan.frames import unit
from injectplan.kernels.cast import Floats, Floats32

COARSE_MM = 2.5
DRAWN_RADIUS_MM = 23.0
HEAD_ENDS = 0.4  # of the radius along the neck: cartilage covers 70 % of the head's sphere (assumed)
HEAD_MARGIN_MM = 1.0  # its thickness at the periphery (assumed, facts of the hip)
# As one atlas's structures lie from those drawn, root mean square (docs/explanation/joint.md). Its circumflex
# artery runs behind the neck, the one drawn before it, as texts say: its place is not known to better.
BUNDLE_SD_MM, CIRCUMFLEX_SD_MM = 10.0, 29.0
MUSCLE_SD_MM = {"gluteus_medius": 12.0, "tensor_fasciae_latae": 10.0}  # the others 9
EVEN_MM = 10.0  # along the great vessels, over which their turns are evened (assumed)
OFF_BONE_MM = 6.0  # of the femoral vessels' walls, by the muscles that they lie on (assumed)
_D = Dimension

HIP: Mapping[str, Dimension] = {
    "skin_thickness": _D(1.8, 0.4, 1.0, 3.0, "groin and front of the thigh", True),
    "deep_fascia_thickness": _D(1.0, 0.3, 0.5, 2.0, "fascia lata about 1 mm", True),
    "muscle_over_joint": _D(30.0, 5.0, 18.0, 45.0, "sartorius 8-12 and rectus femoris 12-18 mm", True),
    "anterior_recess_thickness": _D(
        6.4, 1.1, 4.0, 9.0, "bone to outer capsule 6.4 ± 1.1 mm, US, doi:10.1007/BF00563203"
    ),
    "capsule_thickness": _D(1.9, 0.3, 1.0, 4.0, "US 1.9 mm men, 1.7 women, J Korean Radiol Soc 1989;25:297"),
    "femoral_head_cartilage_thickness": _D(
        1.75, 0.35, 0.8, 2.8, "hip means 1.35-2.00 mm; head 2.2 above, 1.0 at its edge", True
    ),
    "acetabular_cartilage_thickness": _D(
        1.55, 0.3, 0.7, 2.4, "hip means 1.35-2.00 mm; 1.9 superolateral, 1.2 medial", True
    ),
    "labrum_width": _D(7.3, 0.4, 4.5, 9.0, "MRI 7.3 mm, doi:10.1007/s00167-020-06330-9"),
    "femoral_artery_distance": _D(19.6, 4.2, 8.0, 34.0, "to the joint, MRI, doi:10.1186/s13018-018-0847-5"),
    "femoral_vein_distance": _D(17.5, 4.4, 6.0, 32.0, "to the joint, MRI, doi:10.1186/s13018-018-0847-5"),
    "femoral_nerve_distance": _D(23.6, 5.4, 10.0, 40.0, "to the joint, MRI, doi:10.1186/s13018-018-0847-5"),
    "femoral_artery_diameter": _D(9.0, 1.0, 6.0, 12.0, "9.8 mm men, 8.2 women", True),
    "femoral_vein_diameter": _D(11.0, 2.0, 6.0, 14.0, "at most 114 ± 35 mm², PLoS One 2017 e0182623"),
    "femoral_nerve_diameter": _D(5.3, 0.6, 4.0, 7.0, "21.7 ± 5.2 mm², doi:10.7863/jum.2003.22.2.163"),
    "lateral_circumflex_femoral_artery_diameter": _D(2.5, 0.4, 1.5, 4.0, "2-3 mm", True),
    "lateral_femoral_cutaneous_nerve_diameter": _D(3.0, 0.6, 1.5, 5.0, "3.6 ± 1.3 mm wide"),
    "sciatic_nerve_diameter": _D(8.0, 1.2, 5.0, 12.0, "flat, 40-60 mm² across", True),
    "resting_fluid": _D(4.0, 1.0, 2.0, 8.0, "mL; a normal hip holds a few", True),
    "joint_capacity": _D(
        17.0, 3.0, 10.0, 30.0, "14 mL in small women to 20 mL in large men, doi:10.1007/BF00347339"
    ),
    "effusion_ml": _D(0.0, 0.0, 0.0, 30.0, "fluid beyond the resting volume, as given"),
}
# Skin to joint, straight back, by BMI 22/27/32/38: assumed; it rises with weight (MRI of 200 hips).
SKIN_TO_JOINT_MM = (45.0, 58.0, 72.0, 90.0)


def _axes_of_bones(build: Build, scale: float) -> tuple[Floats, Floats]:
    """Unit directions from the head's centre: along the neck, and out of the acetabulum."""
    pelvis = build.vertices("hip_bone")
    radial = np.linalg.norm(pelvis, axis=1)
    socket = pelvis[radial < 31 * scale]
    neck = femoral_neck(build.given["femur"].surface, build.frame.origin_mm, DRAWN_RADIUS_MM * scale)
    return neck @ build.frame.basis, unit(-unit(socket).mean(axis=0))


def _rim(build: Build, out: Floats, scale: float) -> Floats:
    """Points of the acetabular rim around the direction out of it, (n, 3), every 10 degrees."""
    pelvis = build.vertices("hip_bone")
    near = pelvis[np.linalg.norm(pelvis, axis=1) < 32.0 * scale]
    u = unit(np.cross(out, [0.0, 1.0, 0.3]))
    v = np.cross(out, u)
    turn = np.degrees(np.arctan2(near @ v, near @ u))
    height = near @ out
    points = []
    for angle in np.arange(-180.0, 180.0, 10.0):
        here = np.abs((turn - angle + 180.0) % 360.0 - 180.0) < 9.0
        if here.any():
            edge = near[here][height[here] >= np.quantile(height[here], 0.96)]
            points.append(edge.mean(axis=0))
    return np.array(points)


def _labrum(build: Build, out: Floats, scale: float) -> None:
    """The labrum: a ring on the rim, open below where the transverse ligament closes it."""
    if "labrum" in build.given:
        return
    rim = _rim(build, out, scale)
    half = 0.5 * build.sizes["labrum_width"]
    inward = unit(rim - (rim @ out)[:, None] * out)
    ring = rim + 0.75 * half * out - 0.8 * inward
    down = rim[:, 2] / np.linalg.norm(rim, axis=1)
    start = int(np.argmin(down))
    kept = np.roll(ring, -start, axis=0)[2:-2]
    grid = Grid.between(build.frame, ring.min(axis=0) - 6, ring.max(axis=0) + 6, 0.8)
    build.add("labrum", grid, tube(grid, kept, 0.72 * half), sd=1.0)


def _cartilage(build: Build, neck: Floats, scale: float) -> None:
    """Cartilage of head and socket, unless segmented: the head's goes on outside of the socket."""
    if "femoral_head_cartilage" in build.given and "acetabular_cartilage" in build.given:
        return
    radius = DRAWN_RADIUS_MM * scale
    grid = Grid.between(build.frame, [-radius - 9.0] * 3, [radius + 9.0] * 3, 0.6)
    away = np.sqrt(grid.x**2 + grid.y**2 + grid.z**2)
    along = grid.x * np.float32(neck[0]) + grid.y * np.float32(neck[1]) + grid.z * np.float32(neck[2])
    head = np.maximum(along - np.float32(HEAD_ENDS * radius), np.abs(away - radius) - np.float32(3.0))
    bear(
        build,
        grid,
        Side(
            name="femoral_head_cartilage", away=build.distance(("femur",), grid, 8.0),
            size=HIP["femoral_head_cartilage_thickness"], margin_mm=HEAD_MARGIN_MM, runs_on=head,
        ),
        Side(
            name="acetabular_cartilage", away=build.distance(("hip_bone",), grid, 8.0),
            size=HIP["acetabular_cartilage_thickness"], margin_mm=0.0,
        ),
    )  # fmt: skip


def _core(build: Build, scale: float, front_mm: float) -> Floats32:
    """The thigh and groin under the deep fascia."""
    g, s = build.grid, scale
    front_mm = front_mm + 5.0 * s  # over the joint, which lies aside of the section's crest
    half = curve(g.z, {-95 * s: 0.92, -20 * s: 1.0, 30 * s: 1.0, 80 * s: 0.97})
    ahead = curve(g.z, {-95 * s: front_mm + 2, 0.0: front_mm, 50 * s: front_mm - 2, 90 * s: front_mm + 2})
    back = 62.0 * s
    middle, depth = 0.5 * (ahead - back), 0.5 * (ahead + back)
    core = ellipse(g.x + np.float32(28.0 * s), g.y - middle, half * np.float32(104.0 * s), depth)
    bones = build.kept["bones"] = build.distance(STANDS_ON["hip"], g, 30.0)
    core = smooth_min(core, bones - np.float32(5.0), 16.0)
    soft = build.distance(build.soft_given, g, 24.0)
    core = smooth_min(core, soft - np.float32(1.5), 6.0)
    return np.minimum(levelled(core, g), np.minimum(bones - np.float32(3.0), soft - np.float32(1.2)))


def _spine(build: Build, s: float) -> Floats:
    """The anterior superior iliac spine: the hip bone's foremost and outermost point above the head."""
    pelvis = build.vertices("hip_bone")
    high = pelvis[pelvis[:, 2] > 40.0 * s]
    if not len(high):
        return np.array([28.0, 52.0, 74.0]) * s
    return np.asarray(high[int(np.argmax(high[:, 1] + 0.6 * high[:, 0]))])


def _muscles(build: Build, s: float, front: float) -> None:
    f = front / s
    ax, ay, az = _spine(build, s) / s
    rows: dict[str, list[list[float]]] = {
        "rectus_femoris": [[40, 14, 29, 6, 5], [20, 24, 32, 10, 6.5], [0, 27, 33, 13, 8],
                           [-40, 30, 32, 18, 9], [-110, 34, 33, 20, 11]],
        "sartorius": [[z, ax - 4 - 0.13 * (az - z), min(ay - 10, f - 6), wide, deep] for z, wide, deep in
                      ((az - 8, 6, 4), (45, 8, 4.5), (10, 10, 5), (-40, 11, 5), (-110, 12, 6))],
        "tensor_fasciae_latae": [[70, 33, 30, 5, 8], [35, 46, 26, 7, 13], [0, 54, 18, 7, 16],
                                [-60, 60, 8, 5, 15]],
        "iliacus": [[70, -2, 16, 15, 10], [35, -2, 30, 13, 9], [8, -4, 36, 12, 8.5], [-20, -8, 27, 10, 9],
                    [-46, -16, 6, 8, 8]],
        "psoas_major": [[80, -34, 10, 13, 12], [40, -22, 26, 11, 10], [8, -18, 34, 9, 9],
                        [-20, -16, 24, 8, 9], [-46, -20, 4, 6, 7]],
        "pectineus": [[2, -34, 36, 10, 6], [-20, -30, 36, 14, 9], [-40, -16, 32, 16, 10],
                      [-80, 2, 12, 13, 9]],
        "gluteus_medius": [[105, 22, -28, 14, 34], [55, 30, -22, 15, 32], [15, 44, -20, 11, 20],
                           [-18, 52, -20, 6, 12]],
    }  # fmt: skip
    for i, (name, table) in enumerate(rows.items()):
        scaled = [[v * s for v in row] for row in table]
        kept = [row for row in scaled if row[0] > build.grid.low_mm[2] - 60 * s]
        whole = "iliopsoas" in build.given and name in ("iliacus", "psoas_major")
        if not whole:
            build.band(name, kept, sd=MUSCLE_SD_MM.get(name, 9.0), bump=min(i, 4), spacing_mm=1.2)


def _cords(build: Build, s: float, front: float, core: Floats32) -> None:
    """Femoral nerve, artery and vein from lateral to medial, and the branches near the needle's way."""
    size = build.sizes
    r_head = DRAWN_RADIUS_MM * s

    def over(x: float, gap: float, radius: float) -> float:
        """Depth y at which a cord's wall lies this far from the head's surface."""
        away = r_head + gap + radius
        return float(min(np.sqrt(max(away * away - x * x, 1.0)), front - radius - 2.0))

    artery_r, vein_r = 0.5 * size["femoral_artery_diameter"], 0.5 * size["femoral_vein_diameter"]
    nerve_r = 0.5 * size["femoral_nerve_diameter"]
    ax = -18.0 * s
    vx = ax - artery_r - vein_r - 1.0
    nx = ax + artery_r + nerve_r + 4.0
    ay, vy, ny = (
        over(ax, size["femoral_artery_distance"], artery_r), over(vx, size["femoral_vein_distance"], vein_r),
        over(nx, size["femoral_nerve_distance"], nerve_r),
    )  # fmt: skip
    heights = np.array([72.0, 30.0, 0.0, -40.0, -120.0]) * s
    to_vein, to_nerve = np.array([vx - ax, vy - ay, 0.0]), np.array([nx - ax, ny - ay, 0.0])
    drawn = np.array([[-12, -14], [-4, -3], [0, 0], [-1, -2], [-7, -8]]) * s
    artery = rounded_path(np.column_stack([drawn[:, 0] + ax, drawn[:, 1] + ay, heights]))
    beside = to_vein.copy()
    if "femoral_artery" in build.given or "femoral_vein" in build.given:
        to_vein[1], to_nerve[1] = -1.0, 2.0
    # the bundle keeps its order beside the vessel that was segmented
    if (seen := build.course("femoral_artery", artery)) is not None:
        artery = seen.path_mm
    elif (seen := build.course("femoral_vein", artery + beside)) is not None:
        artery = seen.path_mm - to_vein
    middle = artery[int(np.argmin(np.abs(artery[:, 2])))]
    ax, ay = float(middle[0]), float(middle[1])
    for name, knots, radius in (
        ("femoral_artery", artery, artery_r), ("femoral_vein", artery + to_vein, vein_r),
        ("femoral_nerve", artery + to_nerve, nerve_r),
    ):  # fmt: skip
        # over the pubic ramus they lie on pectineus and psoas, not on bone
        path, bones, off = rounded_path(knots), build.kept["bones"], radius + OFF_BONE_MM
        path = evened(laid(build.grid, path, bones, off, push=True), EVEN_MM)
        path = evened(laid(build.grid, path, bones, off, push=True), EVEN_MM)
        path = laid(build.grid, path, bones, off, push=True)
        build.cord(name, path, radius, sd=BUNDLE_SD_MM)
    lcfa = np.array([[ax, ay - 8, -52 * s], [2 * s, 36 * s, -48 * s], [20 * s, 33 * s, -40 * s],
                     [33 * s, 26 * s, -22 * s], [38 * s, 21 * s, 2 * s]])  # fmt: skip
    radius = 0.5 * size["lateral_circumflex_femoral_artery_diameter"]
    build.cord("lateral_circumflex_femoral_artery", lcfa, radius, sd=CIRCUMFLEX_SD_MM, branch=True)
    # under the inguinal ligament 1-2 cm medial of the spine, then in the deep layer of the fat
    steps = (
        (14.0, 80.0, -7.0),
        (18.0, 62.0, -1.0),
        (26.0, 25.0, 3.0),
        (33.0, -20.0, 3.0),
        (38.0, -110.0, 3.0),
    )
    lfcn = np.array([[x * s, build.front_at(core, x * s, z * s) + off, z * s] for x, z, off in steps])
    radius = 0.5 * size["lateral_femoral_cutaneous_nerve_diameter"]
    build.cord("lateral_femoral_cutaneous_nerve", lfcn, radius, sd=8.0)


def complete_hip(
    axes: JointAxes,
    segmented: Mapping[str, Structure],
    subject: Subject,
    *,
    mode: Mode = "auto",
    parameters: Mapping[str, float] | None = None,
    skin: SeenSkin | None = None,
    drafts: Drafts | None = None,
    progress: Progress | None = None,
) -> Completed:
    """Build a hip's unsegmented tissues and its cavity; see `complete_joint`.

    Raises EmptyStructureError when femur or hip bone is missing.
    """
    need("hip", segmented)
    say = progress or (lambda label, share: None)
    given = dict(parameters or {})
    bmi, said = body_mass(subject)
    sizes = sizes_of(HIP, given)
    frame = Frame.of(axes, drafts)
    femur = frame.to_joint(segmented["femur"].surface.vertices_mm)
    near = np.linalg.norm(femur, axis=1)
    scale = float(np.median(near[near < np.quantile(near, 0.02) * 1.15])) / DRAWN_RADIUS_MM
    scale = float(np.clip(scale, 0.7, 1.4))
    depth = float(np.interp(bmi, BMI, SKIN_TO_JOINT_MM))
    muscle = sizes.values["muscle_over_joint"]
    sizes = front_fat(sizes, max(depth - muscle * scale - sizes.values["skin_thickness"], 4.0), said, given)
    ahead = (DRAWN_RADIUS_MM + muscle) * scale
    floor = max(-100.0 * scale, float(femur[:, 2].min()) + 4.0)
    room = sizes.values["anterior_fat"] + 12.0
    grid = Grid.between(
        frame,
        (-88 * scale, -72 * scale - room, floor),
        (84 * scale + room, ahead + room, 92 * scale),
        COARSE_MM,
    )
    build = Build(frame, sizes, segmented, grid, skin=skin)
    say("hip: skin, fat and fascia", 0.1)
    neck, out = _axes_of_bones(build, scale)
    if mode == "auto":
        front = (DRAWN_RADIUS_MM + sizes["muscle_over_joint"]) * scale
        core = _core(build, scale, front)
        shaped = build.envelopes(
            core, sizes["anterior_fat"], sizes["skin_thickness"], sizes["deep_fascia_thickness"]
        )
        if build.skin is not None:
            core = shaped
        build.kept["core"] = core
        say("hip: muscles, vessels and nerves", 0.3)
        _labrum(build, out, scale)
        _cartilage(build, neck, scale)
        _muscles(build, scale, front)
        _cords(build, scale, front, core)
        add_hind_side(build, scale, out, core)
    say("hip: joint cavity", 0.6)
    cavity = build.with_own_fluid(lambda: hip_cavity(build, neck, out, scale))
    if mode == "auto":
        give_way(build, ("femur",))
    say("hip: labels", 0.9)
    return finished(build, cavity, covering(build, grid), 1.25, mode=mode)
