"""Time, memory and error of non-uniform Fourier transforms side by side on acquisitions of several contrasts and coils."""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from _nufft_peers import WAYS, Case, Pair
from _results import publish

from puq_qmri.trajectory import radial

SEED, COILS, EXACT_POINTS, EXACT_VOXELS = 0, 8, 1_000, 60
CASES = {
    # contrasts, voxels an axis, dimensions, spokes, samples
    "8-64": (8, 256, 2, 64, 512),
    "8-405": (8, 256, 2, 405, 512),
    "16-64": (16, 256, 2, 64, 512),
    "3d": (1, 64, 3, 1024, 128),
}


def make(name: str, threads: int) -> Case:
    """Random images and samples on golden-angle spokes, in 3-D on spokes of random directions."""
    contrasts, n, dim, spokes, samples = CASES[name]
    rng = np.random.default_rng(SEED)
    if dim == 2:
        traj = radial(contrasts, spokes, samples)
    else:
        way = rng.standard_normal((contrasts, spokes, 1, 3))
        radius = np.linspace(-np.pi, np.pi, samples, endpoint=False)[:, None]
        traj = (radius * way / np.linalg.norm(way, axis=-1, keepdims=True)).astype(np.float32)
    shapes = (contrasts, COILS, *(n,) * dim), (contrasts, COILS, spokes * samples)
    images, data = ((rng.standard_normal(s) + 1j * rng.standard_normal(s)).astype(np.complex64) for s in shapes)
    title = f"{contrasts} x {COILS} x {'x'.join([str(n)] * dim)}, {spokes} x {samples}"
    return Case(title, traj, (n,) * dim, images, data, threads)


def errors(case: Case, pair: Pair) -> tuple[float, float]:
    """Relative error of the first image at some points and voxels, against the exact sums in double precision."""
    rng = np.random.default_rng(SEED + 1)
    points = case.points[0].astype(np.float64)
    some = rng.choice(len(points), min(EXACT_POINTS, len(points)), replace=False)
    axes = [np.arange(n) - n // 2 for n in case.grid]
    value = case.images[0, 0].astype(np.complex128)
    there = value[None]
    for d, axis in enumerate(axes):
        phase = np.exp(-1j * np.outer(points[some, d], axis))
        there = np.einsum("pa...,pa->p...", there if d else np.broadcast_to(value, (len(some), *value.shape)), phase)
    voxels = np.stack([rng.choice(axis, EXACT_VOXELS) for axis in axes], -1)
    back = np.exp(1j * voxels @ points.T) @ case.samples[0, 0]
    found = []
    for function, expected, place in ((pair[0], there, some), (pair[1], back, tuple((voxels + np.array(case.grid) // 2).T))):
        result = np.asarray(function())[0, 0]
        result = (result.reshape(-1) if place is some else result.reshape(case.grid))[place]
        # Libraries scale differently.
        factor = np.vdot(expected, result).real / np.vdot(expected, expected).real
        found.append(float(np.linalg.norm(result - factor * expected) / np.linalg.norm(factor * expected)))
    return found[0], found[1]


def peak(function: object) -> float:
    """MiB above what the process held before, at the most, while a function runs."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _status("VmRSS")
    function()  # type: ignore[operator]
    return (_status("VmHWM") - before) / 1024


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(key))


def measure(case: Case, rounds: int) -> list[list[object]]:
    """One row for each library: planning, forward, adjoint, ratios, memory, errors."""
    clock = time.process_time if case.threads == 1 else time.perf_counter
    pairs: dict[str, Pair] = {}
    planning, notes, missing = {}, {}, []
    for name, way in WAYS.items():
        start = clock()
        try:
            pairs[name] = way(case)
            found = errors(case, pairs[name])
        except ImportError as error:
            missing.append([case.title, case.threads, name, f"not importable ({error.name or type(error).__name__})", *[""] * 7])
            continue
        planning[name] = clock() - start
        memory = max(peak(f) for f in pairs[name])
        notes[name] = [f"{memory:.0f}", f"{found[0]:.0e}, {found[1]:.0e}"]
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in pairs}
    for _ in range(rounds):
        for name, (forward, adjoint) in pairs.items():
            marks = [clock()]
            for function in (forward, adjoint):
                function()
                marks.append(clock())
            times[name].append((marks[1] - marks[0], marks[2] - marks[1]))
    middle = {name: [statistics.median(t[i] for t in each) for i in (0, 1)] for name, each in times.items()}
    rows: list[list[object]] = []
    for name, (forward, adjoint) in middle.items():
        own = middle["puq-qmri"]
        first = max(0.0, planning[name] - forward - adjoint)
        ratios = [f"{forward / own[0]:.2f}", f"{adjoint / own[1]:.2f}"]
        rows.append(
            [case.title, case.threads, name, f"{first:.2f}", f"{forward:.3f}", ratios[0], f"{adjoint:.3f}", ratios[1], *notes[name]]
        )
    return rows + missing


def tell(rows: list[list[object]], rounds: int, remark: str) -> None:
    """Write what was measured so far."""
    note = (
        "Contrasts x coils x image, spokes x samples; float32, eps 1e-6 where it can be asked for. One thread: CPU seconds; more: seconds "
        f"by the clock. Medians of {rounds} rounds in which all take turns. Over us: times over those of puq-qmri; above 1, puq-qmri "
        "is faster. First call: planning, and what is paid once (compilation, tables, FFT plans of a size, which later operators "
        "share: puq-qmri, measured first, pays for bare finufft as well). Memory: MiB beyond what the process held, results included. "
        "Errors: forward, adjoint, against the exact sums in double precision, up to a factor. Bare finufft writes into the same "
        f"arrays again and again and does not scale.\n\n{remark} Load at the end: {os.getloadavg()[0]:.1f}."
    )
    columns = [
        "case",
        "threads",
        "library",
        "first call [s]",
        "forward [s]",
        "over us",
        "adjoint [s]",
        "over us",
        "memory",
        "errors",
    ]
    publish("nufft", "Non-uniform Fourier transform", columns, rows, seed=SEED, note=note)


def main() -> None:
    """Measure the cases named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    every = [f"{name}:{threads}" for name in CASES for threads in (1, 2)]
    parser.add_argument("cases", nargs="*", default=every, metavar="CASE:THREADS", help=f"of {', '.join(every)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--remark", default="", help="said above the table, such as that the machine was shared")
    given = parser.parse_args()
    rows: list[list[object]] = []
    for wanted in given.cases:
        name, threads = wanted.split(":")
        torch.set_num_threads(int(threads))
        rows += measure(make(name, int(threads)), given.rounds)
        tell(rows, given.rounds, given.remark)


if __name__ == "__main__":
    main()
