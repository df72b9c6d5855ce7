"""Normal operators as convolutions: against two FFTs of the doubled grid, against two transforms, and the making of kernels."""

from __future__ import annotations

import os
import statistics
import threading
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from _results import publish

from puq_qmri.operators import Nufft
from puq_qmri.trajectory import radial

SEED, COILS, ROUNDS = 0, 8, 9
GRIDS = ((1, 256, 256), (1, 192, 192), (64, 64, 64))
SAMPLES = 128


def trajectory(matrix: tuple[int, int, int], contrasts: int, samples_per_voxel: float) -> torch.Tensor:
    """Golden-angle spokes, in 3-D spokes of random directions."""
    spokes = max(1, round(samples_per_voxel * np.prod(matrix) / SAMPLES))
    if matrix[0] == 1:
        return torch.from_numpy(radial(contrasts, spokes, SAMPLES))
    way = np.random.default_rng(SEED).standard_normal((contrasts, spokes, 1, 3))
    radius = np.linspace(-np.pi, np.pi, SAMPLES, endpoint=False)[:, None]
    return torch.from_numpy((radius * way / np.linalg.norm(way, axis=-1, keepdims=True)).astype(np.float32))


def turns(functions: list[Callable[[], object]], clock: Callable[[], float], rounds: int = ROUNDS) -> list[list[float]]:
    """Times of functions that take turns, after one run of each that is not counted."""
    for function in functions:
        function()
    found: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for times, function in zip(found, functions, strict=True):
            start = clock()
            function()
            times.append(clock() - start)
    return found


def at_once(functions: list[Callable[[], object]]) -> None:
    """One thread for each, the first in this one."""
    workers = [threading.Thread(target=f) for f in functions[1:]]
    for worker in workers:
        worker.start()
    functions[0]()
    for worker in workers:
        worker.join()


def against_ffts() -> list[list[object]]:
    """Cost of `gram` over that of a forward and an inverse FFT of the doubled grid, all coils of a contrast in one call."""
    rows: list[list[object]] = []
    for matrix in GRIDS:
        grid = matrix[-2:] if matrix[0] == 1 else matrix
        normals = [Nufft(trajectory(matrix, 1, 0.5), matrix, COILS).gram for _ in range(2)]
        images = [torch.randn(n.domain, dtype=torch.complex64) for n in normals]
        doubled = [torch.randn(COILS, *(2 * n for n in grid), dtype=torch.complex64) for _ in range(2)]
        axes = tuple(range(1, len(grid) + 1))

        def own(i: int, normals: list = normals, images: list = images) -> torch.Tensor:
            return normals[i](images[i])

        def yardstick(i: int, doubled: list = doubled, axes: tuple[int, ...] = axes) -> torch.Tensor:
            return torch.fft.ifftn(torch.fft.fftn(doubled[i], dim=axes), dim=axes)

        for workers, clock in ((1, time.process_time), (2, time.perf_counter)):
            ways = [(lambda f=f, w=workers: at_once([lambda i=i: f(i) for i in range(w)])) for f in (own, yardstick)]
            times = turns(ways, clock)
            ratio = statistics.median(a / b for a, b in zip(*times, strict=True))
            middle = [1000 * statistics.median(t) for t in times]
            rows.append(["x".join(map(str, grid)), f"{workers} worker(s)", f"{middle[0]:.1f}", f"{middle[1]:.1f}", f"{ratio:.2f}"])
    return rows


def against_transforms() -> list[list[object]]:
    """Cost of a forward and an adjoint transform over that of the convolution."""
    rows: list[list[object]] = []
    for matrix in GRIDS:
        for share in (0.05, 0.25, 1.0):
            traj = trajectory(matrix, 1, share)
            pairs = [Nufft(traj, matrix, COILS, eps=eps) for eps in (1e-6, 1e-4)]
            # With torchkbnufft chosen, the normal operator is the convolution whatever the number of samples.
            convolution = Nufft(traj, matrix, COILS, backend="torchkbnufft").gram
            x = torch.randn(pairs[0].domain, dtype=torch.complex64)
            ways = [lambda c=convolution, x=x: c(x), *(lambda p=p, x=x: p.adjoint(p(x)) for p in pairs)]
            times = [statistics.median(t) for t in turns(ways, time.process_time, 3)]
            shown = [f"{1000 * times[0]:.1f}", *(f"{t / times[0]:.2f}" for t in times[1:])]
            rows.append(["x".join(map(str, matrix)), f"{share:g} samples a voxel", *shown])
    return rows


def kernels() -> list[list[object]]:
    """CPU seconds to make the kernels of four contrasts (one in 3-D), beside torchkbnufft's."""
    rows: list[list[object]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torchkbnufft
    for matrix in (GRIDS[0], GRIDS[2]):
        grid = matrix[-2:] if matrix[0] == 1 else matrix
        traj = trajectory(matrix, 4 if matrix[0] == 1 else 1, 0.5)
        operator = Nufft(traj, matrix, COILS)
        omega = traj.reshape(len(traj), -1, len(grid)).transpose(1, 2).contiguous()

        def theirs(omega: torch.Tensor = omega, grid: tuple[int, ...] = grid) -> torch.Tensor:
            return torchkbnufft.calc_toeplitz_kernel(omega, im_size=grid)

        times = [statistics.median(t) for t in turns([lambda o=operator: o.gram, theirs], time.process_time, 3)]
        rows.append(
            [
                "x".join(map(str, grid)),
                f"kernels of {len(traj)}",
                f"{1000 * times[0]:.0f}",
                f"{1000 * times[1]:.0f}",
                f"{times[1] / times[0]:.1f}",
            ]
        )
    return rows


def main() -> None:
    """All three tables in one file."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    rows = [*against_ffts(), *([*row[:3], "", f"{row[3]}, {row[4]}"] for row in against_transforms()), *kernels()]
    note = (
        "Eight coils of one contrast, float32, milliseconds of the CPU; two workers, each with a contrast of its own: by the clock.\n\n"
        "- workers: `gram` as a convolution, beside a forward and an inverse FFT of the doubled grid, eight images in one call, and the "
        "ratio (median of rounds in which both take turns; less is better).\n"
        "- samples a voxel: the convolution, and what a forward and an adjoint transform cost over it at eps 1e-6 and 1e-4; below 1 the "
        "transforms are faster. The operator chooses by `puq_qmri.operators.choice.convolution_pays`.\n"
        "- kernels: made by puq-qmri and by torchkbnufft, and the ratio (more is better).\n\n"
        f"Load at the end {os.getloadavg()[0]:.1f} (this benchmark itself makes 1 to 2)."
    )
    columns = ["grid", "case", "puq-qmri [ms]", "other [ms]", "ratio"]
    publish("toeplitz", "Normal operators as convolutions", columns, rows, seed=SEED, note=note)


if __name__ == "__main__":
    main()
