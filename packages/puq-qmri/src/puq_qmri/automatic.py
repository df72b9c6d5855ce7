"""The reconstruction and the kind of uncertainty that a scan gets where the user names none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from medcore.io.kspace import KSpace
from puq_qmri.networks.weights import predicts_variance, shipped
from puq_qmri.signal_models import SeparableModel, SignalModel, find_model
from puq_qmri.uncertainty import noise_level_or_zero, sampled_fractions

JOINT: Literal["unrolled", "subspace"] = "unrolled"
"""Taken where all contrasts can be reconstructed together."""
_COMPLETE = 0.6
"""Part of the grid from which on coils alone resolve everything; a disc of spokes at the Nyquist distance holds pi / 4, partial Fourier
at least five eighths. On a measured brain with five eighths of the lines T2 was better with coils alone (benchmarks/brain_kspace.py)."""


def is_complete(kspace: KSpace) -> bool:
    """Whether every contrast that has samples was measured so fully that nothing beyond coil maps is needed."""
    fractions = sampled_fractions(kspace)
    measured = fractions[fractions > 0]
    return bool(len(measured)) and float(measured.min()) >= _COMPLETE


def automatic_method(kspace: KSpace, model: str | SignalModel | None) -> Literal["cg-sense", "unrolled", "subspace"]:
    """:data:`JOINT` where samples are missing and the signal model joins the contrasts, ``cg-sense`` otherwise.

    A model joins contrasts if it has one time constant, all of them share a phase, and more were measured than it has parameters.

    Parameters
    ----------
    kspace
        The measurement.
    model
        The signal model or its name, or None where the times tell of none.
    """
    if model is None or is_complete(kspace):
        return "cg-sense"
    chosen = find_model(model)
    kind = chosen if isinstance(chosen, type) else type(chosen)
    joined = issubclass(kind, SeparableModel) and not chosen.phase_evolves and chosen.times_key in kspace.times
    return JOINT if joined and int(kspace.measured.sum()) > len(chosen.parameters) else "cg-sense"


def automatic_uncertainty(
    kspace: KSpace, method: str, *, weights: Sequence[str]
) -> Literal["ensemble", "learned", "pseudo-replica", "none"]:
    """Where samples are missing, ``learned`` with a trained variance head and ``ensemble`` with several networks; otherwise the noise.

    Without them, or with all samples, it is the propagated noise, if there is any.

    Parameters
    ----------
    kspace
        The measurement, white.
    method
        Of the reconstruction.
    weights
        Those that the user names; without, they are those of the package for this method.

    Raises
    ------
    ConfigError, InputError
        If weights cannot be read.
    """
    if not is_complete(kspace):
        if method == "unrolled" and len(weights) > 1:
            return "ensemble"
        used = weights or [name for name in shipped() if name == method]
        if used and all(predicts_variance(one) for one in used):
            return "learned"
    return "pseudo-replica" if noise_level_or_zero(kspace) > 0 else "none"
