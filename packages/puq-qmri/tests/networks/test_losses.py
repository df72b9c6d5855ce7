from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from medcore.errors import InputError
from puq_qmri.networks.losses import beta_nll, nll, squared_error


def complex_images(seed, shape=(3, 1, 6, 5)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex64)


class TestSquaredError:
    def test_is_the_mean_over_real_and_imaginary_part(self):
        truth, images = complex_images(0), complex_images(1)
        expected = ((images - truth).real ** 2 + (images - truth).imag ** 2) / 2
        torch.testing.assert_close(squared_error(images, truth), expected)

    @given(seed=st.integers(0, 1000))
    def test_of_real_images_sees_signed_amplitudes_alone(self, seed):
        """Images s exp(i phi) and truth t exp(i phi) of both signs: (s - t)^2, whatever the phase."""
        generator = np.random.default_rng(seed)
        s, t = generator.standard_normal((2, 3, 1, 4, 4)).astype(np.float32)
        phase = np.exp(1j * generator.uniform(0, 7, (1, 1, 4, 4))).astype(np.complex64)
        found = squared_error(torch.from_numpy(s * phase), torch.from_numpy(t * phase), real_images=True)
        np.testing.assert_allclose(found, (s - t) ** 2, rtol=1e-4, atol=1e-5)

    def test_of_real_images_an_error_of_the_phase_counts_only_in_second_order(self):
        truth = torch.ones(1, 1, 1, 1, dtype=torch.complex64)
        turned = truth * np.exp(0.1j)
        assert squared_error(turned, truth, real_images=True).item() == pytest.approx((1 - math.cos(0.1)) ** 2, rel=1e-3)
        assert squared_error(turned, truth).item() > 4e-3

    def test_an_image_of_zero_misses_all_of_the_truth(self):
        truth = complex_images(2)
        found = squared_error(torch.zeros_like(truth), truth, real_images=True)
        torch.testing.assert_close(found, truth.abs() ** 2)
        assert not squared_error(0 * truth, 0 * truth, real_images=True).any()


class TestNll:
    def test_is_the_normal_likelihood_without_its_constant(self):
        variance, error = np.array([0.3, 2.0]), np.array([0.5, -1.2])
        found = nll(*(torch.from_numpy(v).reshape(2, 1, 1, 1) for v in (np.log(variance), error**2)), torch.ones(1, 1, 1).bool())
        expected = -stats.norm.logpdf(error, scale=np.sqrt(variance)).mean() - math.log(2 * math.pi) / 2
        assert found.item() == pytest.approx(expected)

    @given(seed=st.integers(0, 1000), beta=st.sampled_from([0.0, 0.5, 1.0]))
    def test_is_least_where_the_variance_is_the_squared_error(self, seed, beta):
        """The gradient vanishes there for every beta, and points there from both sides."""
        error = torch.rand(2, 1, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
        mask = torch.ones(1, 3, 3, dtype=torch.bool)
        for shift, sign in ((-0.5, -1), (0.0, 0), (0.5, 1)):
            given_ = (error.log() + shift).requires_grad_()
            beta_nll(given_, error, mask, beta=beta).backward()
            if sign:
                assert (sign * given_.grad > 0).all()
            else:
                torch.testing.assert_close(given_.grad, torch.zeros_like(error), atol=1e-12, rtol=0)

    def test_beta_weighs_the_gradients_with_a_power_of_the_variance(self):
        logarithm, error = torch.tensor([-2.0, 0.0, 3.0]).reshape(3, 1, 1, 1), torch.full((3, 1, 1, 1), 0.7)
        mask = torch.ones(1, 1, 1, dtype=torch.bool)
        gradients = []
        for beta in (0.0, 0.5):
            given_ = logarithm.clone().requires_grad_()
            beta_nll(given_, error, mask, beta=beta).backward()
            gradients.append(given_.grad)
        torch.testing.assert_close(gradients[1] / gradients[0], (0.5 * logarithm).exp())

    def test_voxels_outside_the_mask_and_of_infinite_variance_do_not_count(self):
        logarithm, error = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.rand(2, 1, 4, 4)
        mask = torch.ones(1, 4, 4, dtype=torch.bool)
        mask[0, 0] = False
        spoiled, wrong = logarithm.clone(), error.clone()
        spoiled[:, 0, 0], wrong[:, 0, 0] = torch.nan, torch.nan
        spoiled[1, 0, 2], wrong[1, 0, 2] = torch.inf, torch.nan
        spoiled.requires_grad_()
        loss = nll(spoiled, wrong, mask)
        keep = mask.expand(2, 1, 4, 4).clone()
        keep[1, 0, 2] = False
        assert loss.item() == pytest.approx(nll(logarithm, error, keep).item())
        loss.backward()
        assert spoiled.grad.isfinite().all()
        assert torch.equal(spoiled.grad != 0, keep)

    def test_nothing_to_learn_from_is_an_error(self):
        values = torch.zeros(1, 1, 2, 2)
        with pytest.raises(InputError, match="mask: holds no voxel of finite variance"):
            nll(values, values, torch.zeros(1, 2, 2, dtype=torch.bool))
        with pytest.raises(InputError, match="mask: holds no voxel of finite variance"):
            nll(values + torch.inf, values, torch.ones(1, 2, 2, dtype=torch.bool))

    @pytest.mark.parametrize("beta", [-0.1, 1.5, math.nan])
    def test_a_beta_that_is_none(self, beta):
        values = torch.zeros(1, 1, 2, 2)
        with pytest.raises(InputError, match="beta: is"):
            beta_nll(values, values, torch.ones(1, 2, 2, dtype=torch.bool), beta=beta)
