"""Whether the two bones of a knee can stand so in one leg: the identity and the tibia's rotation."""

from __future__ import annotations

import math

# HKA deviation = mLDFA − MPTA + JLCA is exact in one plane. On three real legs it is off by 0.1 to 1.4°,
# and by up to 0.3° more for every degree of flexion (2.3° at 7°, 5.4° at 17°, 8.4° at 27°).
MOST_IDENTITY_DEG, IDENTITY_PER_FLEXION = 4.0, 0.2
# External rotation of the tibia between the two posterior condylar lines: 8.5 to 16.8° on these legs; a range
# of about four standard deviations of 6° on both sides (assumed).
ROTATION_DEG = (-12.0, 36.0)


def contradiction(identity_deg: float, flexion_deg: float, rotation_deg: float) -> str:
    """Return why the bones contradict each other, empty where they do not; NaN means not measured.

    identity_deg : HKA deviation − (mLDFA − MPTA + JLCA).  flexion_deg : of the knee.
    rotation_deg : of the tibia against the femur, external positive.
    """
    bend = abs(flexion_deg) if math.isfinite(flexion_deg) else 0.0
    limit = MOST_IDENTITY_DEG + IDENTITY_PER_FLEXION * bend
    if math.isfinite(identity_deg) and abs(identity_deg) > limit:
        return (
            f"HKA deviation differs from mLDFA − MPTA + JLCA by {identity_deg:+.1f}° (limit {limit:.1f}° at "
            f"{bend:.0f}° of flexion): the bones are turned against each other, or landmarks are swapped"
        )
    low, high = ROTATION_DEG
    if math.isfinite(rotation_deg) and not low <= rotation_deg <= high:
        return (
            f"the tibia stands rotated by {rotation_deg:+.0f}° against the femur ({low:g}° to {high:g}°): "
            "the bones are turned against each other, or landmarks are swapped"
        )
    return ""
