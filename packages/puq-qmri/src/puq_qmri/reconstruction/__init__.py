"""Images from k-space without training: the adjoint, CG-SENSE, and a subspace of the signal model."""

from puq_qmri.reconstruction.linear import Reconstruction, conjugate_gradients, repeat_course
from puq_qmri.reconstruction.reconstructor import NUFFT_EPS, Reconstructor, reconstruct
from puq_qmri.reconstruction.settings import METHODS, Method, ReconstructionSettings

__all__ = [
    "METHODS",
    "NUFFT_EPS",
    "Method",
    "Reconstruction",
    "ReconstructionSettings",
    "Reconstructor",
    "conjugate_gradients",
    "reconstruct",
    "repeat_course",
]
