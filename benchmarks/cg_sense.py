"""Twenty conjugate-gradient steps of coil-by-coil least squares from spokes: seconds and memory beside other libraries."""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from _nufft_peers import import_quietly
from _results import publish

from medcore.io.kspace import KSpace
from puq_qmri.dcf import pipe_menon
from puq_qmri.operators import acquisition
from puq_qmri.reconstruction import NUFFT_EPS, ReconstructionSettings, conjugate_gradients
from puq_qmri.simulation import DEFAULT_TE, birdcage, contrast_images
from puq_qmri.trajectory import radial

SEED, CONTRASTS, COILS, SIZE, SPOKES, STEPS, REPEATS = 0, 8, 8, 256, 64, 20, 3
Setup = Callable[[KSpace, np.ndarray], Callable[[], np.ndarray]]


def scan() -> tuple[KSpace, np.ndarray]:
    """Samples of a brain on golden-angle spokes, and their density compensation; every library gets both."""
    from medcore.datasets.phantoms import relaxation_phantom

    phantom = relaxation_phantom("brain", shape=(1, SIZE, SIZE), seed=SEED)
    images = contrast_images(phantom, "t2", np.array(DEFAULT_TE[:CONTRASTS]))
    traj, csm, matrix = radial(CONTRASTS, SPOKES, 2 * SIZE), birdcage(COILS, SIZE), (1, SIZE, SIZE)
    empty = np.zeros((CONTRASTS, COILS, SPOKES, 2 * SIZE), np.complex64)
    kspace = KSpace(data=empty, traj=traj, matrix=matrix, fov=(0.005, 0.22, 0.22), csm=csm)
    data = acquisition(kspace, csm)(torch.from_numpy(images)).numpy()
    return KSpace(data=data, traj=traj, matrix=matrix, fov=kspace.fov, csm=csm), pipe_menon(traj, matrix)


def ours(kspace: KSpace, dcf: np.ndarray) -> Callable[[], np.ndarray]:
    """The operators of ``puq-qmri run --method cg-sense``."""
    operator = acquisition(kspace, kspace.csm, eps=NUFFT_EPS)
    weights = torch.from_numpy(dcf)[:, None]
    normal, samples = operator.weighted_gram(weights), torch.from_numpy(kspace.data)
    settings = ReconstructionSettings(max_iterations=STEPS, tolerance=1e-12)

    def solve() -> np.ndarray:
        return np.asarray(conjugate_gradients(normal, operator.adjoint(weights * samples), settings).images)

    return solve


def sigpy(kspace: KSpace, dcf: np.ndarray) -> Callable[[], np.ndarray]:
    """Its SENSE application, contrast by contrast."""
    import sigpy.mri.app

    coordinates = kspace.traj * (SIZE / (2 * np.pi))

    def solve() -> np.ndarray:
        found = [
            sigpy.mri.app.SenseRecon(y, kspace.csm[:, 0], coord=where, weights=weight, max_iter=STEPS, tol=0, show_pbar=False).run()
            for y, where, weight in zip(kspace.data, coordinates, dcf, strict=True)
        ]
        return np.stack(found)[:, None]

    return solve


def mrpro(kspace: KSpace, dcf: np.ndarray) -> Callable[[], np.ndarray]:
    """Its operators, the convolution as normal operator, its conjugate gradients on all contrasts together."""
    import_quietly("mrpro")
    from mrpro.algorithms.optimizers import cg
    from mrpro.data import KTrajectory, SpatialDimension
    from mrpro.operators import NonUniformFastFourierOp, SensitivityOp
    from mrpro.operators.NonUniformFastFourierOp import NonUniformFastFourierOpGramOp

    scaled = torch.from_numpy((kspace.traj * (SIZE / (2 * np.pi))).astype(np.float32))[:, None, None]
    zero, size = torch.zeros(1, 1, 1, 1, 1), SpatialDimension(1, SIZE, SIZE)
    fourier = NonUniformFastFourierOp(("y", "x"), size, size, KTrajectory(zero, scaled[..., 0], scaled[..., 1]))
    coils = SensitivityOp(torch.from_numpy(kspace.csm)[None])
    weights = torch.from_numpy(dcf)[:, None, None]
    normal = coils.H @ NonUniformFastFourierOpGramOp(fourier, weights) @ coils
    samples = torch.from_numpy(kspace.data)[:, :, None]

    def solve() -> np.ndarray:
        (right,) = (fourier @ coils).H(weights * samples)
        (images,) = cg(normal, right, max_iterations=STEPS, tolerance=0.0)
        return images[:, 0].numpy()

    return solve


WAYS: dict[str, Setup] = {"puq-qmri": ours, "sigpy": sigpy, "mrpro": mrpro}


def peak() -> float:
    """Largest resident memory since it was last forgotten, MiB (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def measure(way: str, images: Path, threads: int) -> dict[str, float]:
    """One library in this process: seconds to prepare and to solve, MiB beyond the scan and the libraries."""
    torch.set_num_threads(threads)
    kspace, dcf = scan()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, start = peak(), time.perf_counter()
    solve = WAYS[way](kspace, dcf)
    prepared = time.perf_counter() - start
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        found = solve()
        times.append(time.perf_counter() - start)
    np.save(images, found)
    return {"prepare": prepared, "solve": min(times), "memory": peak() - before}


def rows(threads: int) -> list[list[str]]:
    """Every library that is installed, each in a process of its own; the others are named."""
    table: list[list[str]] = []
    reference = None
    with tempfile.TemporaryDirectory() as folder:
        for way in WAYS:
            if way != "puq-qmri" and importlib.util.find_spec(way) is None:
                print(f"{way} is not installed and left out")
                continue
            images = Path(folder) / f"{way}.npy"
            program = [sys.executable, __file__, "--way", way, "--images", str(images), "--threads", str(threads)]
            done = subprocess.run(program, capture_output=True, text=True, check=False)  # noqa: S603 - this script
            if done.returncode:
                print(f"{way} failed and is left out: {done.stderr.strip().splitlines()[-1]}")
                continue
            facts = json.loads(done.stdout.splitlines()[-1])
            found = np.load(images)
            reference = found if reference is None else reference
            away = np.linalg.norm(found - reference) / np.linalg.norm(reference)
            table.append(
                [str(threads), way, f"{facts['prepare']:.2f}", f"{facts['solve']:.2f}", f"{facts['memory']:.0f}", f"{away:.1e}"]
            )
    return table


def main() -> None:
    """Measure every library with one thread and with two, or one of them for the caller."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=list(WAYS))
    parser.add_argument("--images", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(measure(given.way, given.images, given.threads)))
        return
    note = (
        f"{CONTRASTS} contrasts, {SIZE} x {SIZE}, {COILS} coils, {SPOKES} golden-angle spokes of {2 * SIZE} samples, {STEPS} steps, no "
        "regularisation; all get the same samples, coil maps and density compensation. Preparation: plans and kernels, once for a "
        f"trajectory. Solution: best of {REPEATS}. Memory: the most resident beyond scan and libraries. Difference: from the images of "
        "puq-qmri. Every library does its own single-precision transform: sigpy's default has a relative error near 1 %."
    )
    columns = ["threads", "library", "preparation s", "solution s", "memory MiB", "difference"]
    publish("cg_sense", "Conjugate-gradient SENSE beside other libraries", columns, [*rows(1), *rows(2)], seed=SEED, note=note)


if __name__ == "__main__":
    main()
