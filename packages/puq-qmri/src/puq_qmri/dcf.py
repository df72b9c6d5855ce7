"""Density compensation: a weight for each sample of a trajectory, the area of k-space that the sample stands for.

The unit is the cell of the image's grid, so that on the grid's own points all weights are 1. ``A^H D A`` is then close to the
identity for smooth images: the density-compensated adjoint has the amplitude of the image, also where the trajectory leaves out
the corners of k-space or is undersampled outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32
from numpy.typing import NDArray

from medcore.errors import InputError
from medcore.plugins import unknown_name
from puq_qmri.choices import DENSITIES

_SAME = 1e-5
"""Radians within which two samples are one point measured twice; a cell of 512 voxels an axis is a thousand times wider."""
_FACETS = 24
"""Sides of the hull, the nearest ones, that may cut a cell."""
_ESTIMATE = 64
"""FFTW's quick way to plan."""
_STRAIGHT = 0.5
"""Distances between samples by which they may lie beside a straight spoke, as they do where gradients lag."""
_CENTRED = 3
"""Distances between samples by which the two ends of a spoke may differ in their distance from the centre."""
_GAP = 4
"""Mean angles between spokes that lie between two neighbours at most; the golden angle leaves 2, a random choice of its spokes 3."""


def density_compensation(
    kind: str, traj: NDArray[np.float32], matrix: Sequence[int]
) -> Float32[np.ndarray, "contrast spoke sample"]:
    """The weights of one kind, see :func:`pipe_menon`, :func:`voronoi` and :func:`radial_ramp`.

    Parameters
    ----------
    kind
        ``pipe-menon`` and ``voronoi`` are for every trajectory in two or three dimensions, ``radial`` for spokes in a plane.
    traj
        (contrast, spoke, sample, dim) in radians per sample.
    matrix
        Image matrix (z, y, x).

    Raises
    ------
    ConfigError
        If there is no such kind.
    InputError
        If the kind does not fit the trajectory.
    """
    if kind not in DENSITIES:
        raise unknown_name("density compensation", kind, list(DENSITIES))
    return {"pipe-menon": pipe_menon, "voronoi": voronoi, "radial": radial_ramp}[kind](traj, matrix)


def pipe_menon(
    traj: NDArray[np.float32], matrix: Sequence[int], *, iterations: int = 30
) -> Float32[np.ndarray, "contrast spoke sample"]:
    r"""Iterative weights of Pipe and Menon 1999 (doi 10.1002/(SICI)1522-2594(199901)41:1<179::AID-MRM25>3.0.CO;2-V).

    ``w <- w / (C * w)`` at the samples. The kernel ``C`` is the transform of a triangle of twice the field of view, the
    autocorrelation of the field of view, as Johnson and Pipe 2009 (doi 10.1002/mrm.21840) advise; it is positive, and the
    convolution is one adjoint and one forward transform by finufft. A sample without neighbours weighs 1, however large the
    gap around it.

    Parameters
    ----------
    traj
        (contrast, spoke, sample, dim) in radians per sample.
    matrix
        Image matrix (z, y, x).
    iterations
        Number of iterations.

    Raises
    ------
    InputError
        If there is no iteration.
    """
    if iterations < 1:
        raise InputError("iterations of density compensation", f"are {iterations}", "give at least 1")
    grid = tuple(matrix)[-traj.shape[-1] :]
    weights = np.ones(traj.shape[:3])
    for contrast, points in zip(weights, traj, strict=True):
        convolve = _Convolution(points.reshape(-1, len(grid)), grid)
        flat = contrast.reshape(-1)
        for _ in range(iterations):
            flat /= convolve(flat)
    return weights.astype(np.float32)


class _Convolution:
    """Convolution of weights with the kernel, from the points of one contrast to themselves; ``C(0) = 1``."""

    def __init__(self, points: NDArray[np.float32], grid: tuple[int, ...]) -> None:
        import finufft

        double = tuple(2 * n for n in grid)
        # Beyond its accuracy the result would not be positive; 1e-6 is far below any weight of interest.
        self._adjoint, self._forward = (
            finufft.Plan(kind, double, isign=sign, eps=1e-6, dtype="complex128", fftw=_ESTIMATE, nthreads=1)
            for kind, sign in ((1, 1), (2, -1))
        )
        axes = [np.ascontiguousarray(points[:, d].astype(np.float64)) for d in range(len(grid))]
        self._adjoint.setpts(*axes)
        self._forward.setpts(*axes)
        self._window = np.ones(double)
        for d, n in enumerate(grid):
            triangle = 1 - np.abs(np.arange(2 * n) - n) / n
            self._window *= (triangle / triangle.sum()).reshape([-1 if a == d else 1 for a in range(len(grid))])

    def __call__(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        image = self._adjoint.execute(weights.astype(np.complex128))
        result: NDArray[np.float64] = np.abs(self._forward.execute(image * self._window))
        return result


def radial_ramp(traj: NDArray[np.float32], matrix: Sequence[int]) -> Float32[np.ndarray, "contrast spoke sample"]:
    """The analytic weights of straight spokes through the centre, evenly spread over all angles.

    ``n`` spokes share the ring at radius ``|k|`` and width ``D``, the spacing of the samples, and cross it twice: the area is
    ``pi |k| D / n``. The centre counts as ``|k| = 2 D / pi^2``: the ramp filter sampled at ``D`` has that value at zero when its
    kernel ends at the edge of the field of view (Kak and Slaney 1988, section 3.3), so that the mean of the image is right.

    Raises
    ------
    InputError
        If the trajectory is not two-dimensional, has spokes of one sample, or is no such set of spokes.
    """
    if traj.shape[-1] != 2 or traj.shape[2] < 2:
        raise InputError(
            "radial density compensation",
            f"is for straight spokes in a plane, the trajectory has the shape {traj.shape}",
            "use Pipe-Menon or Voronoi density compensation, or give (contrast, spoke, 2 or more samples, 2)",
        )
    points = traj.astype(np.float64)
    for contrast, spokes in enumerate(points):
        if fault := _not_radial(spokes):
            raise InputError(
                "radial density compensation",
                f"is for even spokes through the centre, the trajectory of contrast {contrast} {fault}",
                "use Pipe-Menon or Voronoi density compensation",
            )
    spacing = np.linalg.norm(np.diff(points, axis=2), axis=-1).mean(axis=(1, 2))[:, None, None]
    area = np.pi * spacing * np.maximum(np.linalg.norm(points, axis=-1), 2 / np.pi**2 * spacing) / traj.shape[1]
    cell = (2 * np.pi) ** 2 / float(np.prod(matrix))
    weights: NDArray[np.float32] = (area / cell).astype(np.float32)
    return weights


def _not_radial(spokes: Float[np.ndarray, "spoke sample 2"]) -> str | None:
    """What keeps the spokes of one contrast from being straight, centred and evenly spread, if anything does."""
    ends = spokes[:, -1] - spokes[:, 0]
    steps = ends / (spokes.shape[1] - 1)
    spacing = float(np.linalg.norm(steps, axis=-1).mean())
    if not spacing > 0:
        return "has spokes of one point"
    ideal = spokes[:, :1] + steps[:, None] * np.arange(spokes.shape[1])[None, :, None]
    off = np.linalg.norm(spokes - ideal, axis=-1).max(axis=1)
    uneven = np.abs(np.linalg.norm(steps, axis=-1) / spacing - 1)
    if not off.max() <= _STRAIGHT * spacing or not uneven.max() < 0.05:
        return f"has a spoke ({int(np.maximum(off, uneven * spacing).argmax())}) that is bent or unevenly sampled"
    shift = np.linalg.norm(spokes[:, 0] + spokes[:, -1], axis=-1)
    if not shift.max() <= _CENTRED * spacing:
        return f"has a spoke ({int(shift.argmax())}) whose middle is not the centre"
    angles = np.sort(np.arctan2(ends[:, 0], ends[:, 1]) % np.pi)
    gap = float(np.diff(angles, append=angles[0] + np.pi).max())
    if gap > _GAP * np.pi / len(spokes):
        return f"leaves an angle of {np.rad2deg(gap):.0f} degrees without a spoke"
    return None


def voronoi(traj: NDArray[np.float32], matrix: Sequence[int]) -> Float32[np.ndarray, "contrast spoke sample"]:
    """The area, or in 3-D volume, of k-space that is nearer to a sample than to all others (Rasche et al. 1999, doi 10.1109/42.774166).

    A point measured several times divides its cell among them. What is measured ends half a sample outside the convex hull of the
    points, the distance to the next ones inside; cells are cut off there. The weights sum up to the volume of that region.

    Parameters
    ----------
    traj
        (contrast, spoke, sample, dim) in radians per sample.
    matrix
        Image matrix (z, y, x).

    Raises
    ------
    InputError
        If the points of a contrast lie on a line or, in 3-D, in a plane.
    """
    dim = traj.shape[-1]
    cell = (2 * np.pi) ** dim / float(np.prod(tuple(matrix)[-dim:]))
    weights = np.empty(traj.shape[:3], np.float32)
    for contrast, (given, out) in enumerate(zip(traj, weights, strict=True)):
        points = given.reshape(-1, dim).astype(np.float64)
        _, first, inverse, count = np.unique(
            np.round(points / _SAME), axis=0, return_index=True, return_inverse=True, return_counts=True
        )
        # Some numpy versions give the inverse another shape.
        inverse = inverse.reshape(-1)
        try:
            volumes = _cell_volumes(points[first])
        except ValueError as error:
            raise InputError(
                f"trajectory of contrast {contrast}",
                f"has {len(first)} different points, which enclose no {'area' if dim == 2 else 'volume'}",
                "use Pipe-Menon density compensation",
            ) from error
        out[...] = (volumes[inverse] / count[inverse] / cell).reshape(out.shape)
    return weights


def _cell_volumes(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Volume of each point's cell; ValueError where the points span too little."""
    from scipy.spatial import Delaunay, QhullError, Voronoi

    try:
        diagram = Voronoi(points)
        # Qhull leaves out some faces without bounds of the diagram; the triangulation knows all neighbours.
        neighbours = _Neighbours(*Delaunay(points).vertex_neighbor_vertices)
        normals, offsets = _border(points, neighbours)
    except QhullError as error:
        raise ValueError("too few dimensions") from error
    # Some at a time: there may be hundreds of sides. The last entry is Qhull's vertex -1, at infinity.
    parts = np.array_split(diagram.vertices, len(diagram.vertices) // 4096 + 1)
    outside = np.concatenate([*((part @ normals.T > offsets + 1e-9).any(axis=1) for part in parts), [True]])
    regions = [diagram.regions[i] for i in diagram.point_region]
    cut = np.array([not region or bool(outside[region].any()) for region in regions])
    # A cell is made of pyramids between its point and its faces, half the distance to the neighbour high.
    pairs = np.asarray(diagram.ridge_points)
    height = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1) / 2
    faces = [[] if -1 in face else face for face in diagram.ridge_vertices]
    content = height * _face_sizes(diagram.vertices, faces) / points.shape[1]
    volumes = np.bincount(pairs.ravel(), np.repeat(content, 2), minlength=len(points)).astype(np.float64)
    for own in np.flatnonzero(cut).tolist():
        volumes[own] = _cut_volume(points[own], points[neighbours.of(own)], normals, offsets)
    return volumes


class _Neighbours(NamedTuple):
    """Points that share an edge of the triangulation."""

    start: NDArray[np.int32]
    points: NDArray[np.int32]

    def of(self, point: int) -> NDArray[np.int32]:
        return self.points[self.start[point] : self.start[point + 1]]


def _face_sizes(vertices: NDArray[np.float64], faces: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Lengths of edges, or areas of polygons whose corners are in order."""
    if vertices.shape[1] == 2:
        ends = np.array([f or [0, 0] for f in faces])
        lengths: NDArray[np.float64] = np.linalg.norm(vertices[ends[:, 0]] - vertices[ends[:, 1]], axis=1)
        return lengths
    sizes = np.zeros(len(faces))
    for i, face in enumerate(faces):
        if face:
            spokes = vertices[face] - vertices[face[0]]
            sizes[i] = np.linalg.norm(np.cross(spokes[1:-1], spokes[2:]).sum(axis=0)) / 2
    return sizes


def _border(points: NDArray[np.float64], neighbours: _Neighbours) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Outward normals and offsets ``n x <= b`` of the convex hull, moved out by half the distance to the next points inside."""
    from scipy.spatial import ConvexHull

    hull = ConvexHull(points)
    equations, index = np.unique(np.round(hull.equations, 9), axis=0, return_index=True)
    normals, offsets = equations[:, :-1], -equations[:, -1]
    corners = hull.simplices[index]
    for side, (normal, on_it) in enumerate(zip(normals, corners.tolist(), strict=True)):
        depths = []
        for own in on_it:
            steps = points[neighbours.of(own)] - points[own]
            inwards = -steps @ normal
            deep = inwards > 1e-9
            if deep.any():
                depths.append(float(((steps[deep] ** 2).sum(axis=1) / (2 * inwards[deep])).min()))
        offsets[side] += np.median(depths) if depths else 0.0
    return normals, offsets


def _cut_volume(
    point: NDArray[np.float64], others: NDArray[np.float64], normals: NDArray[np.float64], offsets: NDArray[np.float64]
) -> float:
    """Volume of what is nearer to a point than to the others and inside the border."""
    from scipy.spatial import ConvexHull, HalfspaceIntersection

    steps = others - point
    near = np.argsort(offsets - normals @ point)[:_FACETS]
    box = np.concatenate([np.eye(len(point)), -np.eye(len(point))])
    # Relative to the point, in units of its nearest neighbour, so that Qhull's tolerances fit.
    unit = float(np.linalg.norm(steps, axis=1).min())
    sides = np.concatenate([steps, normals[near], box])
    bounds = np.concatenate([(steps**2).sum(axis=1) / 2, offsets[near] - normals[near] @ point, np.full(len(box), 4 * np.pi)])
    halfspaces = np.column_stack([sides, -bounds / unit])
    corners = HalfspaceIntersection(halfspaces, np.zeros(len(point))).intersections
    return float(ConvexHull(corners).volume) * unit ** len(point)
