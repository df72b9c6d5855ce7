from __future__ import annotations

import numpy as np
import pytest
import torch

from medcore.errors import InputError
from medcore.io.kspace import KSpace
from puq_qmri.operators import acquisition
from puq_qmri.testing import check_linear_operator

MATRIX, COILS, CONTRASTS = (1, 8, 6), 3, 3


@pytest.fixture
def csm(rng):
    return (rng.standard_normal((COILS, *MATRIX)) + 1j * rng.standard_normal((COILS, *MATRIX))).astype(np.complex64)


def kspace(kind, rng):
    common = {"matrix": MATRIX, "fov": (0.005, 0.2, 0.2)}
    if kind == "radial":
        traj = rng.uniform(-3, 3, (CONTRASTS, 4, 5, 2)).astype(np.float32)
        return KSpace(data=np.zeros((CONTRASTS, COILS, 4, 5), np.complex64), traj=traj, **common)
    mask = rng.random((CONTRASTS, *MATRIX)) < 0.5 if kind == "undersampled" else None
    return KSpace(data=np.zeros((CONTRASTS, COILS, *MATRIX), np.complex64), mask=mask, **common)


@pytest.mark.parametrize("kind", ["full", "undersampled", "radial"])
def test_is_sampling_after_fourier_after_coils(rng, csm, kind):
    given = kspace(kind, rng)
    operator = acquisition(given, csm)
    assert operator.domain == (CONTRASTS, *MATRIX)
    assert operator.codomain == given.data.shape
    check_linear_operator(operator, tolerance=1e-6)
    x = rng.standard_normal(operator.domain) + 1j * rng.standard_normal(operator.domain)
    coil_images = np.einsum("czyx,pzyx->pczyx", csm, x)
    if kind == "radial":
        positions = np.stack(np.meshgrid(np.arange(8) - 4, np.arange(6) - 3, indexing="ij"), -1)
        phase = np.einsum("psjd,yxd->psjyx", given.traj.astype(float), positions)
        expected = np.einsum("psjyx,pcyx->pcsj", np.exp(-1j * phase), coil_images[:, :, 0]) / np.sqrt(48)
    else:
        axes = (-2, -1)
        shifted = np.fft.fftn(np.fft.ifftshift(coil_images, axes), axes=axes, norm="ortho")
        expected = np.fft.fftshift(shifted, axes) * (1 if given.mask is None else given.mask[:, None])
    np.testing.assert_allclose(operator(torch.as_tensor(x)), expected, rtol=1e-4, atol=1e-5)


def test_maps_must_fit_the_measurement(rng, csm):
    with pytest.raises(InputError, match=r"coil sensitivity maps: have shape \(3, 1, 8, 5\); give \(3, 1, 8, 6\)"):
        acquisition(kspace("full", rng), csm[..., :5])
