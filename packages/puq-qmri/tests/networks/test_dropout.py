from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from medcore.errors import InputError
from puq_qmri.networks.dropout import Moments, dropout_only, ensemble, mc_dropout
from puq_qmri.uncertainty import Prediction

SHAPE = (2, 1, 4, 3)


def images(seed, n):
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.complex64)


def prediction(seed, aleatoric=1.0, epistemic=0.0):
    one = torch.ones(SHAPE)
    return Prediction(mean=images(seed, 1)[0], aleatoric=aleatoric * one, epistemic=epistemic * one)


class Network(nn.Module):
    """Masks of a constant image: mean 1, variance of the real part p / (1 - p)."""

    def __init__(self, p=0.2):
        super().__init__()
        self.dropout = nn.Dropout(p)
        self.norm = nn.BatchNorm1d(3)
        self.calls = []

    def draw(self, n):
        self.calls.append(n)
        assert not self.norm.training
        return self.dropout(torch.ones(n, *SHAPE)).to(torch.complex64)


class TestMoments:
    @given(seed=st.integers(0, 1000), n=st.integers(2, 9), offset=st.sampled_from([0.0, 1e4]), real=st.booleans())
    def test_are_those_of_all_images_at_once(self, seed, n, offset, real):
        """Also about a mean four orders above the spread, where a sum of squares would lose everything."""
        drawn = images(seed, n) + offset
        moments = Moments(real_images=real)
        for image in drawn:
            moments.add(image)
        exact = drawn.to(torch.complex128)
        variance = (exact - exact.mean(dim=0)).abs().square().sum(dim=0) / ((n - 1) * (1 if real else 2))
        np.testing.assert_allclose(moments.mean, exact.mean(dim=0), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(moments.variance, variance, rtol=1e-5 if offset == 0 else 1e-2, atol=1e-6)

    def test_another_shape_is_refused(self):
        moments = Moments()
        moments.add(images(0, 1)[0])
        with pytest.raises(InputError, match=r"images: have shape \(1, 1, 4, 3\) after \(2, 1, 4, 3\)"):
            moments.add(images(0, 1)[0][:1])


class TestDropout:
    @pytest.mark.parametrize("real", [True, False])
    def test_mean_and_spread_are_those_of_the_masks(self, real):
        network = Network()
        found = mc_dropout(network, network.draw, n_passes=4000, batch=500, real_images=real)
        assert found.mean.real.mean().item() == pytest.approx(1, abs=0.01)
        assert found.epistemic.mean().item() == pytest.approx(0.25 / (1 if real else 2), rel=0.02)
        assert not found.aleatoric.any()

    @pytest.mark.parametrize(("n", "batch", "sizes"), [(5, 2, [2, 2, 1]), (4, 2, [2, 2]), (3, 8, [3]), (2, 1, [1, 1])])
    def test_passes_come_in_batches(self, n, batch, sizes):
        network = Network()
        mc_dropout(network, network.draw, n_passes=n, batch=batch)
        assert network.calls == sizes

    def test_predicted_variances_are_averaged(self):
        network = Network()
        variances = iter(torch.arange(1.0, 7.0))
        found = mc_dropout(
            network,
            lambda n: (list(network.draw(n)), [torch.full(SHAPE, next(variances).item()) for _ in range(n)]),
            n_passes=6,
            batch=4,
        )
        assert torch.equal(found.aleatoric, torch.full(SHAPE, 3.5))
        assert found.epistemic.mean() > 0

    def test_only_dropout_is_active_and_the_modes_come_back(self):
        network = Network()
        network.train()
        network.norm.eval()
        statistics = network.norm.running_mean.clone()
        with dropout_only(network):
            assert network.dropout.training
            assert not network.training
        assert (network.training, network.dropout.training, network.norm.training) == (True, True, False)
        assert torch.equal(network.norm.running_mean, statistics)

    def test_the_modes_come_back_after_an_error(self):
        network = Network()
        network.train()

        def fail(n):
            raise KeyError

        with pytest.raises(KeyError):
            mc_dropout(network, fail, n_passes=2)
        assert network.training

    def test_the_seed_decides_and_random_numbers_outside_go_on(self):
        network = Network()
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        first, same, other = (mc_dropout(network, network.draw, n_passes=4, seed=s) for s in (1, 1, 2))
        assert torch.equal(torch.rand(3), expected)
        assert torch.equal(first.mean, same.mean)
        assert torch.equal(first.epistemic, same.epistemic)
        assert not torch.equal(first.mean, other.mean)

    def test_results_may_be_used_in_training(self):
        network = Network()
        found = mc_dropout(network, network.draw, n_passes=2)
        weight = torch.ones(1, requires_grad=True)
        (weight * found.epistemic).sum().backward()
        assert weight.grad is not None

    def test_progress_sees_every_batch(self):
        network, seen = Network(), []
        mc_dropout(network, network.draw, n_passes=5, batch=2, progress=lambda items: (seen.append(i) or i for i in items))
        assert seen == [2, 2, 1]

    @pytest.mark.parametrize("p", [None, 0.0])
    def test_a_network_without_dropout_is_refused(self, p):
        network = nn.Linear(2, 2) if p is None else Network(p)
        with pytest.raises(InputError, match="network: has no dropout"):
            mc_dropout(network, lambda n: images(0, n), n_passes=3)

    @pytest.mark.parametrize(("n", "batch"), [(1, 1), (4, 0)])
    def test_numbers_that_make_no_sense(self, n, batch):
        network = Network()
        with pytest.raises(InputError, match=f"has {n} passes in batches of {batch}"):
            mc_dropout(network, network.draw, n_passes=n, batch=batch)

    def test_too_few_images_are_refused(self):
        with pytest.raises(InputError, match="gave 2 images in 4 passes"):
            mc_dropout(Network(), lambda n: images(0, 1), n_passes=4, batch=2)


class TestEnsemble:
    @given(seed=st.integers(0, 1000), n=st.integers(2, 6), real=st.booleans())
    def test_is_the_variance_of_the_mixture(self, seed, n, real):
        generator = np.random.default_rng(seed)
        members = [prediction(seed + i, *generator.uniform(0, 2, 2)) for i in range(n)]
        found = ensemble(iter(members), real_images=real)
        means = torch.stack([m.mean for m in members])
        torch.testing.assert_close(found.mean, means.mean(dim=0))
        torch.testing.assert_close(found.aleatoric, torch.stack([m.aleatoric for m in members]).mean(dim=0))
        spread = (means - means.mean(dim=0)).abs().square().sum(dim=0) / ((n - 1) * (1 if real else 2))
        torch.testing.assert_close(found.epistemic, spread + torch.stack([m.epistemic for m in members]).mean(dim=0))

    def test_equal_members_add_nothing(self):
        found = ensemble([prediction(0)] * 3)
        torch.testing.assert_close(found.std, torch.ones(SHAPE))

    def test_what_one_member_does_not_know_stays_unknown(self):
        hole = prediction(1)
        hole.aleatoric[0, 0, 0, 0] = torch.inf
        found = ensemble([prediction(0), hole])
        assert int(found.aleatoric.isinf().sum()) == 1

    def test_members_are_left_alone(self):
        members = [prediction(i) for i in range(3)]
        ensemble(members)
        assert torch.equal(members[0].aleatoric, torch.ones(SHAPE))
        assert torch.equal(members[0].mean, images(0, 1)[0])

    @pytest.mark.parametrize("n", [0, 1])
    def test_too_few_members(self, n):
        with pytest.raises(InputError, match=f"ensemble: has {n} members"):
            ensemble([prediction(0)] * n)
