"""From position and direction vectors in patient coordinates (LPS+) to an affine in scanner coordinates (RAS+, metres)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def centred_affine(matrix: tuple[int, int, int], fov: tuple[float, float, float]) -> Float[np.ndarray, "4 4"]:
    """Axis-aligned affine that puts voxel ``n // 2`` of each axis at the origin.

    Parameters
    ----------
    matrix
        Sizes (z, y, x).
    fov
        Lengths (z, y, x) in metres.
    """
    size = np.array(matrix[::-1], dtype=np.float64)
    voxel = np.array(fov[::-1], dtype=np.float64) / size
    affine = np.diag([*voxel, 1.0])
    affine[:3, 3] = -voxel * (size // 2)
    return affine


def affine_from_vectors(
    columns: Float[np.ndarray, "3 3"], voxel: Float[np.ndarray, "3"], origin: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "4 4"]:
    """Affine of voxel index (x, y, z) to RAS+ metres.

    Parameters
    ----------
    columns
        Unit vectors of the x, y and z axis as columns, LPS+.
    voxel
        Voxel sizes (x, y, z) in metres.
    origin
        LPS+ position of voxel (0, 0, 0) in metres.
    """
    affine = np.eye(4)
    affine[:3, :3] = LPS_TO_RAS @ (columns * voxel)
    affine[:3, 3] = LPS_TO_RAS @ origin
    return affine


def apart(one: Float[np.ndarray, "4 4"], other: Float[np.ndarray, "4 4"], shape: tuple[int, int, int]) -> float:
    """How far a corner voxel of an image lies under one affine from its place under the other, at most.

    Affine maps differ most at a corner, so that no voxel is further away.

    Parameters
    ----------
    one, other
        Voxel index (x, y, z, 1) to positions, of one unit.
    shape
        Sizes (z, y, x).
    """
    last = np.array(shape[::-1], dtype=np.float64) - 1
    corners = np.array([[*(last * at), 1.0] for at in np.ndindex(2, 2, 2)])
    return float(np.linalg.norm((np.asarray(one) - np.asarray(other))[:3] @ corners.T, axis=0).max())


def same_place(one: Float[np.ndarray, "4 4"], other: Float[np.ndarray, "4 4"], shape: tuple[int, int, int]) -> bool:
    """Whether all voxels of an image of `shape` (z, y, x) lie within a twentieth of a voxel's shortest edge under both affines."""
    edge = float(np.linalg.norm(np.asarray(one)[:3, :3], axis=0).min())
    return apart(one, other, shape) <= 0.05 * edge
