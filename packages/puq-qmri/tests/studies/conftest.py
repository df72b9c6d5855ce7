"""A made study: spin echoes with known T2, a few voxels each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medcore.io import write_nifti

TE = (0.01, 0.03, 0.06, 0.1)
AFFINE = np.diag([2e-3, 2e-3, 5e-3, 1.0])
SHAPE = (1, 6, 8)


class Made:
    """A data set that grows."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        (root / "dataset_description.json").write_text(json.dumps({"Name": "made", "BIDSVersion": "1.11.1"}))

    def add(self, label: str, t2: float = 0.08, *, session: str | None = None, suffix: str = "MESE") -> Path:
        """Echoes of one T2 in seconds, with little noise; the folder ``anat``."""
        parts = [f"sub-{label}"] + ([] if session is None else [f"ses-{session}"])
        folder = self.root.joinpath(*parts, "anat")
        rng = np.random.default_rng(0)
        for i, te in enumerate(TE):
            image = 100 * np.exp(-te / t2) * rng.normal(1, 1e-3, SHAPE)
            name = "_".join([*parts, f"echo-{i + 1}", f"{suffix}.nii.gz"])
            write_nifti(folder / name, image.astype(np.float32), AFFINE, sidecar={"EchoTime": te})
        return folder

    def add_b1(self, folder: Path, name: str, value: float = 1.0) -> Path:
        path = folder / f"{name}_TB1map.nii.gz"
        write_nifti(path, np.full(SHAPE, value, np.float32), AFFINE)
        return path


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "study")
