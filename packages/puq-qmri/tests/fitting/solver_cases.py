"""A protocol and a range of tissues for every built-in model, and scipy's bounded fit of one voxel."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize

from puq_qmri.signal_models import SignalModel, get_model

ECHOES = (0.010, 0.025, 0.040, 0.055, 0.070, 0.090, 0.115, 0.150)
TRAIN = tuple(0.010 * n for n in range(1, 13))
INVERSIONS = (0.05, 0.15, 0.35, 0.70, 1.20, 2.00, 3.00, 5.00)
M0 = (0.6, 1.4)


@dataclass(frozen=True)
class Case:
    """Times of a model, ranges of its parameters and of its known maps, and its settings."""

    name: str
    times: tuple[float, ...]
    tissue: tuple[tuple[float, float], ...]
    known: tuple[tuple[float, float], ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> SignalModel:
        return get_model(self.name, **self.settings)

    def draw(
        self, rng: np.random.Generator, count: int, snr: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """Truth, noisy signals, known values and times."""
        truth, given = (
            torch.tensor(np.stack([rng.uniform(*r, count) for r in ranges], -1)) if ranges else None
            for ranges in (self.tissue, self.known)
        )
        assert truth is not None
        columns = truth if given is None else torch.cat([truth, given], -1)
        times = torch.tensor(self.times, dtype=torch.float64)
        clean = self.model.signal(columns, times)
        # SNR is that of the largest contrast of a voxel: steady states are far smaller than M0.
        noise = clean.abs().amax(-1, keepdim=True) / snr * torch.tensor(rng.standard_normal(clean.shape))
        return truth, clean + noise, given, times


CASES = (
    Case("t2", ECHOES, (M0, (0.03, 0.15))),
    Case("t2star", ECHOES, (M0, (0.01, 0.08))),
    Case("t2-offset", (*ECHOES, 0.25, 0.4), (M0, (0.03, 0.12), (0.05, 0.15))),
    Case("ir", INVERSIONS, (M0, (0.4, 2.2), (1.7, 2.0))),
    Case("ir2", INVERSIONS, (M0, (0.4, 2.2))),
    Case("saturation-recovery", INVERSIONS, (M0, (0.4, 1.8), (0.85, 1.0))),
    Case("saturation-recovery2", INVERSIONS, (M0, (0.4, 2.2))),
    Case("look-locker", INVERSIONS, (M0, (0.4, 1.6), (1.8, 3.0))),
    Case("molli", INVERSIONS, (M0, (0.4, 1.6), (1.8, 2.5))),
    Case("adc", (0.0, 2e8, 4e8, 8e8, 1.2e9), (M0, (5e-10, 2.5e-9))),
    Case("vfa", tuple(map(math.radians, (2.0, 4.0, 8.0, 14.0, 20.0))), (M0, (0.5, 2.0)), ((0.8, 1.2),), {"tr": 0.015}),
    Case(
        "mp2rage",
        (0.8, 2.7),
        (M0, (0.6, 2.5)),
        ((0.8, 1.2),),
        {"flip_angles": (math.radians(4), math.radians(5)), "tr": 0.00675, "tr_preparation": 5.0, "n_shots": (60, 100)},
    ),
    Case("epg-t2", TRAIN, (M0, (0.03, 0.12), (0.6, 0.95))),
    Case("epg-t2-b1", TRAIN, (M0, (0.03, 0.12)), ((0.8, 1.1),)),
)


def referee(
    model: SignalModel,
    times: torch.Tensor,
    signal: torch.Tensor,
    root: torch.Tensor,
    starts: list[NDArray[np.float64]],
    known: torch.Tensor | None,
) -> tuple[NDArray[np.float64], float]:
    """Parameters and misfit of the best of several bounded fits of one voxel by scipy's trust-region reflective method."""
    lower, upper = (np.array([getattr(p, side) for p in model.parameters]) for side in ("lower", "upper"))

    def columns(values: NDArray[np.float64]) -> torch.Tensor:
        parameters = torch.tensor(values)
        return parameters if known is None else torch.cat([parameters, known])

    def residual(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return (root * (model.signal(columns(values), times) - signal)).numpy()

    def jacobian(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return (root[:, None] * model.jacobian(columns(values), times)).numpy()

    found = [
        optimize.least_squares(
            residual,
            np.clip(start, lower * (1 + 1e-9), upper),
            jacobian,
            bounds=(lower, upper),
            x_scale=np.abs(start),
            xtol=1e-12,
            ftol=1e-14,
            gtol=1e-14,
            max_nfev=300,
        )
        for start in starts
    ]
    best = min(found, key=lambda f: f.cost)
    return best.x, 2 * best.cost
