"""Linear operators: Fourier transforms on and off the grid, coils, sampling, and their algebra."""

from puq_qmri.operators.acquisition import acquisition
from puq_qmri.operators.base import Expansion, Identity, LinearOperator, Mask
from puq_qmri.operators.fft import Convolution, Fft, SubspaceConvolution
from puq_qmri.operators.nufft import Nufft
from puq_qmri.operators.sensitivity import Sensitivity
from puq_qmri.operators.toeplitz import SubspaceToeplitz, Toeplitz

__all__ = [
    "Convolution",
    "Expansion",
    "Fft",
    "Identity",
    "LinearOperator",
    "Mask",
    "Nufft",
    "Sensitivity",
    "SubspaceConvolution",
    "SubspaceToeplitz",
    "Toeplitz",
    "acquisition",
]
