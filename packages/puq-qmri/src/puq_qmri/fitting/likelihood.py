r"""Magnitude images whose noise is not normal: Rician, and non-central chi of several coils.

The magnitude ``m`` of a signal ``A`` with normal noise of deviation ``sigma`` in 2 N components (one coil: N = 1, Rician; root
sum of squares of N coils: non-central chi; Constantinides et al. 1997, doi 10.1002/mrm.1910380524) is too large on average, most
where the signal is low. With :math:`x = m |A| / \sigma^2` and the ratio of Bessel functions :math:`r(x) = I_N(x) / I_{N-1}(x)`, the
derivative of its log-likelihood is

.. math:: \frac{\partial \ell}{\partial |A|} = \frac{m\, r(x) - |A|}{\sigma^2},

so that the maximum of the likelihood is a fixed point: a least-squares fit to :math:`m\, r(x)`, the expected component of the
measurement along its signal. Fitting to it again and again is expectation maximisation (Dempster et al. 1977,
doi 10.1111/j.2517-6161.1977.tb01600.x), which never lowers the likelihood and needs nothing but a least-squares fitter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Num
from numpy.typing import NDArray
from scipy import special, stats
from torch import Tensor

from medcore.errors import ConfigError, InputError
from puq_qmri.fitting.signals import Solver
from puq_qmri.fitting.solution import Solution
from puq_qmri.signal_models.base import SignalModel

Fitter = Callable[[Tensor | None], Solver]
"""From known values of voxels to what fits them."""
MAX_ITERATIONS = 200
_TOLERANCE = 1e-6
"""Relative change of the signals, in units of the largest one of the voxel, below which a voxel has converged."""
_TABLE_END = 30.0
"""Signal over deviation from which magnitudes are normal but for a shift."""
_TABLE_POINTS = 601
_NODES = 400
_LEAST_BACKGROUND, _MOST_BACKGROUND = 100, 20_000
"""Voxels needed to tell noise, and voxels looked at; of more, equally spaced ones."""
_LIMIT = 0.99
_LIKE_NOISE = 0.06
"""Largest distance between two distributions that are taken for the same."""


def bessel_ratio(x: Float[Tensor, "*batch"], n_coils: int) -> Float[Tensor, "*batch"]:
    r"""``I_N(x) / I_{N-1}(x)`` for ``x >= 0``, between 0 and 1, without overflow at any ``x``.

    By exponentially scaled Bessel functions; below the smallest argument that they resolve by the limit ``x / (2 N)``.
    """
    values = x.detach().cpu().numpy()
    upper, lower = special.ive(n_coils, values), special.ive(n_coils - 1, values)
    small = values / (2 * n_coils)
    with np.errstate(invalid="ignore", divide="ignore"):  # replaced just below
        ratio = upper / lower
    # Beyond about 1e9 the scaled functions give up; there the ratio is 1 - (N - 1/2) / x.
    far = 1 - (n_coils - 0.5) / np.maximum(values, 1.0)
    found = np.where(lower > np.finfo(np.float64).tiny, ratio, small)
    found = np.where(values > 1e6, far, found)
    return torch.as_tensor(np.clip(found, 0, 1), dtype=x.dtype, device=x.device)


@dataclass(frozen=True, kw_only=True)
class Magnitudes:
    """The noise of magnitudes, and how fits to them are made.

    Attributes
    ----------
    n_coils
        Coils of a root sum of squares; 1 for Rician noise.
    """

    n_coils: int = 1

    def __post_init__(self) -> None:
        if self.n_coils < 1:
            raise ConfigError("--noise-coils", f"is {self.n_coils}", "give the number of coils, at least 1")

    def solve(
        self,
        fitter: Fitter,
        model: SignalModel,
        times: Float[Tensor, " contrast"],
        magnitude: Float[Tensor, "voxel contrast"],
        weights: Float[Tensor, "#voxel contrast"],
        noise: Float[Tensor, "voxel 1"],
        start: Solution,
        known: Float[Tensor, "voxel known"] | None = None,
    ) -> tuple[Solution, Float[Tensor, "voxel contrast"]]:
        """Maximum-likelihood estimates from the solution of a least-squares fit.

        Parameters
        ----------
        fitter
            Makes the least-squares fitter of some of the voxels.
        model, times, magnitude
            As the fitter sees them.
        weights
            Inverse variances in units of ``noise ** -2``.
        noise
            Deviation of one component that a weight of 1 stands for.
        start
            Solution of a fit of the magnitudes, with polarity restored where the model changes sign.
        known
            Known values of the model.

        Returns
        -------
        tuple
            The solution, whose `cost` is chi-square times ``noise ** 2`` with mean and variance of the magnitudes' distribution, and
            the information of each value relative to normal noise (Fisher), by which its weight counts in the covariance.
        """
        weights = weights.expand_as(magnitude)
        deviation = torch.where(weights > 0, noise * weights.rsqrt(), torch.inf)
        found, signal = start, _signal(model, times, start, known)
        iterations, active = start.iterations.clone(), torch.ones_like(start.converged)
        for _ in range(MAX_ITERATIONS):
            at = active.nonzero()[:, 0]
            expected = self.expected(magnitude[at], signal[at], deviation[at])
            values = None if known is None else known[at]
            step = fitter(values)(expected, weights[at])
            new = _signal(model, times, step, values)
            moved = (new - signal[at]).abs().amax(-1) / magnitude[at].amax(-1).clamp_min(torch.finfo(new.dtype).tiny)
            found, signal[at] = _put(found, at, step), new
            iterations[at] += 1 + step.iterations
            active[at] = moved > _TOLERANCE
            if not active.any():
                break
        level = signal.abs() / deviation
        mean, variance, information = (v.to(signal) for v in self.moments(level))
        misfit = torch.where(weights > 0, (magnitude / deviation - mean) ** 2 / variance, 0.0).sum(-1)
        return (
            replace(found, cost=misfit * noise[:, 0] ** 2, iterations=iterations, converged=found.converged & ~active),
            information,
        )

    def expected(
        self,
        magnitude: Float[Tensor, "voxel contrast"],
        signal: Float[Tensor, "voxel contrast"],
        deviation: Float[Tensor, "voxel contrast"],
    ) -> Float[Tensor, "voxel contrast"]:
        """Expected component along the signal, with the sign of the signal; zero for contrasts that are left out."""
        seen = magnitude / deviation
        ratio = bessel_ratio(seen * signal.abs() / deviation, self.n_coils)
        return torch.where(deviation.isfinite(), magnitude * ratio, 0.0) * torch.where(signal < 0, -1.0, 1.0)

    def moments(self, level: Float[Tensor, "*batch"]) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and variance of a magnitude, and its Fisher information about the signal, at ``|A| / sigma``, all for ``sigma = 1``.

        From a table by quadrature; beyond its end by the expansion of the mean for large signals.
        """
        grid, table = _table(self.n_coils)
        values = level.detach().cpu().numpy()
        mean, variance, information = (np.interp(values, grid, row) for row in table)
        far = values > _TABLE_END
        mean = np.where(far, values + (2 * self.n_coils - 1) / (2 * np.maximum(values, 1)), mean)
        variance, information = np.where(far, 1.0, variance), np.where(far, 1.0, information)
        return torch.as_tensor(mean), torch.as_tensor(variance), torch.as_tensor(information)

    def log_likelihood(
        self, magnitude: NDArray[np.float64], signal: NDArray[np.float64], deviation: NDArray[np.float64] | float
    ) -> NDArray[np.float64]:
        """Of each value, but for a constant that does not depend on the signal."""
        n, a, m = self.n_coils, np.abs(signal) / deviation, magnitude / deviation
        x = m * a
        # I_{N-1}(x) / a^(N-1) stays finite at a = 0.
        with np.errstate(divide="ignore", invalid="ignore"):
            bessel = np.log(special.ive(n - 1, x)) + x - (n - 1) * np.log(a)
        limit = (n - 1) * np.log(np.maximum(m, np.finfo(float).tiny) / 2) - special.gammaln(n)
        return np.asarray(np.where(x > 1e-12, bessel, limit) - a**2 / 2)


def background_deviation(images: Num[np.ndarray, "contrast z y x"], n_coils: int = 1) -> float:
    """Deviation of one component of the noise, from the voxels of magnitude images that hold nothing else.

    The sum of squares of a voxel without signal follows a chi-square distribution of ``2 N`` degrees of freedom for each contrast. The
    deviation is the one under which the voxels below the 99 % limit of that distribution follow it most closely, by the largest
    distance between the distributions (Kolmogorov and Smirnov).

    Parameters
    ----------
    images
        Magnitudes.
    n_coils
        Coils of a root sum of squares.

    Raises
    ------
    InputError
        If there is no such background: it was set to zero, or too few voxels look like it.
    """
    freedom = 2 * n_coils * len(images)
    squares = (np.abs(images).astype(np.float64) ** 2).reshape(len(images), -1)
    power = np.sort(squares[:, (squares > 0).all(axis=0)].sum(axis=0))
    if len(power) >= _LEAST_BACKGROUND:
        power = power[:: math.ceil(len(power) / _MOST_BACKGROUND)]
        least = float(np.quantile(power, 0.01)) / freedom
        trials = least * np.geomspace(0.5, 20.0, 400)
        distances = [_distance(power, variance, freedom) for variance in trials]
        best = int(np.argmin(distances))
        if distances[best] < _LIKE_NOISE:
            return float(np.sqrt(trials[best]))
    raise InputError(
        "images", "have no background of noise alone that its deviation could be measured in", "give the deviation with --sigma"
    )


def _distance(power: Float[np.ndarray, " voxel"], variance: float, freedom: int) -> float:
    """Largest distance between the distribution of the voxels below the limit and that of noise of this variance."""
    inside = power[: np.searchsorted(power, variance * stats.chi2.ppf(_LIMIT, freedom))]
    if len(inside) < _LEAST_BACKGROUND:
        return 1.0
    expected = special.chdtr(freedom, inside / variance) / _LIMIT
    return float(np.abs(expected - (np.arange(len(inside)) + 0.5) / len(inside)).max())


def _signal(
    model: SignalModel, times: Float[Tensor, " contrast"], solution: Solution, known: Float[Tensor, "voxel known"] | None
) -> Float[Tensor, "voxel contrast"]:
    given = solution.parameters if known is None else torch.cat([solution.parameters, known], -1)
    return model.signal(given, times)


def _put(all_of: Solution, at: Tensor, some: Solution) -> Solution:
    """The solution with other values at some voxels."""
    changed = {}
    for name in ("parameters", "cost", "converged", "at_bound"):
        values = getattr(all_of, name).clone()
        values[at] = getattr(some, name)
        changed[name] = values
    return replace(all_of, **changed)


@cache
def _table(n_coils: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Levels, and for each mean, variance and information of the magnitude, by Gauss-Legendre quadrature."""
    grid = np.linspace(0, _TABLE_END, _TABLE_POINTS)
    nodes, worth = np.polynomial.legendre.leggauss(_NODES)
    spread = 9.0 + np.sqrt(2 * n_coils)
    low = np.maximum(0.0, grid - 9.0)
    high = grid + spread
    m = low[:, None] + (high - low)[:, None] * (nodes + 1) / 2
    a = grid[:, None]
    log = Magnitudes(n_coils=n_coils).log_likelihood(m, np.broadcast_to(a, m.shape), 1.0) + n_coils * np.log(m) - m**2 / 2
    density = np.exp(log - log.max(axis=1, keepdims=True)) * worth
    density /= density.sum(axis=1, keepdims=True)
    mean = (density * m).sum(axis=1)
    variance = (density * (m - mean[:, None]) ** 2).sum(axis=1)
    ratio = bessel_ratio(torch.as_tensor(m * a), n_coils).numpy()
    information = (density * (m * ratio - a) ** 2).sum(axis=1)
    return grid, np.stack([mean, variance, information])
