"""Voxels that cannot be fitted get a status; arguments that cannot be meant get an error."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medcore.errors import InputError
from puq_qmri.fitting import STATUS_TEXT, Status, fit, problem
from puq_qmri.signal_models import get_model

T = np.array([0.01, 0.03, 0.06, 0.1])
GOOD = 100 * np.exp(-T / 0.07)


def voxels(*columns) -> np.ndarray:
    return np.array(columns, dtype=np.float64).T[:, None, None, :]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (GOOD, Status.OK),
        (np.zeros(4), Status.NO_SIGNAL),
        ([np.nan, 50, 30, 20], Status.NOT_FINITE),
        ([80, 50, np.inf, 20], Status.NOT_FINITE),
        ([np.nan] * 4, Status.NOT_FINITE),
        ([0, 0, np.nan, 0], Status.NOT_FINITE),
        ([50, 50, 50, 50], Status.AT_BOUND),
        ([10, 20, 30, 40], Status.AT_BOUND),
        ([10, 0, 0, 0], Status.AT_BOUND),
        (-GOOD, Status.AT_BOUND),
        (1e-300 * GOOD, Status.OK),
        (1e-40 * GOOD, Status.OK),
        (1e40 * GOOD, Status.AT_BOUND),  # M0 is no 32-bit number
    ],
)
def test_status_of_one_voxel_among_good_ones(column, expected) -> None:
    result = fit(voxels(GOOD, column, GOOD), T, "t2", signal="signed")
    assert result.status.ravel().tolist() == [Status.OK, expected, Status.OK]
    for field in (result.maps, result.std, result.low95, result.high95):
        assert np.isfinite(field["t2"][0, 0, 1]) == (expected == Status.OK)
    assert result.maps["t2"][0, 0, [0, 2]] == pytest.approx(0.07, rel=1e-6)


@pytest.mark.parametrize("signal", ["signed", "magnitude", "complex"])
@pytest.mark.parametrize("name", ["t2", "t2-offset", "ir", "ir2"])
def test_hopeless_voxels_are_no_crash_in_any_model(name, signal, times, rng) -> None:
    n = len(times[name])
    columns = [np.zeros(n), np.full(n, np.nan), np.full(n, np.inf), np.ones(n), np.eye(n)[0], np.eye(n)[-1], np.full(n, 1e-320)]
    columns += [rng.uniform(0, 1, n) for _ in range(20)]
    images = voxels(*columns)
    if signal == "complex":
        images = images.astype(np.complex128)
    result = fit(images, times[name], name, signal=signal)
    assert result.status.ravel()[:3].tolist() == [Status.NO_SIGNAL, Status.NOT_FINITE, Status.NOT_FINITE]
    assert not (result.status == Status.NOT_CONVERGED).any()
    np.testing.assert_array_equal(np.isfinite(result.maps["m0"]), result.status == Status.OK)


@pytest.mark.parametrize("name", ["t2", "ir"])
def test_complex_values_that_are_not_finite(name, times) -> None:
    images = np.ones((len(times[name]), 1, 1, 3), np.complex64)
    images[1, 0, 0] = [np.nan, complex(0, np.inf), complex(np.nan, 1)]
    assert (fit(images, times[name], name).status == Status.NOT_FINITE).all()


def test_all_voxels_bad_is_still_a_result() -> None:
    result = fit(np.full((4, 1, 2, 2), np.nan), T, "t2")
    assert result.counts()["not-finite"] == 4
    assert np.isnan(result.maps["t2"]).all()


@pytest.mark.parametrize(
    ("finite", "expected"),
    [
        ([True, True, True, True], Status.OK),
        ([True, False, False, True], Status.OK),
        ([True, False, False, False], Status.NOT_FINITE),
        ([False, False, False, False], Status.NOT_FINITE),
    ],
)
def test_enough_contrasts_must_have_a_finite_deviation(finite, expected) -> None:
    sigma = np.where(np.array(finite), 1.0, np.inf).reshape(4, 1, 1, 1)
    assert fit(voxels(GOOD), T, "t2", sigma=sigma).status.item() == expected


def test_two_contrasts_of_one_time_are_not_two_times() -> None:
    t = np.array([0.01, 0.01, 0.05, 0.1])
    sigma = np.array([1.0, 1.0, np.inf, np.inf]).reshape(4, 1, 1, 1)
    assert fit(voxels(100 * np.exp(-t / 0.07)), t, "t2", sigma=sigma).status.item() == Status.NOT_FINITE


def test_a_contrast_that_hardly_weighs_does_not_make_a_deviation_of_zero() -> None:
    """Two useful contrasts of one time and one with no weight left after rounding: nothing is determined."""
    t = np.array([0.01, 0.01, 0.05])
    result = fit(voxels(100 * np.exp(-t / 0.07)), t, "t2", sigma=np.array([1.0, 1.0, 1e200]))
    assert result.status.item() == Status.AT_BOUND


def test_as_many_contrasts_as_parameters_give_no_deviation_unless_the_noise_is_known() -> None:
    t = T[:2]
    unknown, known = (fit(voxels(GOOD[:2]), t, "t2", sigma=s) for s in (None, 2.0))
    assert unknown.status.item() == known.status.item() == Status.OK
    assert unknown.degrees_of_freedom == 0
    assert unknown.maps["t2"].item() == pytest.approx(0.07, rel=1e-6)
    assert np.isnan([unknown.std["t2"].item(), unknown.low95["t2"].item(), unknown.high95["t2"].item()]).all()
    assert known.std["t2"].item() > 0


def test_every_status_has_a_text_and_a_count() -> None:
    assert set(STATUS_TEXT) == set(Status)
    result = fit(voxels(GOOD, np.zeros(4)), T, "t2")
    expected = {"ok": 1, "outside-mask": 0, "no-signal": 1, "not-finite": 0, "at-bound": 0, "not-converged": 0}
    assert result.counts() == expected


def test_outside_the_mask_nothing_is_fitted_and_inside_nothing_changes(rng, times, measure) -> None:
    _, images = measure("t2", rng, 40, 3.0)
    mask = rng.random((1, 1, 40)) < 0.5
    everything, masked = fit(images, times["t2"], "t2"), fit(images, times["t2"], "t2", mask=mask)
    assert (masked.status[~mask] == Status.OUTSIDE_MASK).all()
    for name, values in masked.maps.items():
        assert np.isnan(values[~mask]).all()
        np.testing.assert_array_equal(values[mask], everything.maps[name][mask])


@pytest.mark.parametrize("name", ["t2", "ir"])
def test_batches_equal_single_voxels_across_chunk_boundaries(name, rng, times, measure, monkeypatch) -> None:
    _, images = measure(name, rng, 23, 4.0)
    images[:, 0, 0, 5], images[2, 0, 0, 11] = 0, np.nan
    sigma = rng.uniform(2, 6, images.shape)
    whole = fit(images, times[name], name, sigma=sigma, signal="signed")
    for size in (1, 7, 22, 23):
        monkeypatch.setattr(problem, "CHUNK", size)
        parts = fit(images, times[name], name, sigma=sigma, signal="signed")
        np.testing.assert_array_equal(parts.status, whole.status)
        for field in ("maps", "std", "low95", "high95"):
            for parameter, values in getattr(whole, field).items():
                np.testing.assert_allclose(getattr(parts, field)[parameter], values, rtol=1e-6)


def test_space_has_three_axes_and_their_order_stays(rng, times, measure) -> None:
    _, images = measure("t2", rng, 24, 2.0)
    flat = fit(images, times["t2"], "t2")
    volume = fit(images.reshape(8, 2, 3, 4), times["t2"], "t2")
    assert volume.maps["t2"].shape == (2, 3, 4)
    np.testing.assert_array_equal(volume.maps["t2"].ravel(), flat.maps["t2"].ravel())
    turned = np.asfortranarray(images.reshape(8, 2, 3, 4))
    np.testing.assert_array_equal(fit(turned, times["t2"], "t2").maps["t2"], volume.maps["t2"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16, np.int16, ">f4"])
def test_input_of_any_type_is_left_alone(dtype, times) -> None:
    images = (1000 * np.exp(-times["t2"] / 0.08)).astype(dtype).reshape(-1, 1, 1, 1)
    sigma = np.full(images.shape, 2.0)
    mask = np.ones((1, 1, 1), bool)
    before = [a.copy() for a in (images, times["t2"], sigma, mask)]
    for array in (images, sigma, mask):
        array.setflags(write=False)
    result = fit(images, times["t2"], "t2", sigma=sigma, mask=mask)
    assert result.maps["t2"].item() == pytest.approx(0.08, rel=5e-3)
    for now, then in zip((images, times["t2"], sigma, mask), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert {v.dtype for v in (*result.maps.values(), *result.std.values(), result.chi2)} == {np.dtype(np.float32)}
    assert (result.status.dtype, result.n_iter.dtype) == (np.int8, np.int16)


def test_a_deviation_of_zero_is_allowed_where_nothing_is_fitted() -> None:
    images = voxels(GOOD, np.zeros(4), GOOD)
    sigma = np.ones(images.shape)
    sigma[..., 1:] = 0
    mask = np.array([[[True, True, False]]])
    assert fit(images, T, "t2", sigma=sigma, mask=mask).status.ravel().tolist() == [0, Status.NO_SIGNAL, Status.OUTSIDE_MASK]


IMAGES = voxels(GOOD, GOOD)
BAD = [
    ({"times": T[:3]}, r"te of model t2: has 3 values for 4 contrasts; give one time for each"),
    ({"times": np.append(T, 0.2)}, r"te of model t2: has 5 values for 4 contrasts"),
    ({"times": T.reshape(2, 2)}, r"te of model t2: has .* for 4 contrasts"),
    ({"times": np.array([0.01, np.nan, 0.1, 0.2])}, r"te of model t2: is \[0\.01, nan, 0\.1, 0\.2\]; give finite seconds"),
    ({"times": -T}, r"te of model t2: is \[-0\.01.*; give finite seconds, not negative"),
    ({"times": np.full(4, 0.01)}, r"model t2: estimates 2 parameters, and there are 1 different times; use more contrasts"),
    ({"model": "ir", "times": np.array([1.0, 1.0, 2.0, 2.0])}, r"model ir: estimates 3 parameters, and there are 2 different"),
    ({"images": IMAGES[0]}, r"images: have shape \(1, 1, 2\); give four non-empty axes"),
    ({"images": IMAGES[..., :0]}, r"images: have shape \(4, 1, 1, 0\)"),
    ({"images": IMAGES.astype(str)}, r"images: are of type <U32; give real or complex numbers"),
    ({"images": IMAGES > 1}, r"images: are of type bool"),
    ({"sigma": 0.0}, r"sigma: has a value of 0; give standard deviations above zero"),
    ({"sigma": -2.0}, r"sigma: has a value of -2"),
    ({"sigma": np.array([1.0, 1.0, 0.0, 1.0])}, r"sigma: has a value of 0; give"),
    ({"sigma": np.where(np.arange(2) == 1, -1.0, 1.0) * np.ones((4, 1, 1, 2))}, r"sigma: has a value of -1 in 1 voxels"),
    ({"sigma": np.where(np.arange(2) == 1, 0.0, 1.0) * np.ones((4, 1, 1, 2))}, r"sigma: has a value of 0 in 1 voxels with signal"),
    ({"sigma": np.ones(3)}, r"sigma: has shape \(3,\); give one number, \(4,\) or \(4, 1, 1, 2\)"),
    ({"sigma": np.ones((1, 1, 2))}, r"sigma: has shape \(1, 1, 2\)"),
    ({"sigma": np.ones(4) * 1j}, r"sigma: is complex; give the standard deviation of the real part"),
    ({"mask": np.ones((1, 2, 1), bool)}, r"mask: has shape \(1, 2, 1\); give the images' shape \(1, 1, 2\)"),
    ({"mask": np.zeros((1, 1, 2), bool)}, r"mask: is empty; give a mask with voxels to fit"),
    ({"mask": np.array([[[1.0, np.nan]]])}, r"mask: has values that are not finite"),
    ({"signal": "complex"}, r"--signal complex: was asked of float64 images"),
    ({"model": "t22"}, r"signal model 't22': is not one of .*; did you mean 't2'"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_arguments_that_cannot_be_meant_are_refused_in_one_line(change, message) -> None:
    arguments = {"images": IMAGES, "times": T, "model": "t2", **change}
    images, times, model = (arguments.pop(k) for k in ("images", "times", "model"))
    with pytest.raises(InputError, match=message) as caught:
        fit(images, times, model, **arguments)
    assert "\n" not in str(caught.value)


def test_a_model_is_taken_by_name_or_as_it_is() -> None:
    one, other = fit(IMAGES, T, "t2"), fit(IMAGES, T, get_model("t2"), device=torch.device("cpu"))
    np.testing.assert_array_equal(one.maps["t2"], other.maps["t2"])
    assert one.model == other.model == "t2"
