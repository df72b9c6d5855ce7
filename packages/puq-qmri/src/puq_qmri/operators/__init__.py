"""Linear operators: Fourier transforms on and off the grid, coils, sampling, and their algebra."""

from puq_qmri.operators.acquisition import acquisition
from puq_qmri.operators.base import Identity, LinearOperator, Mask
from puq_qmri.operators.fft import Convolution, Fft
from puq_qmri.operators.nufft import Nufft
from puq_qmri.operators.sensitivity import Sensitivity
from puq_qmri.operators.toeplitz import Toeplitz

__all__ = ["Convolution", "Fft", "Identity", "LinearOperator", "Mask", "Nufft", "Sensitivity", "Toeplitz", "acquisition"]
