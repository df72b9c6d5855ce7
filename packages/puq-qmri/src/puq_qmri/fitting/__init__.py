"""Batched weighted least squares with standard deviations, intervals and a status for every voxel."""

from puq_qmri.fitting.guided import Guidance, guided_fit
from puq_qmri.fitting.mlp_fit import mlp_fit
from puq_qmri.fitting.problem import fit
from puq_qmri.fitting.result import STATUS_TEXT, FitResult, Status

__all__ = ["STATUS_TEXT", "FitResult", "Guidance", "Status", "fit", "guided_fit", "mlp_fit"]
