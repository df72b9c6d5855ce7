"""What deviations are worth as weights: maps of one scan with equal, predicted, true and shuffled ones, side by side.

The scan is one where weights can matter: contrasts are undersampled by 2 and 8 in turn, so that their images are of unequal quality.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from medcore.io import KSpace
from puq_qmri.fitting import Guidance
from puq_qmri.held_out.scans import aligned
from puq_qmri.networks.variance import local_mean
from puq_qmri.pipeline import PipelineSettings, fit_images, reconstruct_images
from puq_qmri.reconstruction import Method, ReconstructionSettings
from puq_qmri.results import ReconstructedImages
from puq_qmri.simulation import SimulationSettings, Truth, simulate
from puq_qmri.uncertainty import component_errors

Model = Literal["t2", "t1"]
METHODS: tuple[Method, ...] = ("cg-sense", "subspace", "unrolled")
WEIGHTS = {
    "equal": "all contrasts the same",
    "guided": "predicted deviations, by the rule of --weighting auto",
    "oracle": "true errors, root mean square over a small window",
    "shuffled": "predicted deviations of other contrasts, as a control",
}
ACCELERATIONS = (2.0, 8.0)
_WINDOW = 5


@dataclass(frozen=True, kw_only=True)
class WeightsRow:
    """Median relative error over voxels of one tissue, by kind of weights, of one reconstruction."""

    model: Model
    method: str
    errors: dict[str, float]


def mixed_scan(model: Model, seed: int) -> SimulationSettings:
    """Lines of eight contrasts, every other one with fewer of them."""
    return SimulationSettings(model=model, trajectory="cartesian", size=96, accelerations=ACCELERATIONS * 4, seed=seed)


def compare_weights(model: Model, seed: int) -> list[WeightsRow]:
    """Simulate a scan of contrasts of unequal quality, reconstruct it in every way, and fit each with all kinds of weights.

    Parameters
    ----------
    model
        ``t2`` or ``t1``.
    seed
        Of the subject, the sampling and the noise.
    """
    kspace, truth = simulate(mixed_scan(model, seed))
    return [WeightsRow(model=model, method=method, errors=_errors(kspace, truth, method, model, seed)) for method in METHODS]


def _errors(kspace: KSpace, truth: Truth, method: Method, model: Model, seed: int) -> dict[str, float]:
    reconstruction = ReconstructionSettings(method=method)
    images = reconstruct_images(kspace, PipelineSettings(reconstruction=reconstruction, uncertainty="learned", seed=seed))
    assert images.deviation is not None  # noqa: S101 - for the type checker: `learned` gives them
    cases: dict[str, tuple[NDArray[np.float32] | None, str]] = {
        "equal": (None, "none"),
        "guided": (images.deviation, "auto"),
        "oracle": (true_deviation(images, truth), "given"),
        "shuffled": (shuffled(images.deviation, seed), "given"),
    }
    wanted = truth.maps[model][truth.pure]
    found = {}
    for name, (sigma, weighting) in cases.items():
        maps = fit_images(images.series, sigma=sigma, guidance=Guidance(weighting=weighting)).maps[model]
        error = np.abs(maps[truth.pure] - wanted) / wanted
        found[name] = float(np.median(np.where(np.isfinite(error), error, 1.0)))  # a voxel without a fit counts as wholly wrong
    return found


def true_deviation(images: ReconstructedImages, truth: Truth) -> Float[np.ndarray, "contrast z y x"]:
    """Root mean square of the true errors along the phase of the images, over a window of 5 x 5 voxels."""
    found = torch.as_tensor(images.series.data)
    errors = component_errors(found, aligned(torch.as_tensor(truth.images), found), real_images=True)[:, 0]
    return local_mean(errors.square(), _WINDOW).sqrt().numpy()


def shuffled(deviation: Float[np.ndarray, "contrast z y x"], seed: int) -> Float[np.ndarray, "contrast z y x"]:
    """Deviations of other contrasts, in an order by chance in which none keeps its place."""
    order = np.random.default_rng(seed).permutation(len(deviation))
    place = np.empty_like(order)
    place[order] = np.roll(order, 1)
    return deviation[place]
