"""Few temporal components that hold the signals of a model for all tissues."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from medcore.errors import ConfigError, InputError
from puq_qmri.signal_models import SeparableModel, SignalModel

BasisKind = Literal["svd", "cramer-rao"]
BASES: tuple[BasisKind, ...] = ("svd", "cramer-rao")
_N_CONSTANTS = 300
_LOSS = 1e-3


def temporal_basis(
    model: SignalModel, times: NDArray[np.float64], *, n_components: int | None = None, kind: BasisKind = "svd"
) -> Float[Tensor, "contrast component"]:
    """Orthonormal components of a dictionary of the model's signals.

    ``svd`` takes the singular vectors that hold most of the signals' energy (Petzschner et al. 2011, doi 10.1002/mrm.22942).
    ``cramer-rao`` adds to every signal its derivative with respect to the logarithm of the time constant, made orthogonal to the
    signal and as large as it, so that directions which decide the precision of the fit are kept although they hold little energy
    (after Mao et al. 2023, arXiv 2305.00326, who weight these derivatives by their Cramer-Rao bounds).

    Parameters
    ----------
    model
        A model with one time constant.
    times
        Times of the contrasts in seconds.
    n_components
        Number of components; by default as many as leave out less than a thousandth of the energy of the dictionary, and at least
        one more than the model has parameters.
    kind
        ``svd`` or ``cramer-rao``.

    Raises
    ------
    InputError
        If the model has no single time constant.
    ConfigError
        If there are fewer contrasts than components.
    """
    if not isinstance(model, SeparableModel):
        raise InputError(f"model {model.name}", "has no dictionary of one time constant", "choose --method cg-sense")
    if n_components is not None and not 1 <= n_components <= len(times):
        raise ConfigError("components", f"are {n_components} for {len(times)} contrasts", "give at most one for each contrast")
    at = torch.as_tensor(times, dtype=torch.float64)
    grid = torch.as_tensor(np.geomspace(*model.plausible(at), _N_CONSTANTS))
    signals = model.basis(grid, at)
    columns = [signals]
    if kind == "cramer-rao":
        frame = torch.linalg.qr(signals).Q
        slope = model.basis_slope(grid, at)
        across = slope - frame @ (frame.mT @ slope)
        sizes = signals.norm(dim=1, keepdim=True) / across.norm(dim=1, keepdim=True).clamp_min(1e-12)
        # A basis function that does not depend on the constant has no derivative.
        columns.append(across * sizes * (slope.norm(dim=1, keepdim=True) > 1e-9))
    dictionary = torch.cat([c.permute(1, 0, 2).reshape(len(times), -1) for c in columns], dim=1)
    vectors, values, _ = torch.linalg.svd(dictionary, full_matrices=False)
    lost = 1 - torch.cumsum(values**2, 0) / (values**2).sum()
    wanted = n_components or min(len(times), max(int((lost > _LOSS).sum()) + 1, len(model.parameters) + 1))
    result: Tensor = vectors[:, :wanted].float()
    return result
