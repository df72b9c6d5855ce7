from __future__ import annotations

import copy
import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from medcore.errors import InputError
from puq_qmri.calibration import Calibration, Provenance, calibrate
from puq_qmri.uncertainty import Prediction, component_errors

SIZE = 24


def scans(seed, n, *, factor=(1.0, 1.0, 1.0), real=False, heavy=False, size=SIZE, correlation=0.0):
    """Predictions whose deviations differ tenfold between voxels and are too small by `factor` in each contrast."""
    generator = np.random.default_rng(seed)
    wrong = np.asarray(factor)[:, None, None, None]
    shape = (len(factor), 1, size, size)
    found = []
    for _ in range(n):
        std = np.exp(generator.uniform(np.log(0.1), 0, shape))
        draw = (lambda s: generator.standard_t(3, s)) if heavy else generator.standard_normal
        common = draw((2, 1, *shape[1:]))
        parts = math.sqrt(correlation) * common + math.sqrt(1 - correlation) * draw((2, *shape))
        direction = np.exp(1j * generator.uniform(0, 6, (1, *shape[1:])))
        truth = 5 * direction * np.ones((len(factor), 1, 1, 1))
        error = std * wrong * (parts[0] * direction if real else parts[0] + 1j * parts[1])
        variance = torch.from_numpy((std**2).astype(np.float32))
        prediction = Prediction(
            mean=torch.from_numpy((truth + error).astype(np.complex64)), aleatoric=variance * 0.75, epistemic=variance * 0.25
        )
        found.append((prediction, torch.from_numpy(truth.astype(np.complex64)), torch.ones(shape[1:], dtype=torch.bool)))
    return found


def held(calibration, found, level, *, real=False):
    """Share of error components inside the intervals, and how many there are."""
    inside, total = 0, 0
    for prediction, truth, mask in found:
        errors = component_errors(prediction.mean, truth, real_images=real)[..., mask].abs()
        inside += int((errors <= calibration.interval(prediction, level)[:, None, mask]).sum())
        total += errors.numel()
    return inside / total, total


PROVENANCE = Provenance(n_scans=2, n_values=100)


class TestCoverage:
    @given(
        seed=st.integers(0, 10_000),
        factor=st.lists(st.floats(0.05, 20), min_size=1, max_size=4),
        heavy=st.booleans(),
        real=st.booleans(),
        per_contrast=st.booleans(),
    )
    def test_exchangeable_scans_are_covered_as_promised(self, seed, factor, heavy, real, per_contrast):
        """Whatever the distribution of the errors and the mistake of the deviations."""
        data = scans(seed, 4, factor=factor, heavy=heavy, real=real)
        calibration = calibrate(*zip(*data[:2], strict=True), real_images=real, per_contrast=per_contrast)
        for level in (0.5, 0.68, 0.9, 0.95):
            share, n = held(calibration, data[2:], level, real=real)
            # Both sides are samples of n: six deviations, for hundreds of trials.
            assert abs(share - level) < 6 * math.sqrt(2 * level * (1 - level) / n) + 1 / n

    def test_one_scale_where_contrasts_differ_covers_on_average_and_a_scale_for_each_covers_each(self):
        data = scans(1, 6, factor=(0.5, 4.0))
        one, each = (calibrate(*zip(*data[:3], strict=True), per_contrast=p) for p in (False, True))
        assert isinstance(one.scale, float)
        assert each.scale == pytest.approx((0.5, 4.0), rel=0.05)
        for calibration, expected in ((each, True), (one, False)):
            shares = []
            for number in range(2):
                inside = [
                    (component_errors(p.mean, t)[number].abs() <= calibration.interval(p, 0.9)[number]).float().mean()
                    for p, t, _ in data[3:]
                ]
                shares.append(float(np.mean(inside)))
            assert (np.abs(np.array(shares) - 0.9) < 0.03).all() == expected
        assert held(one, data[3:], 0.9)[0] == pytest.approx(0.9, abs=0.02)

    def test_contrasts_may_vary_in_number_with_one_scale(self):
        data = scans(2, 2, factor=(2.0, 2.0)) + scans(3, 2, factor=(2.0,) * 5)
        calibration = calibrate(*zip(*data, strict=True), per_contrast=False)
        assert calibration.scale == pytest.approx(2.0, rel=0.03)
        assert calibration.correlation is None
        assert calibration.n_contrasts is None
        assert calibration.apply(scans(4, 1, factor=(1.0,) * 7)[0][0]).std.shape[0] == 7

    def test_normal_errors_have_the_quantiles_of_the_normal_distribution(self):
        calibration = calibrate(*zip(*scans(5, 8, size=48), strict=True))
        for level, factor in calibration.quantiles.items():
            assert factor == pytest.approx(stats.norm.ppf((1 + level) / 2), rel=0.02)

    def test_every_scan_weighs_the_same(self):
        """A scan of many voxels does not outvote the others."""
        small, large = scans(6, 2, factor=(1.0,), size=16), scans(7, 1, factor=(3.0,), size=96)
        calibration = calibrate(*zip(*(small + large), strict=True))
        assert calibration.scale[0] == pytest.approx(math.sqrt((1 + 1 + 9) / 3), rel=0.05)

    @pytest.mark.parametrize(("n", "expected"), [(3, 4.0), (19, math.inf), (2, math.inf)])
    def test_the_finite_sample_correction_by_hand(self, n, expected):
        """Errors 1 ... n with a deviation of 1 and a level of 3/4: the ceil(3/4 (n + 1))-th, over their root mean square."""
        level = 0.75 if n == 3 else 0.95 if n == 2 else 0.9501
        size = 32
        mask = torch.zeros(1, size, 1, dtype=torch.bool)
        mask[0, :n] = True
        mean = torch.zeros(1, 1, size, 1, dtype=torch.complex64)
        mean[0, 0, :n, 0] = 10 + torch.arange(1, n + 1)
        one = torch.ones(1, 1, size, 1)
        prediction = Prediction(mean=mean, aleatoric=one, epistemic=0 * one)
        calibration = calibrate([prediction], [torch.full_like(mean, 10)], [mask], real_images=True, levels=(level,))
        rms = math.sqrt(np.mean(np.arange(1, n + 1) ** 2))
        # ceil(4 * 3/4) = 3 of 3; ceil(20 * 0.9501) = 20 of 19 and ceil(3 * 0.95) = 3 of 2 are more than there are.
        assert calibration.quantiles[level] == pytest.approx(3 / rms if n == 3 else expected)


class TestScale:
    @given(seed=st.integers(0, 10_000), factor=st.floats(1e-6, 1e6))
    def test_scaled_errors_scale_the_result_and_nothing_else(self, seed, factor):
        data = scans(seed, 2)
        changed = [
            (dataclasses.replace(p, aleatoric=p.aleatoric * factor**2, epistemic=p.epistemic * factor**2), t, m) for p, t, m in data
        ]
        first, second = (calibrate(*zip(*d, strict=True)) for d in (data, changed))
        np.testing.assert_allclose(np.array(second.scale) * factor, first.scale, rtol=1e-4)
        np.testing.assert_allclose(list(second.quantiles.values()), list(first.quantiles.values()), rtol=1e-4)

    @given(seed=st.integers(0, 10_000), real=st.booleans())
    def test_a_right_prediction_keeps_its_scale(self, seed, real):
        calibration = calibrate(*zip(*scans(seed, 3, real=real), strict=True), real_images=real)
        n = 3 * SIZE**2 * (1 if real else 2)
        # Deviation of a root mean square of n normal values: 1 / sqrt(2 n).
        assert np.abs(np.array(calibration.scale) - 1).max() < 5 / math.sqrt(2 * n)

    def test_applying_it_makes_the_next_calibration_one(self):
        data = scans(8, 2, factor=(0.3, 2.0, 7.0))
        first = calibrate(*zip(*data, strict=True))
        again = calibrate(*zip(*[(first.apply(p), t, m) for p, t, m in data], strict=True))
        np.testing.assert_allclose(again.scale, 1, rtol=1e-5)
        applied = first.apply(data[0][0])
        torch.testing.assert_close(applied.aleatoric / 3, applied.epistemic)

    def test_voxels_without_variance_do_not_count(self):
        data = scans(9, 2)
        holes = []
        for prediction, truth, mask in data:
            variance, mean = prediction.aleatoric.clone(), prediction.mean.clone()
            variance[:, 0, :5], mean[:, 0, :5] = torch.inf, 1e6
            empty = dataclasses.replace(prediction, mean=mean, aleatoric=variance)
            inside = mask.clone()
            inside[0, 5:8] = False
            empty.mean[:, 0, 5:8] = torch.nan
            holes.append((empty, truth, inside))
        calibration = calibrate(*zip(*holes, strict=True))
        np.testing.assert_allclose(calibration.scale, 1, atol=0.1)
        assert calibration.provenance.n_values == 2 * 3 * 2 * (SIZE - 8) * SIZE

    def test_correlation_between_contrasts_is_learned(self):
        calibration = calibrate(*zip(*scans(10, 6, factor=(1.0, 2.0, 0.5), correlation=0.6), strict=True))
        expected = np.full((3, 3), 0.6) + 0.4 * np.eye(3)
        np.testing.assert_allclose(calibration.correlation, expected, atol=0.03)

    def test_inputs_are_left_alone_and_scans_are_taken_one_by_one(self):
        data = scans(11, 3)
        before = copy.deepcopy(data)
        seen = []

        def lazily():
            for prediction, _, _ in data:
                seen.append(len(seen))
                yield prediction

        calibration = calibrate(lazily(), (t for _, t, _ in data), (m for _, _, m in data))
        calibration.apply(data[0][0])
        assert seen == [0, 1, 2]
        for (p, t, m), (q, u, n) in zip(data, before, strict=True):
            assert torch.equal(p.mean, q.mean)
            assert torch.equal(p.aleatoric, q.aleatoric)
            assert torch.equal(t, u)
            assert torch.equal(m, n)


class TestFile:
    @pytest.fixture
    def calibration(self):
        return calibrate(*zip(*scans(12, 2, correlation=0.3), strict=True), seeds=(3, 4), sampling="cartesian", method="cg-sense")

    @pytest.mark.parametrize("per_contrast", [True, False])
    def test_comes_back_the_same(self, tmp_path, per_contrast):
        made = calibrate(*zip(*scans(13, 2), strict=True), per_contrast=per_contrast, levels=(0.5, 0.999999))
        made.write(tmp_path / "calibration.json")
        assert Calibration.read(tmp_path / "calibration.json") == made
        assert Calibration.read(tmp_path) == made

    def test_a_level_that_too_few_errors_promise_stays_infinite(self, tmp_path):
        made = calibrate(*zip(*scans(14, 1, factor=(1.0,), size=4), strict=True), levels=(0.5, 0.99))
        assert made.quantiles[0.99] == math.inf
        made.write(tmp_path / "c.json")
        assert Calibration.read(tmp_path / "c.json").quantiles[0.99] == math.inf

    def test_says_what_it_was_measured_on(self, calibration):
        facts = calibration.as_dict()["provenance"]
        assert (facts["n_scans"], facts["n_values"], facts["seeds"]) == (2, 2 * 3 * 2 * SIZE**2, [3, 4])
        assert (facts["sampling"], facts["method"]) == ("cartesian", "cg-sense")
        assert facts["date"][:2] == "20"
        assert set(facts["versions"]) == {"puq-qmri", "torch", "numpy"}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda c: c.update(extra=1), r"lacks keys or has others \(extra\)"),
            (lambda c: c.pop("scale"), r"lacks keys or has others \(scale\)"),
            (lambda c: c.update(format=2), "has format 2, not 1"),
            (lambda c: c.update(scale=[1.0, 1.0]), r"has a correlation of shape \(3, 3\) for 2 contrasts"),
            (lambda c: c.update(scale=[1.0, -1.0, 1.0]), "has the scale"),
            (lambda c: c.update(scale=[]), "has the scale"),
            (lambda c: c.update(scale="1"), "'1' is no finite number"),
            (lambda c: c.update(scale=[1.0, True, 1.0]), "'True' is no finite number"),
            (lambda c: c["quantiles"].update({"0.9": 0}), "has the factor 0.0 at level 0.9"),
            (lambda c: c["quantiles"].update({"1.5": 3.0}), "has the factor 3.0 at level 1.5"),
            (lambda c: c["quantiles"].update({"high": 3.0}), "could not convert string to float"),
            (lambda c: c["quantiles"].update({"0.5": 9.0}), "do not rise with the level"),
            (lambda c: c.update(quantiles={}), "quantiles are no mapping"),
            (lambda c: c["correlation"].pop(), "has a correlation of shape"),
            (lambda c: c["correlation"][0].pop(), "has a correlation of shape"),
            (lambda c: c["correlation"][0].__setitem__(0, 0.5), "has a correlation that is none"),
            (lambda c: c["correlation"][0].__setitem__(1, 0.9), "has a correlation that is none"),
            (lambda c: c["provenance"].update(who="me"), "provenance.who: is unknown"),
            (lambda c: c["provenance"].update(n_scans="two"), "provenance.n_scans"),
            (lambda c: c.update(provenance=None), "not a mapping"),
        ],
    )
    def test_a_changed_file_is_refused_in_one_sentence(self, calibration, tmp_path, change, message):
        content = json.loads(json.dumps(calibration.as_dict()))
        change(content)
        path = tmp_path / "calibration.json"
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match=message) as error:
            Calibration.read(path)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("text", ["", "[]", "{", '{"scale": NaN}', '{"scale": 1e999}', '{"scale": 1, "scale": 2}'])
    def test_what_is_no_such_file_is_refused(self, tmp_path, text):
        path = tmp_path / "calibration.json"
        path.write_text(text)
        with pytest.raises(InputError, match=r"calibration.json: .*; calibrate again"):
            Calibration.read(path)

    def test_a_missing_or_large_file_is_refused(self, tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            Calibration.read(tmp_path / "none.json")
        (tmp_path / "large.json").write_bytes(b" " * 1_000_001)
        with pytest.raises(InputError, match="has 1000001 bytes"):
            Calibration.read(tmp_path / "large.json")


class TestBadInput:
    def test_another_number_of_contrasts(self):
        calibration = calibrate(*zip(*scans(15, 1), strict=True))
        other = scans(16, 1, factor=(1.0,) * 5)[0][0]
        for use in (calibration.apply, lambda p: calibration.interval(p, 0.9)):
            with pytest.raises(InputError, match="is for 3 contrasts, the images have 5; calibrate on scans of this protocol, or"):
                use(other)

    def test_an_unknown_level(self):
        data = scans(17, 1)
        with pytest.raises(InputError, match=r"level: is 0.8, and the calibration knows 0.5, 0.68, 0.9, 0.95"):
            calibrate(*zip(*data, strict=True)).interval(data[0][0], 0.8)

    def test_scans_of_different_numbers_of_contrasts(self):
        with pytest.raises(InputError, match=r"scans: have \[2, 3\] contrasts"):
            calibrate(*zip(*(scans(18, 1) + scans(19, 1, factor=(1.0, 1.0))), strict=True))

    def test_nothing_to_learn_from(self):
        with pytest.raises(InputError, match="has no scan"):
            calibrate([], [], [])
        (prediction, truth, mask) = scans(20, 1)[0]
        with pytest.raises(InputError, match="without a voxel of known variance"):
            calibrate([prediction], [truth], [mask & False])
        with pytest.raises(InputError, match="scans: have no error at all"):
            calibrate([dataclasses.replace(prediction, mean=truth)], [truth], [mask])
        with pytest.raises(InputError, match="images or a truth that are not finite"):
            calibrate([prediction], [truth * torch.nan], [mask])

    @pytest.mark.parametrize("levels", [(), (0.0,), (0.5, 1.0), (math.nan,)])
    def test_levels_that_are_none(self, levels):
        with pytest.raises(InputError, match="levels: are"):
            calibrate(*zip(*scans(21, 1), strict=True), levels=levels)

    def test_shapes_that_do_not_fit(self):
        prediction, truth, mask = scans(22, 1)[0]
        with pytest.raises(InputError, match=r"images of shape \(3, 1, 24, 24\), a truth of \(3, 1, 24, 23\)"):
            calibrate([prediction], [truth[..., 1:]], [mask])

    @pytest.mark.parametrize("scale", [0.0, math.nan, (1.0, math.inf), ()])
    def test_a_scale_that_is_none(self, scale):
        with pytest.raises(InputError, match="has the scale"):
            Calibration(scale=scale, quantiles={0.5: 1.0}, provenance=PROVENANCE)
