from __future__ import annotations

import numpy as np
import pytest
import sigpy.mri

from medcore.errors import ConfigError
from puq_qmri.simulation import COILS, birdcage, coil_maps, loops, random_birdcage

RANDOM = pytest.mark.parametrize("kind", ["random-birdcage", "loops"])


@pytest.mark.parametrize("kind", sorted(COILS))
@pytest.mark.parametrize(("n_coils", "size"), [(1, 17), (4, 40), (12, 64)])
def test_maps_have_unit_root_sum_of_squares_and_differ(kind, n_coils, size):
    maps = coil_maps(kind, n_coils, size, seed=3)
    assert maps.shape == (n_coils, 1, size, size)
    assert maps.dtype == np.complex64
    np.testing.assert_allclose((np.abs(maps) ** 2).sum(axis=0), 1, rtol=1e-5)
    values = np.linalg.svd(maps.reshape(n_coils, -1), compute_uv=False)
    assert values[-1] > 1e-4 * values[0]


@pytest.mark.parametrize(("n_coils", "size"), [(8, 64), (5, 33)])
def test_the_birdcage_is_that_of_sigpy(n_coils, size):
    reference = sigpy.mri.birdcage_maps((n_coils, size, size))
    reference = reference / np.sqrt((np.abs(reference) ** 2).sum(axis=0))
    np.testing.assert_allclose(birdcage(n_coils, size)[:, 0], reference, atol=1e-6)


@RANDOM
def test_the_seed_decides_where_coils_are(kind):
    assert np.array_equal(coil_maps(kind, 6, 32, seed=1), coil_maps(kind, 6, 32, seed=1))
    assert not np.allclose(coil_maps(kind, 6, 32, seed=1), coil_maps(kind, 6, 32, seed=2), atol=0.1)


@RANDOM
@pytest.mark.parametrize("seed", range(8))
def test_maps_are_smooth(kind, seed):
    """Neighbouring voxels of a 64-voxel image differ by little: most energy lies in the lowest frequencies."""
    maps = coil_maps(kind, 8, 64, seed=seed)[:, 0]
    spectrum = np.abs(np.fft.fftshift(np.fft.fft2(maps * np.hanning(64)[:, None] * np.hanning(64)), axes=(1, 2))) ** 2
    assert spectrum[:, 24:41, 24:41].sum() > 0.99 * spectrum.sum()


@RANDOM
def test_the_same_coils_at_another_matrix(kind):
    fine, coarse = coil_maps(kind, 6, 96, seed=4), coil_maps(kind, 6, 48, seed=4)
    np.testing.assert_allclose(fine[..., ::2, ::2], coarse, atol=1e-5)


def test_the_field_of_a_loop_far_away_is_that_of_a_dipole():
    """On the axis of a small loop the field falls with the third power of the distance; the ratio of two coils shows it."""
    from puq_qmri.simulation.coils import _loop

    field = np.abs(_loop(np.array([-3.0, 0.0, 0.0]), 0.0, 0.05, 64))[32]
    distance = 3.0 + (np.arange(64) - 32) / 32
    slope = np.polyfit(np.log(distance), np.log(field), 1)[0]
    assert slope == pytest.approx(-3, abs=0.05)


def test_on_its_axis_the_field_of_a_loop_is_the_textbook_formula():
    from puq_qmri.simulation.coils import _WIRE, _loop

    radius, size = 0.5, 33
    field = _loop(np.array([-1.2, 0.0, 0.0]), 0.0, radius, size)
    axis = (np.arange(size) - size / 2) / (size / 2)
    middle = np.array([field[16, i] + field[17, i] for i in range(size)]).real / 2  # y = +-1/33: next to the axis
    distance = axis + 1.2
    expected = 2 * np.pi * radius**2 / (radius**2 + distance**2 + _WIRE**2) ** 1.5
    np.testing.assert_allclose(np.abs(middle), expected, rtol=0.02)


@pytest.mark.parametrize("maker", [birdcage, random_birdcage, loops])
def test_no_coil_or_no_voxel_is_refused(maker):
    with pytest.raises(ConfigError, match="asked for with 0 coils and 32 voxels"):
        maker(0, 32)
    with pytest.raises(ConfigError, match="asked for with 4 coils and 0 voxels"):
        maker(4, 0)


def test_an_unknown_geometry_names_the_nearest():
    with pytest.raises(ConfigError, match=r"coil geometry 'loop': is not one of .*did you mean 'loops'"):
        coil_maps("loop", 4, 32)
