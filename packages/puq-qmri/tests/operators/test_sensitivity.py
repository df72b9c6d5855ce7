from __future__ import annotations

import numpy as np
import pytest
import torch

from medcore.errors import InputError
from puq_qmri.operators import Sensitivity
from puq_qmri.testing import check_linear_operator


@pytest.mark.parametrize(("contrasts", "coils"), [(1, 1), (3, 3), (2, 5)])
def test_multiplies_every_image_with_every_map(rng, contrasts, coils):
    csm = rng.standard_normal((coils, 2, 3, 4)) + 1j * rng.standard_normal((coils, 2, 3, 4))
    x = rng.standard_normal((contrasts, 2, 3, 4)) + 0j
    operator = Sensitivity(torch.as_tensor(csm), contrasts)
    np.testing.assert_allclose(operator(torch.as_tensor(x)), np.einsum("czyx,pzyx->pczyx", csm, x))
    check_linear_operator(operator, tolerance=1e-12)


def test_maps_can_be_learned():
    csm = torch.randn(2, 1, 3, 3, dtype=torch.complex128, requires_grad=True)
    x = torch.randn(1, 1, 3, 3, dtype=torch.complex128)
    assert torch.autograd.gradcheck(lambda c: Sensitivity(c, 1)(x), (csm,))


def test_refuses_maps_without_a_plane_axis():
    with pytest.raises(InputError, match=r"coil sensitivity maps: have shape \(2, 4, 4\); give \(coil, z, y, x\)"):
        Sensitivity(torch.zeros(2, 4, 4, dtype=torch.complex64), 1)
