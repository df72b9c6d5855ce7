"""The operator from images to the samples of one measurement, chosen from the measurement itself."""

from __future__ import annotations

import numpy as np
import torch
from medcore.errors import InputError
from medcore.io.kspace import KSpace
from numpy.typing import NDArray

from puq_qmri.operators.base import LinearOperator, Mask
from puq_qmri.operators.fft import Fft
from puq_qmri.operators.nufft import Backend, Nufft
from puq_qmri.operators.sensitivity import Sensitivity


def acquisition(
    kspace: KSpace, csm: NDArray[np.complex64], *, backend: Backend = "auto", device: str | torch.device = "cpu"
) -> LinearOperator:
    """``sampling . Fourier . coils``: from images (contrast, z, y, x) to samples shaped like ``kspace.data``.

    Raises
    ------
    InputError
        If the coil maps do not fit the measurement.
    """
    expected = (kspace.n_coils, *kspace.matrix)
    if csm.shape != expected:
        raise InputError("coil sensitivity maps", f"have shape {csm.shape}", f"give {expected}, as {kspace.source} needs")
    coils = Sensitivity(torch.as_tensor(csm, device=device), kspace.n_contrasts)
    if kspace.traj is not None:
        traj = torch.as_tensor(kspace.traj, device=device)
        return Nufft(traj, kspace.matrix, kspace.n_coils, backend=backend) @ coils
    fourier = Fft(coils.codomain) @ coils
    if kspace.mask is None:
        return fourier
    mask = torch.as_tensor(kspace.mask, device=device)[:, None]
    return Mask(mask, fourier.codomain) @ fourier
