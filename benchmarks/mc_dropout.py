"""Memory and time of Monte-Carlo dropout beside a single pass of the same network."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import sys
import time
from pathlib import Path

import torch
from _results import publish

from puq_qmri.networks import NetworkSettings, UnrolledNetwork, build_problem
from puq_qmri.networks.dropout import dropout_only, mc_dropout
from puq_qmri.simulation import SimulationSettings, coil_maps, simulate

SEED = 3
SIZE, N_COILS = 128, 8
PASSES = 100
CASES = [("one pass", 1, 1), (f"{PASSES} passes, one by one", PASSES, 1), (f"{PASSES} passes, two at once", PASSES, 2)]


def peak() -> float:
    """Largest resident memory since it was last forgotten, MiB (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def forget() -> None:
    """Give freed memory back to the system, and begin to measure the largest resident memory anew."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def measure(passes: int, batch: int) -> tuple[float, float]:
    """Seconds and MiB beyond what network and scan occupy, in a process of its own."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    network = UnrolledNetwork(NetworkSettings(dropout=0.1)).eval()
    kspace, _ = simulate(SimulationSettings(size=SIZE, n_coils=N_COILS, seed=SEED))
    problem = build_problem(kspace, coil_maps("birdcage", N_COILS, SIZE), network.settings, model="t2")

    def draw(count: int) -> list[torch.Tensor]:
        return [problem.images(latent) for latent in network([problem] * count)]

    # What the libraries keep from their first use is no memory of the passes.
    small, _ = simulate(SimulationSettings(size=32, n_coils=N_COILS, seed=SEED))
    with torch.inference_mode():
        network([build_problem(small, coil_maps("birdcage", N_COILS, 32), network.settings, model="t2")])
    forget()
    before = peak()
    start = time.perf_counter()
    if passes == 1:
        with torch.inference_mode(), dropout_only(network):
            draw(1)
    else:
        mc_dropout(network, draw, n_passes=passes, batch=batch, seed=SEED)
    return time.perf_counter() - start, peak() - before


def main() -> None:
    """Measure every case in a process of its own."""
    if not sys.platform.startswith("linux"):
        sys.exit("the largest resident memory is measured the way Linux tells it")
    rows, single = [], (0.0, 0.0)
    for name, passes, batch in CASES:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, memory = pool.apply(measure, (passes, batch))
        single = (seconds, memory) if passes == 1 else single
        rows.append([name, f"{memory:.0f}", f"{memory / single[1]:.2f}", f"{seconds:.1f}", f"{seconds / passes / single[0]:.2f}"])
    note = (
        f"The default network on 8 contrasts of {SIZE} x {SIZE}, {N_COILS} coils, one thread. Memory beyond network and scan, largest "
        "resident size. Goal: 100 passes in less than 3 times the memory of one."
    )
    columns = ["", "MiB", "over one pass", "seconds", "seconds a pass over one pass"]
    publish("mc_dropout", "Monte-Carlo dropout", columns, rows, seed=SEED, note=note)


if __name__ == "__main__":
    main()
