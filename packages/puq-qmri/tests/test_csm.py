from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from medcore.errors import InputError, NumericalError
from medcore.io.kspace import KSpace
from medcore.io.npy import read_npy_kspace
from puq_qmri.csm import espirit
from puq_qmri.simulation import SimulationSettings, birdcage, simulate


def agreement(maps, truth):
    """Correlation over the coils of each voxel; a phase of the voxel does not matter."""
    return np.abs((truth.conj() * maps).sum(axis=0))


@pytest.mark.parametrize(
    "changes",
    [
        {"acceleration": 1.0},
        {"acceleration": 4.0},
        {"acceleration": 8.0, "snr": 20.0},
        {"acceleration": 4.0, "model": "t1"},
        {"trajectory": "radial", "acceleration": 4.0},
        {"trajectory": "radial", "acceleration": 8.0, "n_coils": 4},
    ],
    ids=str,
)
def test_maps_agree_with_the_simulated_coils(changes):
    settings = SimulationSettings(size=96, **changes)
    kspace, truth = simulate(settings)
    maps = espirit(kspace)
    inside = np.isfinite(truth.maps["m0"])
    found = agreement(maps, birdcage(settings.n_coils, settings.size))[inside]
    assert np.quantile(found, 0.01) > 0.99
    assert found.min() > 0.98
    power = (np.abs(maps) ** 2).sum(axis=0)
    np.testing.assert_allclose(power[power > 0], 1, rtol=1e-5)


def test_the_phase_is_smooth():
    kspace, truth = simulate(SimulationSettings(size=96, acceleration=1.0))
    phase = np.angle((espirit(kspace) * birdcage(8, 96).conj()).sum(axis=0))[0]
    inside = np.isfinite(truth.maps["m0"])[0]
    steps = np.abs(np.angle(np.exp(1j * np.diff(phase, axis=1))))[inside[:, 1:] & inside[:, :-1]]
    assert steps.max() < 0.3


def test_three_dimensions():
    shape = (8, 20, 18)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    centres = np.array([[1.5, 0, 0], [-1.5, 0, 0], [0, 1.5, 0.5], [0, -1.5, 0.5]])
    maps = np.stack([np.exp(1j * k) / (0.5 + ((grid - c[:, None, None, None]) ** 2).sum(axis=0)) for k, c in enumerate(centres)])
    maps /= np.sqrt((np.abs(maps) ** 2).sum(axis=0))
    inside = (grid**2).sum(axis=0) < 0.6
    axes = (-3, -2, -1)
    samples = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(maps * inside, axes), axes=axes, norm="ortho"), axes)
    kspace = KSpace(data=samples[None].astype(np.complex64), matrix=shape, fov=(0.1, 0.2, 0.2))
    assert np.quantile(agreement(espirit(kspace, kernel_width=4), maps)[inside], 0.02) > 0.98


def test_given_maps_win():
    kspace, _ = simulate(SimulationSettings(size=32))
    csm = birdcage(8, 32)
    assert np.array_equal(espirit(dataclasses.replace(kspace, csm=csm)), csm)


def test_random_lines_beside_the_centre_do_not_shorten_the_region():
    """A line measured next to the centre, and gaps in it, once made the search for the region go astray."""
    kspace, truth = simulate(SimulationSettings(size=96, acceleration=2.0, times=(0.01,)))
    mask = kspace.mask.copy()
    mask[:, :, 40:44] = False
    mask[:, :, 38:40] = True
    mask[:, :, 44:54] = True
    full, _ = simulate(SimulationSettings(size=96, acceleration=1.0, times=(0.01,)))
    thinned = dataclasses.replace(kspace, data=np.where(mask[:, None], full.data, 0), mask=mask)
    found = agreement(espirit(thinned), birdcage(8, 96))[np.isfinite(truth.maps["m0"])]
    assert np.quantile(found, 0.01) > 0.98


def test_too_small_a_centre_is_refused():
    kspace, _ = simulate(SimulationSettings(size=32))
    mask = kspace.mask.copy()
    mask[:, :, 16] = False
    thinned = dataclasses.replace(kspace, data=np.where(mask[:, None], kspace.data, 0), mask=mask)
    with pytest.raises(InputError, match=r"less than 1x4x4 fully sampled points .*measure four central lines or more"):
        espirit(thinned)


def test_contrasts_without_centre_or_signal_leave_the_maps_to_the_others():
    kspace, truth = simulate(SimulationSettings(size=64, acceleration=3.0))
    mask, data = kspace.mask.copy(), kspace.data.copy()
    mask[0, :, 30:34] = False
    mask[1] = False
    mask[2] = True
    data[2] = 0
    thinned = dataclasses.replace(kspace, data=np.where(mask[:, None], data, 0), mask=mask)
    found = agreement(espirit(thinned), birdcage(8, 64))[np.isfinite(truth.maps["m0"])]
    assert np.quantile(found, 0.01) > 0.98


def test_a_large_centre_of_one_contrast_is_not_cut_to_the_smallest_of_all():
    kspace, _ = simulate(SimulationSettings(size=64, acceleration=1.0, times=(0.01, 0.1)))
    mask = np.zeros(kspace.data[:, 0].shape, bool)
    mask[0, :, 20:44] = True
    mask[1, :, 30:34] = True
    thinned = dataclasses.replace(kspace, data=kspace.data * mask[:, None], mask=mask)
    # The patches of 6 lines do not fit into the second centre, so that the maps are those of the first contrast.
    np.testing.assert_allclose(espirit(thinned), espirit(thinned.select([0])), atol=1e-6)


@pytest.mark.parametrize("trajectory", ["cartesian", "radial"])
def test_no_signal_is_a_numerical_error(trajectory):
    kspace, _ = simulate(SimulationSettings(size=32, trajectory=trajectory))
    with pytest.raises(NumericalError, match="simulated brain: has no signal in the centre of k-space; give coil sensitivity maps"):
        espirit(dataclasses.replace(kspace, data=np.zeros_like(kspace.data)))


@pytest.mark.parametrize("changes", [{"calibration_width": 5}, {"kernel_width": 1}], ids=str)
def test_useless_widths_are_refused(changes):
    kspace, _ = simulate(SimulationSettings(size=32))
    with pytest.raises(InputError, match="ESPIRiT: has calibration width"):
        espirit(kspace, **changes)


@pytest.mark.integration
def test_agrees_with_sigpy_on_a_measured_brain(data_root):
    import sigpy.mri.app

    kspace = read_npy_kspace(data_root / "sigpy-brain-kspace" / "cartesian_ksp.npy")
    theirs = sigpy.mri.app.EspiritCalib(kspace.data[0, :, 0], crop=0.95, show_pbar=False).run()[:, None]
    ours = espirit(kspace, crop=0.95)
    covered = np.any(ours, axis=0) & np.any(theirs, axis=0)
    assert agreement(ours, theirs)[covered].min() > 0.9999
    assert (np.any(ours, axis=0) == np.any(theirs, axis=0)).mean() > 0.999
