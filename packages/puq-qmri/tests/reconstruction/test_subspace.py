from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from medcore.errors import ConfigError, InputError
from medcore.io.kspace import KSpace
from puq_qmri.operators import acquisition
from puq_qmri.pipeline import PipelineSettings, reconstruct_and_fit
from puq_qmri.reconstruction import ReconstructionSettings, Reconstructor, reconstruct
from puq_qmri.reconstruction.phase import common_phase, refined_phase
from puq_qmri.simulation import SimulationSettings, birdcage, simulate
from puq_qmri.trajectory import cartesian_mask
from puq_qmri.uncertainty import pseudo_replica

SUBSPACE = ReconstructionSettings(method="subspace")


def error(images, truth, inside):
    return float(np.linalg.norm((np.abs(images) - np.abs(truth))[:, inside]) / np.linalg.norm(truth[:, inside]))


@pytest.mark.parametrize(
    ("model", "trajectory", "acceleration"), [("t2", "cartesian", 4.0), ("t1", "cartesian", 4.0), ("t2", "radial", 6.0)]
)
def test_beats_cg_sense_where_coils_alone_do_not_resolve(model, trajectory, acceleration):
    kspace, truth = simulate(
        SimulationSettings(model=model, trajectory=trajectory, acceleration=acceleration, size=64, anatomy="abdomen", seed=11)
    )
    name, inside = {"t2": "t2", "t1": "ir2"}[model], np.isfinite(truth.maps["m0"])
    coils = reconstruct(kspace).images.numpy()
    result = reconstruct(kspace, SUBSPACE, model=name)
    assert error(result.images.numpy(), truth.images, inside) < 0.5 * error(coils, truth.images, inside)
    # Real but for one phase: all contrasts of a voxel lie on one line through zero.
    turned = result.images * result.images[0].abs() / result.images[0]
    strong = result.images[0].abs() > result.images[0].abs().max() / 20
    assert (turned.imag.abs()[:, strong].max() / turned.abs().max()) < 1e-4
    assert bool((result.residuals > 0).all())


def test_keeps_a_fully_sampled_signal_of_the_model():
    settings = SimulationSettings(size=32, acceleration=1.0, snr=1e4, n_coils=4, seed=5)
    kspace, truth = simulate(settings)
    result = reconstruct(kspace, SUBSPACE, csm=birdcage(4, 32), model="t2")
    inside = np.isfinite(truth.maps["m0"])
    assert error(result.images.numpy(), truth.images, inside) < 0.02
    phase = np.angle(result.images.numpy()[0] * truth.images[0].conj())[inside]
    assert np.median(np.abs(phase)) < 0.03


def test_noise_free_data_are_reconstructed_without_a_noise_level():
    kspace, truth = simulate(SimulationSettings(size=48, acceleration=3.0, snr=1e9, n_coils=6))
    bare = dataclasses.replace(kspace, noise=None)
    inside = np.isfinite(truth.maps["m0"])
    images = reconstruct(bare, SUBSPACE, model="t2").images.numpy()
    assert error(images, truth.images, inside) < 0.6 * error(reconstruct(bare).images.numpy(), truth.images, inside)


@pytest.mark.parametrize("regulariser", ["wavelet", "locally-low-rank"])
@pytest.mark.parametrize("shrinkage", ["garrote", "soft"])
def test_every_regulariser_comes_nearer_to_the_truth_than_none(regulariser, shrinkage):
    kspace, truth = simulate(SimulationSettings(size=64, acceleration=4.0, seed=3))
    inside = np.isfinite(truth.maps["m0"])
    none, some = (
        reconstruct(
            kspace,
            ReconstructionSettings(method="subspace", regulariser=regulariser, shrinkage=shrinkage, discrepancy=d),
            model="t2",
        )
        for d in (0.0, 0.3)
    )
    assert error(some.images.numpy(), truth.images, inside) < 0.9 * error(none.images.numpy(), truth.images, inside)


def test_more_discrepancy_is_smoother_and_none_is_least_squares():
    kspace, _ = simulate(SimulationSettings(size=48, acceleration=4.0))
    rough, some, much = (
        reconstruct(kspace, ReconstructionSettings(method="subspace", shrinkage="soft", discrepancy=d), model="t2")
        for d in (0.0, 0.3, 1.5)
    )

    def roughness(result):
        magnitude = result.images.abs()
        return float(magnitude.diff(dim=-1).abs().sum() / magnitude.sum())

    assert roughness(rough) > roughness(some) > roughness(much)
    assert bool((rough.residuals <= some.residuals).all())
    assert bool((some.residuals < much.residuals).all())


def test_is_the_same_at_every_call_and_scale():
    kspace, _ = simulate(SimulationSettings(size=32, n_coils=4))
    first, second = (reconstruct(kspace, SUBSPACE, model="t2").images for _ in range(2))
    assert torch.equal(first, second)
    loud = dataclasses.replace(kspace, data=kspace.data * np.float32(1e4), noise=kspace.noise * np.float32(1e4))
    scaled = reconstruct(loud, SUBSPACE, model="t2").images / 1e4
    assert float((scaled - first).abs().max() / first.abs().max()) < 1e-3


def test_responses_start_from_the_result_and_are_real_along_its_phase():
    kspace, _ = simulate(SimulationSettings(size=32, n_coils=4))
    reconstructor = Reconstructor(kspace=kspace, settings=SUBSPACE, model="t2")
    assert not reconstructor.response(np.zeros_like(kspace.data)).any()
    assert reconstructor.real_images
    prediction = pseudo_replica(
        kspace, reconstructor.images, response=reconstructor.response, real_images=True, n_replicas=8, level=1.0
    )
    halved = pseudo_replica(kspace, reconstructor.images, response=reconstructor.response, n_replicas=8, level=1.0)
    torch.testing.assert_close(prediction.aleatoric, 2 * halved.aleatoric)


def test_a_phase_that_evolves_leaves_the_coefficients_complex():
    kspace, truth = simulate(SimulationSettings(size=48, acceleration=3.0))
    turned = kspace.data * np.exp(0.4j * np.arange(kspace.n_contrasts)).astype(np.complex64)[:, None, None, None, None]
    reconstructor = Reconstructor(kspace=dataclasses.replace(kspace, data=turned), settings=SUBSPACE, model="t2star")
    assert not reconstructor.real_images
    images = reconstructor.own.images
    assert images.is_complex()
    assert images.shape == truth.images.shape


def test_the_pipeline_takes_it_with_the_model_of_the_times():
    kspace, truth = simulate(SimulationSettings(size=48, acceleration=4.0, seed=2))
    errors = {}
    for method in ("cg-sense", "subspace"):
        _, result = reconstruct_and_fit(
            kspace,
            PipelineSettings(reconstruction=ReconstructionSettings(method=method), uncertainty="pseudo-replica", n_replicas=4),
        )
        relative = np.abs(result.maps["t2"] - truth.maps["t2"]) / truth.maps["t2"]
        errors[method] = float(np.nanmedian(relative[truth.pure]))
    assert errors["subspace"] < 0.6 * errors["cg-sense"]


@pytest.mark.parametrize(
    ("changes", "arguments", "kind", "message"),
    [
        ({}, {}, ConfigError, "--method subspace: has no signal model; name one with --model"),
        ({}, {"model": "ir"}, InputError, "states no ti, which model ir needs"),
    ],
)
def test_refusals(changes, arguments, kind, message):
    kspace, _ = simulate(SimulationSettings(size=32, n_coils=4))
    with pytest.raises(kind, match=message):
        Reconstructor(kspace=kspace, settings=SUBSPACE, **arguments)


@pytest.mark.parametrize("value", [{"components": -1}, {"discrepancy": -0.1}, {"discrepancy": float("nan")}])
def test_settings_out_of_range(value):
    with pytest.raises(ConfigError, match="subspace settings: are components"):
        ReconstructionSettings(**value)


@pytest.mark.parametrize("shape", [(1, 24, 20), (6, 16, 12)])
def test_the_common_phase_ignores_signs(shape):
    generator = torch.Generator().manual_seed(3)
    axes = torch.meshgrid(*[torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1) for n in shape], indexing="ij")
    smooth = torch.exp(1j * (0.5 * axes[2] - 0.8 * axes[1] + 0.3 * axes[0]))
    signed = torch.randn(5, *shape, generator=generator)
    signed[4] = 3 + torch.rand(shape, generator=generator)
    found = common_phase((signed * smooth).to(torch.complex64))
    inner = (slice(None), slice(4, -4), slice(4, -4))
    assert float(torch.angle(found * smooth.conj())[inner].abs().max()) < 0.25
    np.testing.assert_allclose(found.abs(), 1, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 32, 32), (8, 16, 16)])
def test_a_wrong_phase_is_refined_until_real_coefficients_explain_the_samples(shape):
    """Identity as normal operator: the misfit is that of the complex coefficients themselves."""
    axes = torch.meshgrid(*[torch.linspace(0, 2 * torch.pi, n + 1)[:-1] for n in shape], indexing="ij")
    truth = torch.exp(1j * (0.2 * torch.cos(axes[2]) + 0.15 * torch.sin(axes[1]))).to(torch.complex64)
    coefficients = torch.stack([2 + torch.cos(axes[1]), torch.sin(axes[2] + 1)]).float()
    back, phase = truth * coefficients, torch.ones_like(truth)
    for _ in range(4):
        phase = refined_phase(phase, (phase.conj() * back).real, lambda x: x, back, 1e-4)
    assert float(torch.angle(phase * truth.conj()).abs().max()) < 0.01
    np.testing.assert_allclose(phase.abs(), 1, rtol=1e-5)


@pytest.mark.parametrize(("acceleration", "model", "expected"), [(6.0, "t2", 3), (4.0, "t2", 4), (1.0, "t2", 4), (6.0, "ir", 4)])
def test_few_lines_determine_few_components(acceleration, model, expected):
    kspace, _ = simulate(SimulationSettings(size=48, n_coils=4, acceleration=acceleration, model="t2" if model == "t2" else "t1"))
    settings = dataclasses.replace(SUBSPACE, basis="cramer-rao")
    assert Reconstructor(kspace=kspace, settings=settings, model=model).solver.basis.shape[1] == expected


def test_more_components_than_contrasts_become_as_many():
    kspace, _ = simulate(SimulationSettings(size=32, n_coils=4, times=(0.01, 0.03, 0.08)))
    settings = ReconstructionSettings(method="subspace", components=9)
    assert Reconstructor(kspace=kspace, settings=settings, model="t2").solver.basis.shape == (3, 3)


@pytest.mark.parametrize("regulariser", ["wavelet", "locally-low-rank"])
def test_volumes(regulariser):
    """Three planes, sampled on their own lines: nearer to the truth than coil by coil."""
    times = np.array([0.01, 0.03, 0.06, 0.1, 0.15])
    z, y, x = np.mgrid[:3, :24, :24]
    inside = np.hypot(y - 12, x - 12) < 9
    t2 = np.where(x + z > 12, 0.05, 0.12)
    images = (inside * np.exp(-times[:, None, None, None] / t2)).astype(np.complex64)
    csm = np.repeat(birdcage(4, 24), 3, axis=1)
    mask = cartesian_mask(5, (3, 24, 24), 3.0, centre_fraction=0.16, seed=1)
    bare = KSpace(
        data=np.zeros((5, 4, 3, 24, 24), np.complex64),
        mask=mask,
        matrix=(3, 24, 24),
        fov=(0.01, 0.2, 0.2),
        times={"te": times},
        csm=csm,
    )
    clean = acquisition(bare, csm)(torch.from_numpy(images)).numpy()
    kspace = dataclasses.replace(bare, data=clean)
    settings = ReconstructionSettings(method="subspace", regulariser=regulariser)
    found = reconstruct(kspace, settings, csm=csm, model="t2").images.numpy()
    assert error(found, images, inside) < 0.5 * error(reconstruct(kspace, csm=csm).images.numpy(), images, inside)
