"""Saturation recovery: as inversion recovery, from a magnetisation that starts near zero."""

from __future__ import annotations

from typing import ClassVar

from puq_qmri.signal_models.base import Parameter
from puq_qmri.signal_models.inversion_recovery import InversionRecovery, PerfectInversionRecovery
from puq_qmri.signal_models.quantities import M0, T1


class SaturationRecovery(InversionRecovery):
    """Three-parameter saturation recovery ``s(t) = M0 (1 - f exp(-t / T1))`` at times ``t`` after the saturation.

    The factor ``f`` is 1 for a perfect saturation; estimating it removes the bias of an imperfect one and of what the readout
    does to the magnetisation, for a larger deviation of T1 (Chow et al. 2014).
    """

    name: ClassVar[str] = "saturation-recovery"
    summary: ClassVar[str] = "M0 (1 - f exp(-t/T1)), f estimated"
    source: ClassVar[str] = "Chow et al. 2014, doi 10.1002/mrm.24878"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        M0,
        T1,
        Parameter(name="saturation", map_name="saturationmap", unit="1", lower=0.0, upper=2.0, typical=(0.8, 1.1)),
    )
    changes_sign: ClassVar[bool] = False


class PerfectSaturationRecovery(PerfectInversionRecovery):
    """Two-parameter saturation recovery ``s(t) = M0 (1 - exp(-t / T1))``: perfect saturation."""

    name: ClassVar[str] = "saturation-recovery2"
    summary: ClassVar[str] = "M0 (1 - exp(-t/T1))"
    source: ClassVar[str] = "Chow et al. 2014, doi 10.1002/mrm.24878"
    changes_sign: ClassVar[bool] = False
    depth: ClassVar[float] = 1.0
