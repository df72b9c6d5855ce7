"""Time and error of the non-uniform transform's back ends on a radial acquisition of several contrasts and coils."""

from __future__ import annotations

import numpy as np
import torch
from _results import best_time, publish

from puq_qmri.operators import Nufft
from puq_qmri.trajectory import radial

SEED = 0
CONTRASTS, COILS, SIZE, SPOKES, SAMPLES = 4, 8, 256, 64, 512
EXACT_POINTS = 2_000


def exact(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The defining sum in double precision at `points` (point, 2)."""
    positions = np.arange(SIZE) - SIZE // 2
    rows, columns = np.exp(-1j * np.outer(points[:, 0], positions)), np.exp(-1j * np.outer(points[:, 1], positions))
    return np.einsum("py,yx,px->p", rows, image, columns, optimize=True) / SIZE


def main() -> None:
    """Measure both back ends."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(SEED)
    traj = torch.as_tensor(radial(CONTRASTS, SPOKES, SAMPLES))
    shape = (CONTRASTS, COILS, 1, SIZE, SIZE)
    image = torch.as_tensor((rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64))
    chosen = rng.choice(SPOKES * SAMPLES, EXACT_POINTS, replace=False)
    reference = exact(image[0, 0, 0].numpy().astype(complex), traj[0].reshape(-1, 2)[chosen].double().numpy())
    times, errors = {}, {}
    for backend in ("torchkbnufft", "finufft"):
        operator = Nufft(traj, (1, SIZE, SIZE), COILS, backend=backend)
        samples = operator(image)
        found = samples[0, 0].reshape(-1)[chosen].numpy()
        errors[backend] = float(np.linalg.norm(found - reference) / np.linalg.norm(reference))
        times[backend] = (best_time(lambda o=operator: o(image), 3), best_time(lambda o=operator, s=samples: o.adjoint(s), 3))
    slow = times["torchkbnufft"]
    rows = [
        [b, f"{t[0]:.3f}", f"{slow[0] / t[0]:.1f}", f"{t[1]:.3f}", f"{slow[1] / t[1]:.1f}", f"{errors[b]:.1e}"]
        for b, t in times.items()
    ]
    size = f"{CONTRASTS} contrasts, {COILS} coils, {SIZE} x {SIZE}, {SPOKES * SAMPLES:,} samples each, float32"
    note = f"{size}; error against the exact sum at {EXACT_POINTS:,} points."
    columns = ["back end", "forward [s]", "ratio", "adjoint [s]", "ratio", "relative error"]
    publish("nufft", "Non-uniform Fourier transform", columns, rows, seed=SEED, note=note)


if __name__ == "__main__":
    main()
