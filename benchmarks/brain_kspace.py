"""A measured brain (8 coils, 230 x 180): distance of each reconstruction from the image of everything that was measured.

``brain_kspace.py [FOLDER] [--pictures FOLDER]``; the first folder holds ``cartesian_ksp.npy`` and ``projection_coord.npy`` of
mikgroup/sigpy-mri-tutorial (BSD-3-Clause), by default the one below ``MEDCORE_TEST_DATA``.

The file holds 12.4 % of the grid: a Poisson disc around a fully sampled centre of 24 x 24. The reference is what CG-SENSE makes of all of
it. Two experiments:

- fewer coils, or fewer of the measured points, the centre kept: real noise, real coils, one contrast;
- eight echoes of a synthetic decay, the first of them the reference, seen through its coil maps (ESPIRiT) and measured again with white
  noise of the level of the measurement: along random lines, on five eighths of k-space (partial Fourier), or along the spokes of
  ``projection_coord.npy``.

Coil maps of every reconstruction are estimated from its own samples.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from _results import publish
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from medcore.io import KSpace
from medcore.io.npy import load_array, read_npy_kspace
from puq_qmri.csm import espirit
from puq_qmri.fitting import Status, fit
from puq_qmri.imaging import PipelineSettings, estimate
from puq_qmri.operators import acquisition
from puq_qmri.preparation import compress_coils, undersample
from puq_qmri.reconstruction import ReconstructionSettings, reconstruct
from puq_qmri.uncertainty import noise_level

SEED = 5
TE = np.array([0.010, 0.025, 0.040, 0.055, 0.070, 0.090, 0.115, 0.150])
ACCELERATIONS = (2, 3, 4)
CENTRE = 24
METHODS = ("adjoint", "cg-sense", "subspace", "unrolled")


class Brain:
    """The measurement, its image, and eight echoes made of it."""

    def __init__(self, folder: Path) -> None:
        self.measured = read_npy_kspace(folder / "cartesian_ksp.npy")
        spokes = load_array(folder / "projection_coord.npy")
        # Multiples of one over the field of view, up to 128: the disc that the grid of the image holds.
        self.spokes = (spokes / np.abs(spokes).max() * np.pi).astype(np.float32)[None, ..., ::-1]
        self.csm = espirit(self.measured)
        self.reference = reconstruct(self.measured, csm=self.csm).images.numpy()
        size = gaussian_filter(np.abs(self.reference[0, 0]), 1)[None]
        self.inside = size > 0.15 * np.quantile(size, 0.99)
        self.t2 = 0.03 + 0.15 * np.clip(size / np.quantile(size, 0.99), 0, 1)
        self.echoes = (self.reference * np.exp(-(TE - TE[0])[:, None, None, None] / self.t2)).astype(np.complex64)
        self.level = noise_level(self.measured)

    def again(self, *, radial: bool) -> KSpace:
        """All echoes, on the whole grid or along all spokes, with noise."""
        spokes = np.repeat(self.spokes, len(TE), axis=0) if radial else None
        shape = self.echoes.shape[1:] if spokes is None else spokes.shape[1:3]
        empty = KSpace(
            data=np.zeros((len(TE), len(self.csm), *shape), np.complex64),
            matrix=self.measured.matrix,
            fov=self.measured.fov,
            traj=spokes,
            times={"te": TE},
        )
        clean = acquisition(empty, self.csm)(torch.from_numpy(self.echoes)).numpy()
        generator = np.random.default_rng(SEED)
        noise = self.level * (generator.standard_normal(clean.shape) + 1j * generator.standard_normal(clean.shape))
        return dataclasses.replace(empty, data=(clean + noise).astype(np.complex64))

    def thinned(self, part: int) -> KSpace:
        """One in `part` of the measured points outside of the centre."""
        kept = np.random.default_rng(SEED).random(self.measured.mask.shape) < 1 / part  # type: ignore[union-attr]
        _, height, width = self.measured.matrix
        kept[:, :, height // 2 - CENTRE // 2 :][:, :, :CENTRE, width // 2 - CENTRE // 2 :][..., :CENTRE] = True
        mask = self.measured.mask & kept  # type: ignore[operator]
        return dataclasses.replace(self.measured, data=self.measured.data * mask[:, None], mask=mask)

    def cases(self) -> Iterator[tuple[str, KSpace, NDArray[np.complex64]]]:
        """Name, samples, and the image they should give."""
        for coils in (6, 4):
            yield f"all measured points, {coils} virtual coils", compress_coils(self.measured, coils), self.reference
        for part in ACCELERATIONS:
            yield f"measured points, 1 in {part}", self.thinned(part), self.reference
        grid, spokes = self.again(radial=False), self.again(radial=True)
        for acceleration in ACCELERATIONS:
            yield f"8 echoes, lines, R = {acceleration}", undersample(grid, acceleration, seed=SEED), self.echoes
        partial = np.ones(grid.data[:, 0].shape, bool)
        partial[:, :, : 3 * partial.shape[2] // 8] = False
        yield "8 echoes, 5/8 of the lines", dataclasses.replace(grid, data=grid.data * partial[:, None], mask=partial), self.echoes
        for acceleration in (1, *ACCELERATIONS):
            chosen = undersample(spokes, acceleration, seed=SEED)
            yield f"8 echoes, {chosen.data.shape[2]} spokes", chosen, self.echoes

    def error(self, images: NDArray[np.complex64], truth: NDArray[np.complex64]) -> float:
        """Root mean square of the difference of magnitudes inside the head, over that of the truth."""
        wanted = np.abs(truth)[:, self.inside]
        return float(np.linalg.norm(np.abs(images)[:, self.inside] - wanted) / np.linalg.norm(wanted))

    def t2_error(self, images: NDArray[np.complex64]) -> float:
        """Median relative error of T2 inside the head."""
        result = fit(images, TE, "t2", mask=self.inside)
        found = self.inside & (result.status == Status.OK)
        return float(np.median(np.abs(result.maps["t2"][found] / self.t2[found] - 1)))


def main() -> None:
    """Measure every method on every case; draw what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path(os.environ.get("MEDCORE_TEST_DATA", ".")) / "sigpy-brain-kspace"
    )
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    if not options.folder.is_dir():
        print(f"{options.folder} is not there: name the folder of the measurement, or set MEDCORE_TEST_DATA")
        return
    torch.set_num_threads(1)
    brain = Brain(options.folder)
    rows = []
    for name, kspace, truth in brain.cases():
        shown = {"reference": truth}
        for method in METHODS:
            if method in {"subspace", "unrolled"} and kspace.n_contrasts == 1:
                continue
            settings = PipelineSettings(reconstruction=ReconstructionSettings(method=method), uncertainty="none")
            images = estimate(kspace, settings, model="t2").images.numpy()
            several = kspace.n_contrasts > 1
            row = [brain.error(images[:1], truth[:1]), brain.error(images, truth) if several else None]
            t2 = f"{100 * brain.t2_error(images):.1f} %" if several and method != "adjoint" else "-"
            rows.append([name, method, *("-" if v is None else f"{v:.3f}" for v in row), t2])
            shown[method] = images
        if options.pictures is not None:
            draw(
                brain,
                shown,
                options.pictures / f"{name.replace(' ', '-').replace('/', '-of-').replace(',', '').replace('=-', '')}.png",
            )
    note = (
        "Measured 8-coil brain of mikgroup/sigpy-mri-tutorial, 230 x 180, of which the file holds 12.4 % of the grid; the reference is the "
        "CG-SENSE image of all of it, with which the rows of measured points share noise. One contrast was measured: `subspace` and "
        "`unrolled` need several, so their cases are eight echoes of a decay with a synthetic T2 map (30 to 180 ms, growing with the "
        "smoothed brightness), seen through the measured image and its coil maps and measured again with white noise of the measured level "
        f"({brain.level:.4f}; median of the head {np.median(np.abs(brain.reference[0][brain.inside])):.2f}). Error: root mean square of "
        "the difference of magnitudes inside the head over that of the reference. 361 spokes would meet the Nyquist distance; spokes "
        "leave out the corners of k-space, which all errors along spokes contain."
    )
    columns = ["samples", "method", "error, first echo", "error, all echoes", "median T2 error"]
    publish("brain_kspace", "Reconstructions of a measured brain", columns, rows, seed=SEED, note=note)


def draw(brain: Brain, shown: dict[str, NDArray[np.complex64]], path: Path) -> None:
    """First and last echo of every method above five times their error."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    truth, echoes = shown["reference"], sorted({0, len(shown["reference"]) - 1})
    figure, axes = plt.subplots(2 * len(echoes), len(shown), figsize=(3 * len(shown), 7.6 * len(echoes)), squeeze=False)
    for row, echo in enumerate(echoes):
        top = float(np.quantile(np.abs(truth[echo][brain.inside]), 0.99))
        for column, (method, images) in enumerate(shown.items()):
            image, difference = np.abs(images[echo, 0]), np.abs(np.abs(images[echo, 0]) - np.abs(truth[echo, 0]))
            axes[2 * row, column].imshow(image, cmap="gray", vmin=0, vmax=top)
            axes[2 * row, column].set_title(f"{method}, echo {echo + 1}", fontsize=9)
            axes[2 * row + 1, column].imshow(difference, cmap="gray", vmin=0, vmax=top / 5)
    for axis in axes.flat:
        axis.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=60)
    plt.close(figure)


if __name__ == "__main__":
    main()
