"""The fit with the weights that a rule chooses, and with what else is assumed of the errors."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from medcore.errors import ConfigError
from medcore.plugins import unknown_name
from puq_qmri.choices import NOISES, ROBUST, WEIGHTINGS, Intervals
from puq_qmri.fitting.mlp import PixelMlp
from puq_qmri.fitting.mlp_fit import mlp_fit
from puq_qmri.fitting.problem import fit
from puq_qmri.fitting.result import FitResult
from puq_qmri.fitting.weighting import weigh
from puq_qmri.signal_models import SignalModel


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """How errors of the images enter a fit.

    Attributes
    ----------
    weighting
        ``auto``, ``none``, ``given`` or ``misfit-aware`` (:mod:`puq_qmri.fitting.weighting`), or ``correlated``: inverse variances and
        the correlation between contrasts. Without deviations ``auto`` weighs all contrasts the same; with robust estimates or other
        noise than normal it takes the deviations as given.
    labels
        Integer image of regions that are judged apart; None: slices.
    correlation
        Of the errors between contrasts, for ``correlated``.
    robust
        ``none``, ``huber`` or ``tukey``.
    noise, noise_coils
        ``gaussian``, ``rician`` or ``non-central-chi`` of so many coils.
    """

    weighting: str = "auto"
    labels: Int[np.ndarray, "z y x"] | None = None
    correlation: Float[np.ndarray, "contrast contrast"] | None = None
    robust: str = "none"
    noise: str = "gaussian"
    noise_coils: int = 1

    def __post_init__(self) -> None:
        for option, value, names in (
            ("--weighting", self.weighting, WEIGHTINGS),
            ("--robust", self.robust, ROBUST),
            ("--noise", self.noise, NOISES),
        ):
            if value not in names:
                raise unknown_name(option, value, [*names])

    def of_contrasts(self, used: list[int]) -> Guidance:
        """The same for some of the contrasts."""
        if self.correlation is None:
            return self
        return dataclasses.replace(self, correlation=np.asarray(self.correlation)[np.ix_(used, used)])

    def rule(self, sigma: float | NDArray[Any] | None) -> str:
        """The weighting in place of ``auto``, as far as it does not depend on the images.

        Raises
        ------
        ConfigError
            If it needs deviations or a correlation that are not there.
        """
        if self.weighting in {"given", "misfit-aware", "correlated"} and sigma is None:
            raise ConfigError(
                f"--weighting {self.weighting}", "needs deviations of the images", "give --sigma, or --weighting none"
            )
        if self.weighting == "correlated" and self.correlation is None:
            raise ConfigError(
                "--weighting correlated",
                "needs the correlation between contrasts",
                "give a calibration of this protocol that has it",
            )
        if self.weighting == "auto" and (sigma is None or self.robust != "none" or self.noise != "gaussian"):
            return "given"
        return self.weighting


def guided_fit(
    images: NDArray[Any],
    times: NDArray[np.floating[Any]],
    model: SignalModel,
    *,
    sigma: float | NDArray[Any] | None = None,
    guidance: Guidance | None = None,
    mask: NDArray[Any] | None = None,
    intervals: Intervals = "auto",
    mlp: PixelMlp | None = None,
    **options: Any,
) -> FitResult:
    """:func:`puq_qmri.fitting.fit` with weights by the rule of the guidance.

    Parameters
    ----------
    images, times, model, sigma, mask, intervals
        As :func:`puq_qmri.fitting.fit` takes them.
    guidance
        By default weights are chosen by the rule ``auto``.
    mlp
        A network that takes the place of the fit; it reads the deviations itself, so that no rule chooses weights.
    options
        ``known``, ``signal``, ``fitter``, ``device``.

    Returns
    -------
    FitResult
        ``facts["weighting"]`` says what was chosen and why.

    Raises
    ------
    ConfigError
        If the guidance needs what is not there, or its parts exclude each other.
    InputError
        As :func:`puq_qmri.fitting.fit`.
    """
    guidance = guidance or Guidance()
    rule = guidance.rule(sigma)
    if mlp is not None:
        return _by_network(images, times, model, mlp, guidance, {"sigma": sigma, "mask": mask, "intervals": intervals, **options})
    errors: dict[str, Any] = {"robust": guidance.robust, "noise": guidance.noise, "noise_coils": guidance.noise_coils}
    common: dict[str, Any] = {"mask": mask, **options}
    final: dict[str, Any] = {"intervals": intervals, **errors, **common}
    shared = not isinstance(sigma, np.ndarray) or sigma.shape != images.shape
    facts: dict[str, Any] = {"rule": guidance.weighting, "taken": "none" if sigma is None else rule}
    if rule == "correlated":
        result = fit(images, times, model, sigma=sigma, correlation=guidance.correlation, **final)
    elif sigma is None or rule == "given" or (shared and rule == "auto"):
        facts["taken"] = "none" if sigma is None else "given"
        result = fit(images, times, model, sigma=sigma, **final)
    else:
        whole = _whole(sigma, images.shape)
        chosen = weigh(images, times, model, whole, rule=rule, labels=guidance.labels, **common)
        facts = chosen.facts
        result = fit(images, times, model, sigma=chosen.deviation, weights=chosen.weights, **final)
    return dataclasses.replace(result, facts={**result.facts, "weighting": facts})


def _by_network(
    images: NDArray[Any],
    times: NDArray[np.floating[Any]],
    model: SignalModel,
    mlp: PixelMlp,
    guidance: Guidance,
    options: dict[str, Any],
) -> FitResult:
    """The network's maps; what it cannot take into account is refused."""
    fitter, known = options.pop("fitter", "auto"), options.pop("known", None)
    chosen = (
        ("--fitter", fitter, ("auto", "mlp")),
        ("--weighting", guidance.weighting, ("auto",)),
        ("--robust", guidance.robust, ("none",)),
        ("--noise", guidance.noise, ("gaussian",)),
        ("--intervals", options.pop("intervals"), ("auto", "normal")),
    )
    for option, value, possible in chosen:
        if value not in possible:
            raise ConfigError(
                f"{option} {value}", "was asked of a network, which has no choice of it", "leave --mlp or this option out"
            )
    if known:
        raise ConfigError(f"known map {next(iter(known))!r}", "was given to a network, which takes none", "use another fitter")
    result = mlp_fit(images, times, model, mlp, **options)
    facts = {"rule": "auto", "taken": "network" if mlp.settings.guided else "none"}
    return dataclasses.replace(result, facts={**result.facts, "weighting": facts})


def _whole(sigma: float | NDArray[Any], shape: tuple[int, ...]) -> Float[np.ndarray, "contrast z y x"]:
    """Deviations of every voxel from one number, or one for each contrast."""
    values = np.asarray(sigma, np.float32)
    if values.shape == shape[:1]:
        values = values[:, None, None, None]
    return np.broadcast_to(values, shape)
