"""Networks of every layout and data consistency on small scans."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from medcore.config import from_mapping
from medcore.errors import ConfigError, InputError, NumericalError
from medcore.io.kspace import KSpace
from puq_qmri.networks import NetworkSettings, Problem, UnrolledNetwork, build_problem
from puq_qmri.networks.problem import solve
from puq_qmri.simulation import SimulationSettings, Truth, birdcage, simulate

SIZE = 32
SMALL = {"unrolls": 2, "steps": 2, "widths": (8, 8)}


def scan(**changes: object) -> tuple[KSpace, Truth, np.ndarray]:
    settings = SimulationSettings(**{"size": SIZE, "n_coils": 4, "acceleration": 3.0, "seed": 5, **changes})  # type: ignore[arg-type]
    kspace, truth = simulate(settings)
    return kspace, truth, birdcage(4, SIZE)


def prepared(settings: NetworkSettings, **changes: object) -> tuple[Problem, Truth]:
    kspace, truth, csm = scan(**changes)
    model = {"te": "t2", "ti": "ir2"}[next(iter(kspace.times))]
    return build_problem(kspace, csm, settings, model=model), truth


LAYOUTS = [
    NetworkSettings(**SMALL, layout=layout, consistency=consistency, body=body, informed=informed)
    for layout, consistency, body, informed in itertools.product(
        ("subspace", "contrast", "channels"), ("cg", "gradient", "projection"), ("unet", "plain"), (True, False)
    )
    if (layout, consistency) != ("subspace", "projection")
]


@pytest.mark.parametrize("settings", LAYOUTS, ids=lambda s: f"{s.layout}-{s.consistency}-{s.body}-{s.informed}")
def test_gradients_reach_every_weight(settings: NetworkSettings) -> None:
    torch.manual_seed(0)
    problem, truth = prepared(settings)
    network = UnrolledNetwork(settings)
    for module in network.modules():
        # Some last layers start at zero, which would stop the gradient before all others.
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.1)
    (latent,) = network([problem])
    wanted = problem.latent(torch.from_numpy(truth.images))
    assert latent.shape == wanted.shape
    (latent - wanted).abs().square().mean().backward()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name


@pytest.mark.parametrize("trajectory", ["cartesian", "radial"])
@pytest.mark.parametrize("model", ["t2", "t1"])
def test_untrained_network_does_not_leave_the_measurement(trajectory: str, model: str) -> None:
    settings = NetworkSettings(**SMALL)
    problem, truth = prepared(settings, trajectory=trajectory, model=model)
    (latent,) = UnrolledNetwork(settings).eval()([problem])
    images = torch.from_numpy(truth.images)
    error = (problem.images(latent) - images).norm() / images.norm()
    before = (problem.images(problem.start) - images).norm() / images.norm()
    assert error < before + 0.05


def test_latent_images_of_a_subspace_hold_the_signals() -> None:
    problem, truth = prepared(NetworkSettings(**SMALL), acceleration=1.0, snr=1000.0)
    images = torch.from_numpy(truth.images)
    again = problem.images(problem.latent(images))
    inside = torch.from_numpy(truth.pure)
    # A smooth phase leaves out the edges of the object; magnitudes, the basis alone.
    assert (again.abs() - images.abs())[:, inside].norm() < 0.015 * images[:, inside].norm()
    assert (again - images)[:, inside].norm() < 0.05 * images[:, inside].norm()


@pytest.mark.parametrize("layout", ["subspace", "contrast", "channels"])
def test_normal_operator_fits_its_right_hand_side(layout: str) -> None:
    """``A^H D y`` of noise-free samples is ``A^H D A`` of the true images, in the latent images' units."""
    settings = NetworkSettings(**SMALL, layout=layout, components=8)  # type: ignore[arg-type]
    kspace, truth, csm = scan(snr=1e6, trajectory="radial")
    problem = build_problem(kspace, csm, settings, model="t2")
    found = problem.image_normal(torch.from_numpy(truth.images))
    assert (found - problem.back).norm() < 1e-3 * problem.back.norm()
    latent = problem.latent(torch.from_numpy(truth.images))
    if layout != "subspace":  # a subspace leaves a part of the signals, and of the phase
        assert (problem.normal(latent) - problem.right).norm() < 1e-3 * problem.right.norm()


def test_normal_operator_is_self_adjoint_in_the_subspace() -> None:
    problem, _ = prepared(NetworkSettings(**SMALL), trajectory="radial")
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randn(problem.start.shape, generator=generator) for _ in range(2))
    left, right = (problem.normal(a) * b).sum(), (a * problem.normal(b)).sum()
    assert left == pytest.approx(float(right), rel=1e-4)


def test_conjugate_gradients_solve_small_systems() -> None:
    generator = torch.Generator().manual_seed(2)
    square = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    matrix = square @ square.T + torch.eye(6)
    right = torch.randn(6, generator=generator, dtype=torch.float64)
    found = solve(lambda x: matrix @ x, right, torch.zeros(6, dtype=torch.float64), 6)
    assert torch.allclose(matrix @ found, right, atol=1e-8)


def test_projection_keeps_what_was_measured() -> None:
    """The last step of a projecting network returns every measured sample, for coil maps of unit norm."""
    settings = NetworkSettings(**SMALL, layout="channels", consistency="projection", body="plain", informed=False)
    kspace, _, csm = scan(snr=1e6)
    problem = build_problem(kspace, csm, settings)
    torch.manual_seed(3)
    (latent,) = UnrolledNetwork(settings).eval()([problem])
    # One coil of uniform sensitivity would make it exact; with several the combination mixes measured and filled points.
    residual = (problem.right - problem.normal(latent)).norm() / problem.right.norm()
    start = (problem.right - problem.normal(problem.start)).norm() / problem.right.norm()
    assert residual < start


def test_projection_with_one_coil_is_exact() -> None:
    settings = NetworkSettings(**SMALL, layout="channels", consistency="projection", body="plain", informed=False)
    kspace, _, _ = scan(snr=1e6)
    one = dataclasses.replace(kspace, data=kspace.data[:, :1], noise=None, csm=None)
    problem = build_problem(one, np.ones((1, 1, SIZE, SIZE), np.complex64), settings)
    torch.manual_seed(3)
    (latent,) = UnrolledNetwork(settings).eval()([problem])
    assert (problem.right - problem.normal(latent)).norm() < 1e-4 * problem.right.norm()


def test_scale_of_the_scanner_does_not_matter() -> None:
    settings = NetworkSettings(**SMALL)
    kspace, _, csm = scan()
    louder = dataclasses.replace(kspace, data=kspace.data * np.float32(1e4), noise=kspace.noise * np.float32(1e4))
    torch.manual_seed(4)
    network = UnrolledNetwork(settings).eval()
    for parameter in network.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape)
    quiet, loud = (build_problem(k, csm, settings, model="t2") for k in (kspace, louder))
    a, b = quiet.images(network([quiet])[0]), loud.images(network([loud])[0])
    assert (b / 1e4 - a).norm() < 1e-3 * a.norm()


def test_scans_of_one_batch_do_not_see_each_other() -> None:
    settings = NetworkSettings(**SMALL)
    torch.manual_seed(5)
    network = UnrolledNetwork(settings).eval()
    for parameter in network.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape)
    problems = [prepared(settings, seed=seed, model=model)[0] for seed, model in ((1, "t2"), (2, "t1"), (3, "t2"))]
    together = network(problems)
    for problem, latent in zip(problems, together, strict=True):
        assert torch.allclose(network([problem])[0], latent, atol=1e-5)


def test_published_network_has_the_stated_size() -> None:
    """3.14 million parameters in five unrolls, as papers.md counts in the authors' code."""
    settings = NetworkSettings(
        layout="channels", contrasts=8, consistency="projection", unrolls=5, body="plain", widths=(128,) * 5, batch_norm=True,
        dropout=0.3, informed=False,
    )  # fmt: skip
    count = sum(p.numel() for p in UnrolledNetwork(settings).bodies.parameters())
    assert count == pytest.approx(3.14e6, rel=1e-3)


def test_sizes_that_halves_do_not_divide() -> None:
    settings = NetworkSettings(unrolls=1, steps=1, widths=(4, 4, 4))
    kspace, _ = simulate(SimulationSettings(size=37, n_coils=4, seed=5))
    problem = build_problem(kspace, birdcage(4, 37), settings, model="t2")
    assert UnrolledNetwork(settings)([problem])[0].shape == problem.start.shape


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"consistency": "projection"}, ConfigError, "projects in a subspace"),
        ({"unrolls": 0}, ConfigError, "unrolls=0"),
        ({"dropout": 1.0}, ConfigError, "dropout=1.0"),
        ({"widths": ()}, ConfigError, r"widths=\[\]"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, object], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        NetworkSettings(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("setting", ["layout: cube", "consistency: prayer", "body: vit", "wdiths: [3]"])
def test_names_of_a_recipe_that_do_not_exist_are_refused(setting: str) -> None:
    name, value = setting.split(": ")
    with pytest.raises(ConfigError, match=f"{name}|{value}"):
        from_mapping(NetworkSettings, {name: value})


def test_scans_that_a_network_cannot_take() -> None:
    kspace, _, csm = scan()
    radial, _, _ = scan(trajectory="radial")
    with pytest.raises(InputError, match="8 contrasts, the network 6"):
        build_problem(kspace, csm, NetworkSettings(layout="channels", contrasts=6))
    with pytest.raises(InputError, match="along a trajectory"):
        build_problem(radial, csm, NetworkSettings(layout="channels", consistency="projection"))
    with pytest.raises(InputError, match="no signal model"):
        build_problem(kspace, csm, NetworkSettings())
    with pytest.raises(InputError, match="states no ti"):
        build_problem(kspace, csm, NetworkSettings(), model="ir2")
    with pytest.raises(InputError, match="phase that evolves"):
        build_problem(kspace, csm, NetworkSettings(), model="t2star")
    empty = dataclasses.replace(kspace, data=np.zeros_like(kspace.data))
    with pytest.raises(NumericalError, match="no signal"):
        build_problem(empty, csm, NetworkSettings(layout="contrast"))
    a, b = (build_problem(k, c, NetworkSettings(layout="contrast")) for k, c in (scan()[::2], scan_of(40)))
    with pytest.raises(InputError, match=r"\(32, 32\), \(40, 40\)"):
        UnrolledNetwork(NetworkSettings(layout="contrast"))([a, b])


def scan_of(size: int) -> tuple[KSpace, np.ndarray]:
    kspace, _ = simulate(SimulationSettings(size=size, n_coils=4, seed=5))
    return kspace, birdcage(4, size)
