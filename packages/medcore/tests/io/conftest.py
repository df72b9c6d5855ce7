"""Builders of small good files, from which the tests make bad ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dicom_files
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset

from medcore.io import KSpace


@pytest.fixture(scope="session")
def save_dicom() -> Callable[[Dataset, Path], Path]:
    """Write a data set as it is, however wrong."""
    return dicom_files.save


@pytest.fixture(scope="session")
def classic_dicom() -> Callable[..., FileDataset]:
    """One slice of a classic MR series: 4 x 6 pixels whose values tell echo time, slice and position."""
    return dicom_files.classic


@pytest.fixture(scope="session")
def enhanced_dicom() -> Callable[..., FileDataset]:
    """An enhanced multi-frame file of two echoes in three slices, frames shuffled, every frame with its own rescale."""
    return dicom_files.enhanced


def _noise(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


@pytest.fixture
def cartesian(rng: np.random.Generator) -> KSpace:
    """Two contrasts, three coils, (1, 8, 6), with different lines missing in each contrast."""
    mask = np.ones((2, 1, 8, 6), dtype=bool)
    mask[0, :, 1::2] = False
    mask[1, :, 2::3] = False
    data = _noise(rng, 2, 3, 1, 8, 6) * mask[:, None]
    return KSpace(
        data=data.astype(np.complex64),
        mask=mask,
        matrix=(1, 8, 6),
        fov=(0.005, 0.21, 0.2),
        times={"te": [0.0123, 0.0271], "tr": [0.7, 0.7]},
        noise=_noise(rng, 3, 50),
        csm=_noise(rng, 3, 1, 8, 6),
        field_strength=2.89,
        meta={"sequence": "tse", "numbers": [1, {"a": None}]},
        repairs=("something was mended",),
    )


@pytest.fixture
def radial(rng: np.random.Generator) -> KSpace:
    """Two contrasts of five spokes in the plane, each contrast at its own angles."""
    angle = rng.uniform(0, np.pi, (2, 5, 1))
    radius = np.linspace(-np.pi, np.pi, 12, endpoint=False)
    traj = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=-1).astype(np.float32)
    return KSpace(data=_noise(rng, 2, 3, 5, 12), traj=traj, matrix=(1, 12, 12), fov=(0.005, 0.2, 0.2), times={"ti": [0.05, 2.1]})
