"""Tables of measurements: agreement of two methods, repeatability of test and retest."""

from __future__ import annotations

import numpy as np
import pytest

from medcore import metrics
from medcore.comparison import compare_values, find_kind
from medcore.comparison.values import VALUE_METRICS
from medcore.errors import ConfigError, InputError


@pytest.fixture
def visits(tmp_path, rng):
    """T1 of three regions of eight subjects, twice."""
    truth = rng.uniform(0.6, 1.4, 24)
    pair = truth + 0.03 * rng.standard_normal((2, 24))
    for name, values in zip(("test", "retest"), pair, strict=True):
        rows = "".join(f"r{i},p{i // 3},{float(v)!r}\n" for i, v in enumerate(values))
        (tmp_path / f"{name}.csv").write_text("sample_id,subject,T1\n" + rows)
    return tmp_path / "test.csv", tmp_path / "retest.csv", *pair


def test_measurements_reach_the_metrics(visits):
    test, retest, a, b = visits
    assert find_kind(test, [retest], []) == "values"
    found = compare_values(test, retest, seed=1)
    assert list(found.results) == list(VALUE_METRICS)
    assert found.facts == {"samples": 24, "subjects": 8}
    assert found.results["repeatability_coefficient"].value == pytest.approx(metrics.repeatability_coefficient(a, b).value)
    assert found.results["icc_2_1"].value == pytest.approx(metrics.icc_2_1(np.stack([a, b], axis=1)).value)
    assert found.results["icc_2_1"].metric == "icc_2_1/absolute-agreement@1"
    expected = metrics.cluster_interval((a, b), np.arange(24) // 3, metrics.ccc, seed=1)
    ccc = found.results["ccc"]
    assert (ccc.low, ccc.high) == pytest.approx((expected.low, expected.high))


def test_whole_numbers_are_measurements_where_it_is_asked_for(tmp_path):
    for name, values in (("a", (900, 1000, 1100)), ("b", (905, 990, 1130))):
        (tmp_path / f"{name}.csv").write_text("id,value\n" + "".join(f"{i},{v}\n" for i, v in enumerate(values)))
    pair = tmp_path / "a.csv", tmp_path / "b.csv"
    assert find_kind(pair[0], [pair[1]], ["bias"]) == "values"
    found = compare_values(*pair, names=["bias", "rmse"])
    assert found.results["bias"] == metrics.bias([900, 1000, 1100], [905, 990, 1130])
    with pytest.raises(ConfigError, match="metric 'ssim': does not fit this input, which has nrmse"):
        compare_values(*pair, names=["ssim"])


@pytest.mark.parametrize("cell", ["nan", "inf", "1e999", "1,3", "", "0x10", "one"])
def test_what_is_no_measurement_is_refused(visits, cell):
    test, retest, *_ = visits
    lines = test.read_text().splitlines()
    lines[3] = f'r2,p0,"{cell}"'
    test.write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"test\.csv: has T1 = .* in row 3, not a finite number"):
        compare_values(test, retest)
