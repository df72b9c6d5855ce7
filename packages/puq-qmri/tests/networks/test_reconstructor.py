"""Networks applied to measurements of one sampling."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from medcore.errors import InputError
from medcore.io.kspace import KSpace
from puq_qmri.networks import NetworkSettings, UnrolledNetwork, build_problem
from puq_qmri.networks.reconstructor import NetworkReconstructor
from puq_qmri.networks.weights import Weights
from puq_qmri.simulation import SimulationSettings, birdcage, simulate
from puq_qmri.uncertainty import noise_level

TIMES = (0.01, 0.03, 0.06, 0.1)
SIZE, COILS = 32, 6


def scan(trajectory: str = "cartesian", seed: int = 3) -> KSpace:
    settings = SimulationSettings(
        anatomy="shapes", size=SIZE, times=TIMES, trajectory=trajectory, acceleration=2.0, n_coils=COILS, snr=40.0, seed=seed
    )
    return simulate(settings)[0]


def member(seed: int = 0, **changes: object) -> Weights:
    """A network whose corrections are small but not zero."""
    settings = NetworkSettings(**{"unrolls": 2, "steps": 2, "widths": (8, 8), "contrasts": len(TIMES), **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = UnrolledNetwork(settings)
        for body in network.bodies:
            torch.nn.init.normal_(body.last.weight, std=0.02)
    return Weights(network=network.eval(), head=None, calibration=None, source="test", sha256="")


def prepared(kspace: KSpace, *members: Weights) -> NetworkReconstructor:
    return NetworkReconstructor(kspace=kspace, members=members, csm=birdcage(COILS, SIZE), model="t2")


def noise_of(kspace: KSpace, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    level = noise_level(kspace)
    found = level * (rng.standard_normal(kspace.data.shape) + 1j * rng.standard_normal(kspace.data.shape))
    return (found if kspace.mask is None else found * kspace.mask[:, None]).astype(np.complex64)


@pytest.mark.parametrize("layout", ["subspace", "contrast", "channels"])
@pytest.mark.parametrize("trajectory", ["cartesian", "radial"])
def test_deviations_of_replicas_are_those_of_whole_reconstructions(layout: str, trajectory: str) -> None:
    kspace = scan(trajectory)
    network = prepared(kspace, member(layout=layout))
    quick, whole = [], []
    for seed in range(4):
        noise = noise_of(kspace, seed)
        quick.append(network.response(noise))
        whole.append(network(dataclasses.replace(kspace, data=kspace.data + noise)) - network.images)
    found, expected = torch.stack(quick), torch.stack(whole)
    inside = network.images.abs() > 0.2 * network.images.abs().max()
    sizes = [float(d[:, inside].abs().square().mean().sqrt()) for d in (found, expected)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.06)
    assert float((found - expected)[:, inside].abs().square().mean().sqrt()) < 0.5 * sizes[1]


@pytest.mark.parametrize("layout", ["subspace", "contrast", "channels"])
def test_another_measurement_gives_what_it_gives_by_itself(layout: str) -> None:
    kspace = scan("radial")
    other = dataclasses.replace(scan("radial", seed=4), traj=kspace.traj)
    weights = member(layout=layout)
    network = prepared(kspace, weights)
    assert weights.network is not None
    problem = build_problem(other, birdcage(COILS, SIZE), weights.network.settings, model="t2")
    with torch.inference_mode():
        expected = problem.images(weights.network([problem])[0])
    torch.testing.assert_close(network(other), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    assert float((expected - network.images).abs().max()) > 0.1 * float(expected.abs().max())


def test_the_transform_is_by_the_library_that_was_asked_for() -> None:
    kspace, weights = scan("radial"), member()
    csm = birdcage(COILS, SIZE)
    made = [
        NetworkReconstructor(kspace=kspace, members=[weights], csm=csm, model="t2", backend=b) for b in ("finufft", "torchkbnufft")
    ]
    images = [network.images for network in made]
    # The table of torchkbnufft is good to 1e-3 of the whole.
    assert 0 < float((images[0] - images[1]).abs().max()) < 1e-2 * float(images[0].abs().max())


def test_no_noise_changes_nothing() -> None:
    kspace = scan()
    network = prepared(kspace, member(), member(1, layout="contrast"))
    assert not network.response(np.zeros_like(kspace.data)).any()


def test_members_that_take_the_same_latent_images_share_them() -> None:
    kspace = scan()
    first, second, third = member(0), member(1, unrolls=1, widths=(6,)), member(2, layout="contrast")
    together = prepared(kspace, first, second, third)
    assert together.problems[0] is together.problems[1]
    assert together.problems[2].basis is None
    alone = [prepared(kspace, one) for one in (first, second, third)]
    torch.testing.assert_close(together.images, torch.stack([one.images for one in alone]).mean(dim=0))
    noise = noise_of(kspace, 0)
    torch.testing.assert_close(together.response(noise), torch.stack([one.response(noise) for one in alone]).mean(dim=0))


def test_a_measurement_sampled_otherwise_is_refused() -> None:
    network = prepared(scan(), member(layout="contrast"))
    with pytest.raises(InputError, match="was sampled otherwise"):
        network(scan(seed=9))
