"""Small stand-ins for images of the protocols of docs/puq-qmri/models.md: flip angles, refocused trains, MP2RAGE, maps of B1."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from medcore.datasets.phantoms import relaxation_phantom
from medcore.io import write_nifti
from puq_qmri.signal_models import get_model

AFFINE = np.diag([4e-3, 4e-3, 5e-3, 1.0])
ECHO_TIMES = tuple(0.01 * (i + 1) for i in range(16))
MP2RAGE = {"flip_angles": (math.radians(4), math.radians(5)), "tr": 0.007, "tr_preparation": 5.0, "n_shots": (60, 80)}


def _images(name: str, constant: str, axis: Sequence[float], **settings: object) -> np.ndarray:
    """Noisy images (contrast, z, y, x) of a brain of one tissue a voxel."""
    phantom = relaxation_phantom("brain", shape=(1, 24, 24), seed=0)
    value = getattr(phantom, constant)
    model = get_model(name, **settings)
    others = [1.0] * (len(model.parameters) - 2)
    tissues = torch.tensor([[m0, t, *others] for m0, t in zip(phantom.m0, value, strict=True)], dtype=torch.float64)
    signals = model.signal(tissues, torch.tensor(axis, dtype=torch.float64)).numpy()
    noise = np.random.default_rng(0).normal(0, 1e-3, (len(axis), 1, 24, 24))
    return (1000 * (phantom.mix(signals) + noise)).astype(np.float32)


def _vfa(path: Path) -> None:
    write_nifti(path, np.abs(_images("vfa", "t1", np.radians([3, 8, 15]), tr=0.015)), AFFINE)


def _b1(path: Path) -> None:
    rows = np.linspace(0.9, 1.1, 24, dtype=np.float32)
    write_nifti(path, np.broadcast_to(rows[:, None], (1, 24, 24)), AFFINE)


def _train(path: Path) -> None:
    write_nifti(path, np.abs(_images("epg-t2", "t2", ECHO_TIMES, t1=1.2)), AFFINE, sidecar={"EchoTime": list(ECHO_TIMES)})


def _mp2rage(root: Path) -> None:
    folder = root / "sub-01" / "anat"
    folder.mkdir(parents=True)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "mp2rage", "BIDSVersion": "1.11.1"}))
    images = _images("mp2rage", "t1", (0.8, 2.7), **MP2RAGE)
    for index, (ti, angle) in enumerate(((0.8, 4), (2.7, 5))):
        facts = {
            "InversionTime": ti,
            "FlipAngle": angle,
            "RepetitionTimeExcitation": MP2RAGE["tr"],
            "RepetitionTimePreparation": MP2RAGE["tr_preparation"],
            "NumberShots": MP2RAGE["n_shots"],
            "MagneticFieldStrength": 3.0,
        }
        for part, scale in (("real", 1.0), ("imag", 0.5)):
            name = f"sub-01_inv-{index + 1}_part-{part}_MP2RAGE.nii.gz"
            write_nifti(folder / name, scale * images[index], AFFINE, sidecar=facts)


SIGNALS: dict[str, Callable[[Path], None]] = {
    "vfa.nii.gz": _vfa,
    "b1.nii.gz": _b1,
    "mese.nii.gz": _train,
    "mp2rage-study": _mp2rage,
}
