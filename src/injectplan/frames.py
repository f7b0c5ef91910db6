"""Rigid poses between named frames, and the only LPS⇄RAS flip of the project.

A pose is named `a_to_b` and maps points of frame a to frame b. Patient points are RAS millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from injectplan.kernels.cast import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """A rigid motion: rotation (3, 3), then translation (3,) in mm."""

    rotation: Floats
    translation_mm: Floats

    def __post_init__(self) -> None:
        rotation = np.array(self.rotation, dtype=np.float64).reshape(3, 3)
        translation = np.array(self.translation_mm, dtype=np.float64).reshape(3)
        if not (np.isfinite(rotation).all() and np.isfinite(translation).all()):
            raise ValueError("a pose must be finite")
        if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-6) or np.linalg.det(rotation) < 0:
            raise ValueError("a pose's rotation must be orthonormal and right-handed")
        rotation.setflags(write=False)
        translation.setflags(write=False)
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "translation_mm", translation)

    @classmethod
    def identity(cls) -> Pose:
        """Return the pose that changes nothing."""
        return cls(np.eye(3), np.zeros(3))

    @classmethod
    def from_matrix(cls, matrix: Floats) -> Pose:
        """Return the pose of a homogeneous matrix (4, 4) or (3, 4)."""
        matrix = np.asarray(matrix, dtype=np.float64)
        return cls(matrix[:3, :3], matrix[:3, 3])

    @classmethod
    def from_axes(cls, x: Floats, y: Floats, z: Floats, origin_mm: Floats) -> Pose:
        """Return the pose of a frame whose unit axes and origin are given in the target frame."""
        return cls(np.column_stack([x, y, z]), np.asarray(origin_mm))

    @property
    def matrix(self) -> Floats:
        """The homogeneous matrix, (4, 4)."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.rotation
        matrix[:3, 3] = self.translation_mm
        return matrix

    def apply(self, points_mm: Floats) -> Floats:
        """Map points (..., 3) in mm."""
        return np.asarray(points_mm, dtype=np.float64) @ self.rotation.T + self.translation_mm

    def rotate(self, vectors: Floats) -> Floats:
        """Turn directions (..., 3), without the translation."""
        return np.asarray(vectors, dtype=np.float64) @ self.rotation.T

    def inverse(self) -> Pose:
        """Return the motion back."""
        return Pose(self.rotation.T, -self.rotation.T @ self.translation_mm)

    def __matmul__(self, other: Pose) -> Pose:
        """Return the motion that does `other` first: (b_to_c @ a_to_b) is a_to_c."""
        return Pose(
            self.rotation @ other.rotation, self.rotation @ other.translation_mm + self.translation_mm
        )


_HALF_TURN = np.array([-1.0, -1.0, 1.0])


def flip_lps_ras(vectors: Floats) -> Floats:
    """Turn points or directions (..., 3) from LPS to RAS or back: a half turn about z, its own inverse."""
    return np.asarray(vectors, dtype=np.float64) * _HALF_TURN


def flip_affine_lps_ras(affine: Floats) -> Floats:
    """Turn an affine (4, 4) whose target is LPS into one whose target is RAS, or back."""
    return np.diag([*_HALF_TURN, 1.0]) @ np.asarray(affine, dtype=np.float64)


def unit(vectors: Floats) -> Floats:
    """Scale vectors (..., 3) to unit length; a zero vector raises ValueError."""
    vectors = np.asarray(vectors, dtype=np.float64)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if np.any(length == 0):
        raise ValueError("a zero vector has no direction")
    return vectors / length


def angle_deg(a: Floats, b: Floats) -> float:
    """Angle between two directions in degrees, accurate near 0 and 180 (Kahan's form)."""
    a, b = unit(a), unit(b)
    return float(np.degrees(2.0 * np.arctan2(np.linalg.norm(a - b), np.linalg.norm(a + b))))
