"""The operator from images to the samples of one measurement, chosen from the measurement itself."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Complex64

from medcore.errors import InputError
from medcore.io.kspace import KSpace
from puq_qmri.operators.base import LinearOperator
from puq_qmri.operators.fft import Fft
from puq_qmri.operators.nufft import DEFAULT_EPS, Backend, Nufft
from puq_qmri.operators.sensitivity import Sensitivity


def acquisition(
    kspace: KSpace,
    csm: Complex64[np.ndarray, "coil z y x"],
    *,
    backend: Backend = "auto",
    eps: float = DEFAULT_EPS,
    device: str | torch.device = "cpu",
) -> LinearOperator:
    """``sampling . Fourier . coils``: from images (contrast, z, y, x) to samples shaped like ``kspace.data``.

    Parameters
    ----------
    kspace
        The measurement whose matrix, coils and trajectory or mask are used; not its samples.
    csm
        Coil sensitivity maps.
    backend, eps
        See :class:`Nufft`; without a trajectory they mean nothing.
    device
        Where the operator's own tensors lie.

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
        return Nufft(traj, kspace.matrix, kspace.n_coils, eps=eps, backend=backend) @ coils
    mask = None if kspace.mask is None else torch.as_tensor(kspace.mask, device=device)[:, None]
    return Fft(coils.codomain, mask) @ coils
