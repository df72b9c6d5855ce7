"""Image metrics against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio, structural_similarity

from medcore.errors import InputError
from medcore.metrics import nrmse, psnr, ssim, ssim_w11


@st.composite
def pairs(draw, dims=(1, 2, 3)):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = [draw(st.integers(12, 20)) for _ in range(draw(st.sampled_from(dims)))]
    ref = rng.uniform(0, draw(st.floats(0.01, 1e4)), shape)
    return ref, ref + draw(st.floats(1e-3, 2)) * ref.std() * rng.standard_normal(shape)


@given(pair=pairs())
def test_nrmse_is_scikit_image_s(pair):
    assert nrmse(*pair).value == pytest.approx(normalized_root_mse(*pair, normalization="euclidean"), rel=1e-9)


@given(pair=pairs(), span=st.floats(0.1, 1e4))
def test_psnr_is_scikit_image_s(pair, span):
    ref, est = pair
    assert psnr(ref, est, data_range=span).value == pytest.approx(peak_signal_noise_ratio(ref, est, data_range=span), rel=1e-9)
    assert psnr(ref, est).value == pytest.approx(peak_signal_noise_ratio(ref, est, data_range=ref.max()), rel=1e-9)


@pytest.mark.parametrize(("function", "window"), [(ssim, 7), (ssim_w11, 11)])
@given(pair=pairs(dims=(2,)))
def test_ssim_is_scikit_image_s(function, window, pair):
    ref, est = pair
    expected = structural_similarity(ref, est, data_range=ref.max(), win_size=window)
    assert function(ref, est).value == pytest.approx(expected, rel=1e-7, abs=1e-9)


@given(pair=pairs(dims=(3,)))
def test_ssim_of_a_volume_is_the_mean_over_its_slices(pair):
    ref, est = pair
    each = [structural_similarity(r, e, data_range=ref.max(), win_size=7) for r, e in zip(ref, est, strict=True)]
    assert ssim(ref, est).value == pytest.approx(np.mean(each), rel=1e-7, abs=1e-9)


def test_ssim_in_a_mask_is_the_mean_of_scikit_image_s_map_there(rng):
    ref, est = rng.uniform(0, 3, (2, 30, 30))
    mask = np.zeros((30, 30), bool)
    mask[8:22, 5:25] = True
    inside = [np.where(mask, image, 0) for image in (ref, est)]
    _, full = structural_similarity(*inside, data_range=ref[mask].max(), win_size=7, full=True)
    assert ssim(ref, est, mask=mask).value == pytest.approx(full[mask].mean(), rel=1e-9)


def test_complex_images_are_compared_as_complex(rng):
    ref = rng.standard_normal((5, 5)) + 1j * rng.standard_normal((5, 5))
    assert nrmse(ref, -ref).value == pytest.approx(2.0)
    assert nrmse(ref, ref * np.exp(0.1j)).value == pytest.approx(abs(np.exp(0.1j) - 1))
    with pytest.raises(InputError, match="take the magnitude"):
        psnr(ref, ref)


def test_equal_images():
    image = np.arange(400.0).reshape(20, 20)
    assert nrmse(image, image).value == 0
    assert ssim(image, image).value == 1
    assert psnr(image, image).value is None
    assert "unbounded" in psnr(image, image).reason


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (lambda: nrmse(np.zeros(4), np.ones(4)), "the reference is zero everywhere"),
        (lambda: psnr(-np.ones(4), np.ones(4)), "maximum of the reference is not positive"),
        (lambda: ssim(np.ones((6, 20)), np.ones((6, 20))), "smaller than the 7 x 7 window"),
        (lambda: ssim(np.ones(20), np.ones(20)), "smaller than"),
        (lambda: ssim(np.zeros((20, 20)), np.ones((20, 20))), "maximum of the reference"),
        (lambda: ssim(np.ones((20, 20)), np.ones((20, 20)), mask=np.eye(20, dtype=bool) & (np.arange(20) < 2)), "no 7 x 7 window"),
        (lambda: nrmse(np.full(3, 1e300), np.full(3, -1e300)), "too large|zero|value"),
    ],
)
def test_undefined_cases_say_why(result, reason):
    import re

    found = result()
    assert found.value is None
    assert re.search(reason, found.reason)


@pytest.mark.parametrize("span", [0.0, -1.0, float("nan"), float("inf")])
def test_a_range_that_is_none_is_refused(span):
    for function in (psnr, ssim):
        with pytest.raises(InputError, match="data_range"):
            function(np.ones((20, 20)), np.ones((20, 20)) * 2, data_range=span)


def test_the_range_used_is_written_down(rng):
    ref = rng.uniform(0, 5, (20, 20))
    assert psnr(ref, ref + 1).note == f"data_range {ref.max():.6g}"
    assert ssim(ref, ref + 1, data_range=7.0).note == "data_range 7"
