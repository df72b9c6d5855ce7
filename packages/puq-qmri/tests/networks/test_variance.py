from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import ConfigError, InputError
from puq_qmri.networks.losses import nll, squared_error
from puq_qmri.networks.variance import Evidence, VarianceHead, VarianceSettings, gather_evidence

TIMES = (0.01, 0.025, 0.04, 0.055, 0.07, 0.09, 0.115, 0.15)


def decay(n, *, size=24, slices=1, seed=0):
    """A smooth object that decays, with a smooth phase."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    m0 = (np.hypot(y, x) < 0.8) * (1 + 0.3 * np.sin(3 * y + generator.uniform(0, 6)))
    t2 = 0.08 + 0.04 * np.tanh(3 * x + generator.uniform(-1, 1))
    phase = np.exp(1j * (0.5 * y + 0.4 * x + generator.uniform(0, 6)))
    echoes = np.exp(-np.array(TIMES[:n])[:, None, None] / t2) * m0 * phase
    return torch.from_numpy(np.repeat(echoes[:, None], slices, axis=1).astype(np.complex64))


def noise(shape, sigma, seed):
    """Complex noise whose deviation of one component is `sigma` (contrast,)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.complex64) * (2**0.5 * torch.as_tensor(sigma))[:, None, None, None]


def evidence(images, residual=None, *, level=0.05, fraction=None, times=None):
    n = len(images)
    return gather_evidence(
        images,
        0.1 * images if residual is None else residual,
        level=level,
        sampled_fraction=torch.full((n,), 0.5) if fraction is None else torch.as_tensor(fraction),
        times=torch.arange(n, dtype=torch.float64) if times is None else torch.as_tensor(times),
    )


@pytest.fixture
def head():
    """Random weights everywhere, also in the last layer, so that every input matters."""
    torch.manual_seed(0)
    found = VarianceHead(VarianceSettings(channels=8))
    torch.nn.init.normal_(found.leave.weight, std=0.3)
    return found.eval()


class TestSymmetries:
    @given(n=st.integers(1, 9), seed=st.integers(0, 1000))
    def test_the_order_of_the_contrasts_does_not_matter(self, head, n, seed):
        generator = np.random.default_rng(seed)
        images = noise((n, 1, 12, 12), generator.uniform(0.5, 2, n).astype(np.float32), seed)
        fraction, times = generator.uniform(0.1, 1, n).astype(np.float32), generator.uniform(0, 1, n)
        order = generator.permutation(n)
        with torch.no_grad():
            first = head(evidence(images, fraction=fraction, times=times))
            other = head(evidence(images[order], fraction=fraction[order], times=times[order]))
        torch.testing.assert_close(first[order], other, rtol=0, atol=2e-3)

    @given(factor=st.sampled_from([1e-25, 1e-6, 0.3, 1e4, 1e25]), turn=st.floats(0, 6.3))
    def test_unit_and_phase_of_the_images_do_not_matter(self, head, factor, turn):
        images = decay(4) + noise((4, 1, 24, 24), [0.05] * 4, 1)
        with torch.no_grad():
            plain = evidence(images)
            first, scaled = head(plain), evidence(images * (factor * np.exp(1j * turn)), level=0.05 * factor)
            assert scaled.scale == pytest.approx(factor * plain.scale, rel=1e-4)
            # The phase that is shared by both signs is a half turn, and floor and rounding are small beside the noise.
            torch.testing.assert_close(head(scaled), first, rtol=0, atol=1e-2)
            if 1e-15 < factor < 1e15:  # variances of the others lie beyond single precision
                torch.testing.assert_close(head.variance(scaled) / factor**2, head.variance(plain), rtol=3e-2, atol=0)

    def test_slices_are_treated_one_by_one(self, head):
        """Apart from scale and components, which are those of the whole volume: the same slice twice gives the same twice."""
        single = decay(5) + noise((5, 1, 24, 24), [0.03] * 5, 2)
        double = single.repeat(1, 2, 1, 1)
        with torch.no_grad():
            one, two = head(evidence(single)), head(evidence(double))
        assert two.shape == (5, 2, 24, 24)
        torch.testing.assert_close(two[:, :1], one, rtol=0, atol=1e-3)
        torch.testing.assert_close(two[:, 1:], one, rtol=0, atol=1e-3)

    def test_a_sign_that_changes_and_a_phase_of_its_own_are_no_error(self):
        """Inversion recovery and gradient echoes: without noise nothing lies across the local phase."""
        images = decay(4)
        turned = images * torch.tensor([1, -1, 1j, np.exp(0.7j)], dtype=torch.complex64)[:, None, None, None]
        inside = (images.abs() > 0.1).all(dim=0)
        across = evidence(turned).features[:, 6][:, inside]
        noisy = evidence(turned + noise(turned.shape, [0.05] * 4, 3)).features[:, 6][:, inside]
        assert (noisy.mean() - across.mean()) > 1


class TestEvidence:
    def test_the_misfit_is_the_energy_of_the_error_where_signals_lie_in_a_subspace(self):
        """Two echoes of eight with ten times the noise: local energies tell them apart and have about the right size."""
        sigma = torch.tensor([0.02, 0.02, 0.2, 0.02, 0.02, 0.2, 0.02, 0.02])
        clean = decay(8, size=48)
        found = evidence(clean + noise(clean.shape, sigma, 4))
        # Back from the logarithm the network is shown.
        energy = (3.0 * found.features[:, 0] - 7.0).exp().mean(dim=(1, 2, 3)) * found.scale**2
        ratio = energy / (2 * sigma**2)
        assert ratio[[2, 5]].tolist() == pytest.approx([1, 1], rel=0.25)
        assert (energy[[2, 5]].min() / energy[[0, 1, 3, 4, 6, 7]].max()) > 5

    def test_scale_is_the_mean_of_the_foreground(self):
        images = torch.zeros(2, 1, 20, 20, dtype=torch.complex64)
        images[:, :, 5:15, 5:15] = 3.0 * torch.tensor([1, 1j])[:, None, None, None]
        assert evidence(images).scale == pytest.approx(3.0, rel=1e-5)

    def test_equal_times_have_equal_conditions(self):
        images = decay(4)
        ranks = evidence(images, times=[1.0, 5.0, 5.0, 9.0]).conditions[:, 4]
        assert ranks.tolist() == pytest.approx([-0.5, 0.0, 0.0, 0.5])

    def test_inputs_are_left_alone_and_no_gradient_flows(self):
        images = decay(3).requires_grad_()
        before = images.detach().clone()
        found = evidence(images)
        assert not found.features.requires_grad
        assert torch.equal(images.detach(), before)


class TestUnknown:
    def test_a_contrast_without_samples_has_infinite_variance_and_leaves_the_others_alone(self, head):
        images = decay(5) + noise((5, 1, 24, 24), [0.05] * 5, 5)
        rest = [0, 1, 3, 4]
        images[2] = 0
        fraction = torch.tensor([0.5, 0.25, 0.0, 0.5, 0.5])
        with torch.no_grad():
            found = head(evidence(images, fraction=fraction))
        assert found[2].isinf().all()
        assert (found[2] > 0).all()
        assert found[rest].isfinite().all()
        with torch.no_grad():
            # What it leaves of its own is the number of contrasts and the ranks of the times, which are stated.
            other = images.clone()
            other[2] = 1e6
            torch.testing.assert_close(head(evidence(other, 0.1 * images, fraction=fraction))[rest], found[rest])

    def test_a_voxel_that_no_coil_sees_has_infinite_variance(self, head):
        images = decay(3) + noise((3, 1, 24, 24), [0.05] * 3, 6)
        images[:, 0, 3, 4] = 0
        with torch.no_grad():
            found = head(evidence(images))
        unseen = torch.zeros(3, 1, 24, 24, dtype=torch.bool)
        unseen[:, 0, 3, 4] = True
        assert torch.equal(found.isinf(), unseen)

    @pytest.mark.parametrize("n", [1, 4])
    def test_images_of_zeros_are_all_unknown(self, head, n):
        empty = torch.zeros(n, 1, 16, 16, dtype=torch.complex64)
        with torch.no_grad():
            assert head(evidence(empty)).isinf().all()

    @pytest.mark.parametrize("n", [1, 2, 3])
    @pytest.mark.parametrize("level", [0.0, 0.05])
    def test_few_contrasts_and_no_noise(self, head, n, level):
        with torch.no_grad():
            found = head(evidence(decay(n) + 1e-3, level=level))
        assert found.isfinite().all()


class TestHead:
    def test_it_is_small(self):
        assert sum(p.numel() for p in VarianceHead().parameters()) < 60_000

    @pytest.mark.parametrize("value", [-1e4, 1e4])
    def test_the_log_variance_is_bounded(self, head, value):
        torch.nn.init.constant_(head.leave.bias, value)
        with torch.no_grad():
            found = head(evidence(decay(3) + 1e-3))
        assert ((found >= -16) & (found <= 4.0001)).all()
        assert head.variance(evidence(decay(3) + 1e-3)).isfinite().all()

    def test_untrained_it_is_the_noise_across_the_phase(self):
        images = decay(6) + noise((6, 1, 24, 24), [0.1] * 6, 7)
        given = evidence(images)
        with torch.no_grad():
            found = VarianceHead()(given)
        torch.testing.assert_close(found, 3.0 * given.features[:, 3] - 7.0, atol=0.02, rtol=0)

    def test_without_conditions_the_sampling_is_not_seen(self, head):
        blind = VarianceHead(dataclasses.replace(head.settings, conditioned=False))
        blind.load_state_dict(head.state_dict())
        images = decay(4) + noise((4, 1, 24, 24), [0.05] * 4, 8)
        few, many = (evidence(images, fraction=[f, 0.5, 0.5, 0.5]) for f in (0.1, 1.0))
        with torch.no_grad():
            assert torch.equal(blind(few), blind(many))
            assert (head(few) - head(many)).abs().mean() > 1e-3

    def test_it_learns_what_only_the_sampling_tells(self):
        """Contrasts of one kind of image whose hidden error depends on the sampling alone."""
        torch.manual_seed(0)
        head = VarianceHead(VarianceSettings(channels=8, dilations=(1, 2)))
        optimiser = torch.optim.Adam(head.parameters(), lr=2e-2)
        falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, total_iters=140)
        mask = torch.ones(1, 16, 16, dtype=torch.bool)

        def example(seed):
            fraction = torch.tensor([0.1, 1.0])[torch.randint(2, (4,), generator=torch.Generator().manual_seed(seed))]
            truth = decay(4, size=16, seed=seed) + 0.5
            images = truth + noise(truth.shape, [0.15] * 4, seed)  # of all alike, which tells nothing
            error = noise(truth.shape, 0.05 / fraction, seed + 10_000)
            found = evidence(images, level=0.01, fraction=fraction)
            return found, squared_error(truth + error, truth) / found.scale**2, fraction

        for seed in range(140):
            found, errors, _ = example(seed)
            optimiser.zero_grad()
            nll(head(found), errors, mask).backward()
            optimiser.step()
            falling.step()
        with torch.no_grad():
            found, errors, fraction = example(1000)
            predicted = head(found).mean(dim=(1, 2, 3))
            expected = errors.mean(dim=(1, 2, 3)).log()
        assert len(fraction.unique()) == 2
        # The variances differ by a factor of 100, which is 4.6.
        torch.testing.assert_close(predicted, expected, atol=0.5, rtol=0)

    def test_its_weights_are_made_by_its_settings_alone(self, head):
        again = VarianceHead(head.settings)
        again.load_state_dict(head.state_dict())
        given = evidence(decay(3) + 1e-3)
        with torch.no_grad():
            assert torch.equal(again(given), head(given))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"channels": 0}, "has 0 channels"),
            ({"dilations": ()}, r"dilations \[\]"),
            ({"dilations": (1, 0)}, r"dilations \[1, 0\]"),
            ({"low": 5.0}, "limits 5 and 4"),
            ({"high": float("nan")}, "limits -16 and nan"),
        ],
    )
    def test_bad_settings(self, changes, message):
        with pytest.raises(ConfigError, match=message):
            VarianceSettings(**changes)


class TestBadEvidence:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"residual": torch.zeros(3, 1, 8, 9, dtype=torch.complex64)},
                r"residual images: have shape \(3, 1, 8, 9\), the images",
            ),
            ({"fraction": [0.5, 0.5]}, "sampled fractions: are 2, the images 3"),
            ({"times": [0.1]}, "times: are 1, the images 3"),
            ({"times": [0.1, float("nan"), 0.2]}, "times: hold values that are not finite"),
            ({"level": float("nan")}, "noise level and sampled fractions: hold a negative or infinite"),
            ({"level": -1.0}, "noise level and sampled fractions: hold a negative or infinite"),
            ({"level": torch.ones(2)}, "noise levels: are 2, the images 3"),
            ({"fraction": [0.5, -0.1, 1.0]}, "noise level and sampled fractions: hold a negative or infinite"),
        ],
    )
    def test_is_refused(self, changes, message):
        with pytest.raises(InputError, match=message):
            evidence(decay(3, size=8), **changes)

    def test_nan_in_the_images_is_named(self):
        images = decay(3, size=8)
        images[1, 0, 2, 2] = torch.nan
        with pytest.raises(InputError, match="images: hold values that are not finite"):
            evidence(images, torch.zeros_like(images))


def test_evidence_holds_no_plane_per_condition():
    """Conditions are stored once, not for every voxel."""
    found = evidence(decay(4))
    assert isinstance(found, Evidence)
    assert found.features.shape == (4, 9, 1, 24, 24)
    assert found.conditions.shape == (4, 11)
