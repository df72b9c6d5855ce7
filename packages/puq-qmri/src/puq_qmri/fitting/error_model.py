"""What a fit assumes of errors beyond their deviations: distribution, outliers, correlation between contrasts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from medcore.errors import ConfigError, InputError
from medcore.plugins import unknown_name
from puq_qmri.choices import NOISES, ROBUST
from puq_qmri.fitting.likelihood import Magnitudes
from puq_qmri.fitting.robust import solve_robustly
from puq_qmri.fitting.signals import SignalType, Solver
from puq_qmri.fitting.solution import Solution
from puq_qmri.signal_models.base import SignalModel

_SINGULAR = 1e-6


@dataclass(frozen=True, kw_only=True)
class Refined:
    """A solution, and what its covariance is made of.

    Attributes
    ----------
    solution
        Its `cost` is meaningless for robust fits.
    weights
        (voxel or 1, contrast) that the solution and its covariance count with.
    noise
        Deviation that a weight of 1 stands for; None where the residuals have to tell it.
    excess
        Deviation of each value over the one that its weight stands for; None: 1.
    """

    solution: Solution
    weights: Float[Tensor, "#voxel contrast"]
    noise: Float[Tensor, "voxel 1"] | None
    excess: Float[Tensor, "#voxel contrast"] | None


@dataclass(frozen=True, kw_only=True)
class ErrorModel:
    """Assumptions of a fit.

    Attributes
    ----------
    magnitudes
        Noise of magnitudes; None: normal noise.
    robust
        What a contrast far from the others counts.
    correlation
        Of the errors between contrasts; None: independent.
    """

    magnitudes: Magnitudes | None = None
    robust: str = "none"
    correlation: Float[np.ndarray, "contrast contrast"] | None = None

    @property
    def plain(self) -> bool:
        """Whether weighted least squares is all there is to do."""
        return self.magnitudes is None and self.robust == "none"

    def whitening(self, used: Bool[np.ndarray, " contrast"], device: torch.device) -> Float[Tensor, "contrast contrast"] | None:
        """Inverse Cholesky factor of the correlation of the contrasts that are used; the others are independent of them."""
        if self.correlation is None:
            return None
        matrix = np.where(np.outer(used, used), self.correlation, np.eye(len(used)))
        return torch.as_tensor(np.linalg.inv(np.linalg.cholesky(matrix)), device=device)

    def refine(
        self,
        fitter: Callable[[Tensor | None], Solver],
        model: SignalModel,
        times: Float[Tensor, " contrast"],
        signal: Float[Tensor, "voxel contrast"],
        start: Refined,
        known: Float[Tensor, "voxel known"] | None,
    ) -> Refined:
        """The estimates under the assumptions, from those of weighted least squares; parameters as of the parts that do it."""
        if self.magnitudes is not None and start.noise is not None:
            solution, information = self.magnitudes.solve(
                fitter, model, times, signal.abs(), start.weights, start.noise, start.solution, known
            )
            return Refined(solution=solution, weights=start.weights * information, noise=start.noise, excess=None)
        if self.robust != "none":
            solution, weights, noise, excess = solve_robustly(
                fitter(known), model, times, signal, start.weights, start.noise, start.solution, kind=self.robust, known=known
            )
            return Refined(solution=solution, weights=weights, noise=noise, excess=excess)
        return start


def checked_error_model(
    *,
    noise: str,
    noise_coils: int,
    robust: str,
    correlation: NDArray[np.floating] | None,
    kind: SignalType,
    n_contrasts: int,
    sigma_known: bool,
    weights_given: bool,
) -> ErrorModel:
    """The assumptions, where they go together.

    Raises
    ------
    ConfigError
        If a name is unknown or two assumptions exclude each other.
    InputError
        If the images or the correlation are not what they need.
    """
    if noise not in NOISES:
        raise unknown_name("--noise", noise, [*NOISES])
    if robust not in ROBUST:
        raise unknown_name("--robust", robust, [*ROBUST])
    asked = {
        f"--noise {noise}": noise != "gaussian",
        f"--robust {robust}": robust != "none",
        "a correlation between contrasts": correlation is not None,
        "weights other than inverse variances": weights_given,
    }
    several = [name for name, on in asked.items() if on]
    if len(several) > 1:
        raise ConfigError(several[0], f"does not go with {several[1]}", "choose one of them")
    if noise == "gaussian":
        return ErrorModel(robust=robust, correlation=_checked_correlation(correlation, n_contrasts))
    if kind != "magnitude":
        raise InputError(f"--noise {noise}", f"is that of magnitudes, and the images are {kind}", "use --noise gaussian")
    if not sigma_known:
        raise ConfigError(f"--noise {noise}", "needs the deviation of the noise", "give --sigma, or --sigma background")
    if noise == "rician" and noise_coils != 1:
        raise ConfigError("--noise rician", f"is that of one coil, not {noise_coils}", "use --noise non-central-chi")
    return ErrorModel(magnitudes=Magnitudes(n_coils=noise_coils))


def _checked_correlation(correlation: NDArray[np.floating] | None, n: int) -> NDArray[np.float64] | None:
    if correlation is None:
        return None
    matrix = np.asarray(correlation, np.float64)
    if matrix.shape != (n, n):
        raise InputError("correlation between contrasts", f"has shape {matrix.shape}", f"give {n} x {n}, one row for each contrast")
    sound = np.isfinite(matrix).all() and np.allclose(matrix, matrix.T, atol=1e-5) and np.allclose(np.diag(matrix), 1, atol=1e-5)
    if not sound or np.linalg.eigvalsh(matrix).min() < _SINGULAR:
        raise InputError(
            "correlation between contrasts",
            "is none that can be inverted (symmetric, 1 on the diagonal, positive)",
            "mix it with the identity, or calibrate on more scans",
        )
    return matrix
