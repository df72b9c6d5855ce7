"""Start values: no other entry is better, known values change the dictionary, and what has no grid is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from medcore.errors import ConfigError
from puq_qmri.fitting.dictionary import explained_energy, linear_parameters, start_values
from puq_qmri.signal_models import Parameter, SignalModel, get_model

sys.path.insert(0, str(Path(__file__).parent))
from solver_cases import CASES, Case

BY_NAME = {c.name: c for c in CASES}


def unit(name: str, *, lower: float = -2.0, upper: float = 2.0, of: str = "1") -> Parameter:
    return Parameter(name=name, map_name=f"{name}map", unit=of, lower=lower, upper=upper)


class Cubic(SignalModel):
    """Three parameters in the unit of the images, and one rate."""

    name: ClassVar[str] = "cubic"
    summary: ClassVar[str] = "a + b t + c exp(-r t)"
    source: ClassVar[str] = "test"
    times_key: ClassVar[str] = "te"
    amplitude: ClassVar[int | None] = None
    parameters: ClassVar[tuple[Parameter, ...]] = (
        unit("a", of="a.u.", lower=-float("inf"), upper=float("inf")),
        unit("r", lower=0.5, upper=50.0),
        unit("b", of="a.u.", lower=-float("inf"), upper=float("inf")),
        unit("c", of="a.u.", lower=-float("inf"), upper=float("inf")),
    )

    def signal(self, parameters: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        a, r, b, c = (p[..., None] for p in parameters.unbind(-1))
        return a + b * times + c * torch.exp(-r * times)


@pytest.mark.parametrize("name", [c.name for c in CASES])
def test_the_start_explains_nearly_all_of_a_clean_signal(name, rng) -> None:
    case = BY_NAME[name]
    truth, signal, known, times = case.draw(rng, 60, 1e9)
    start = start_values(case.model, times, signal, torch.ones(1, len(times), dtype=torch.float64), known)
    columns = start if known is None else torch.cat([start, known], -1)
    left = ((case.model.signal(columns, times) - signal) ** 2).sum(-1) / (signal**2).sum(-1)
    # Known values are put together in bins, so that the exact ones leave a little more.
    assert left.max() < (3e-3 if known is None else 1e-2)
    nonlinear = [i for i in range(truth.shape[1]) if i not in linear_parameters(case.model)]
    assert (start[:, nonlinear] / truth[:, nonlinear]).log().abs().max() < 0.3


def test_a_known_map_chooses_its_own_entries(rng) -> None:
    case = BY_NAME["vfa"]
    truth, signal, known, times = case.draw(rng, 200, 1e9)
    weights = torch.ones_like(signal)
    exact, blind = (start_values(case.model, times, signal, weights, k) for k in (known, None))
    assert (exact[:, 1] / truth[:, 1]).log().abs().max() < 0.1
    # Without the map T1 is off by the square of B1.
    torch.testing.assert_close(blind[:, 1] / truth[:, 1], known[:, 0] ** 2, rtol=0.1, atol=0)


@pytest.mark.parametrize("linear", [1, 2, 3])
@pytest.mark.parametrize("correlated", [False, True])
def test_explained_energy_is_what_least_squares_explains(linear, correlated, rng) -> None:
    basis = torch.tensor(rng.standard_normal((5, 9, linear)))
    signal, weights = torch.tensor(rng.standard_normal((7, 9))), torch.tensor(rng.uniform(0.1, 1, (7, 9)))
    whitening = torch.tensor(np.linalg.inv(np.linalg.cholesky(0.5 ** np.abs(np.subtract.outer(np.arange(9), np.arange(9))))))
    chosen = whitening if correlated else None
    found = explained_energy(basis, signal, weights, chosen)
    left = torch.eye(9, dtype=torch.float64) if chosen is None else chosen
    for v in range(7):
        for e in range(5):
            root = left.numpy() * weights[v].sqrt().numpy()
            matrix, target = root @ basis[e].numpy(), root @ signal[v].numpy()
            solved, *_ = np.linalg.lstsq(matrix, target, rcond=None)
            expected = target @ target - ((target - matrix @ solved) ** 2).sum()
            assert found[v, e].item() == pytest.approx(expected, rel=1e-7)


def test_all_parameters_in_the_unit_of_the_images_are_found_without_a_grid(rng) -> None:
    times = torch.linspace(0.0, 1.0, 16, dtype=torch.float64)
    truth = torch.tensor(np.stack([rng.uniform(*r, 30) for r in ((-50, 50), (2, 10), (-20, 20), (50, 100))], -1))
    signal = Cubic().signal(truth, times)
    start = start_values(Cubic(), times, signal, torch.ones_like(signal))
    left = ((Cubic().signal(start, times) - signal) ** 2).sum(-1) / (signal**2).sum(-1)
    assert left.max() < 1e-4


def test_batches_of_any_size_give_the_same(rng) -> None:
    case = BY_NAME["epg-t2"]
    _, signal, _, times = case.draw(rng, 30, 30.0)
    weights = torch.tensor(rng.uniform(0.1, 1, signal.shape))
    whole = start_values(case.model, times, signal, weights)
    parts = torch.cat([start_values(case.model, times, s, w) for s, w in zip(signal.split(7), weights.split(7), strict=True)])
    torch.testing.assert_close(whole, parts)


@pytest.mark.parametrize("factor", [1e-150, 1e150])
def test_the_unit_of_the_images_is_no_matter(factor, rng) -> None:
    _, signal, _, times = Case("t2", BY_NAME["t2"].times, BY_NAME["t2"].tissue).draw(rng, 10, 30.0)
    one, other = (start_values(get_model("t2"), times, s, torch.ones_like(s)) for s in (signal, signal * factor))
    torch.testing.assert_close(other[:, 1], one[:, 1])
    torch.testing.assert_close(other[:, 0], one[:, 0] * factor)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ((unit("a"), unit("b", upper=float("inf"))), r"parameter b of signal model many: has no finite range; give it a typical"),
        (tuple(unit(f"p{i}") for i in range(7)), r"signal model many: has 7 non-linear parameters, too many for a grid"),
    ],
)
def test_what_has_no_grid_is_refused(parameters, message) -> None:
    class Many(Cubic):
        name: ClassVar[str] = "many"

    Many.parameters = parameters
    with pytest.raises(ConfigError, match=message):
        start_values(Many(), torch.ones(9, dtype=torch.float64), torch.ones(1, 9, dtype=torch.float64), torch.ones(1, 9).double())
