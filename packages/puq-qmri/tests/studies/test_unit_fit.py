"""What one subject's process writes: names, sources, reports, and the map of B1 where the model knows it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from medcore.atomic import verify_directory
from medcore.errors import InputError
from medcore.io import write_nifti
from medcore.io.bids import bids_faults, describe_derivative
from puq_qmri.results import read_maps
from puq_qmri.studies.plan import StudySettings, plan_study
from puq_qmri.studies.unit_fit import fit_unit

AFFINE = np.diag([2e-3, 2e-3, 5e-3, 1.0])
SHAPE = (1, 6, 8)


def fit_one(root: Path, output: Path, **settings) -> dict:
    describe_derivative(output, source_dataset=root)
    (unit,) = plan_study(root)
    return fit_unit(unit, output, StudySettings(**settings))


@pytest.mark.integration
def test_collections_of_one_session_are_told_apart(made, tmp_path: Path) -> None:
    made.add("1", 0.08, session="a")
    made.add("1", 0.05, session="a", suffix="MEGRE")
    content = fit_one(made.root, tmp_path / "maps")
    home = tmp_path / "maps" / "sub-1" / "ses-a"
    verify_directory(home)
    images = {p.name for p in (home / "anat").glob("*.nii.gz")}
    assert {f"sub-1_ses-a_acq-{k}_{m}.nii.gz" for k, m in (("MESE", "T2map"), ("MEGRE", "T2starmap"))} <= images
    assert all(name.startswith(("sub-1_ses-a_acq-MESE_", "sub-1_ses-a_acq-MEGRE_")) for name in images)
    assert {p.name for p in home.glob("*.html")} == {"report_MESE.html", "report_MEGRE.html"}
    found = {c["label"]: c["maps"] for c in content["collections"]}
    assert found["MESE"]["t2"]["median"] == pytest.approx(0.08, rel=1e-3)
    assert found["MEGRE"]["t2star"]["median"] == pytest.approx(0.05, rel=1e-3)
    sidecar = json.loads((home / "anat" / "sub-1_ses-a_acq-MESE_T2map.json").read_text())
    assert sidecar["Sources"] == [f"bids:raw:sub-1/ses-a/anat/sub-1_ses-a_echo-{i}_MESE.nii.gz" for i in (1, 2, 3, 4)]
    assert bids_faults(tmp_path / "maps") == []


def test_one_collection_has_plain_names(made, tmp_path: Path) -> None:
    made.add("1")
    content = fit_one(made.root, tmp_path / "maps", sigma="1")
    home = tmp_path / "maps" / "sub-1"
    assert {p.name for p in home.iterdir()} == {"anat", "manifest.json", "report.html", "run.json"}
    assert np.nanmedian(read_maps(home / "anat").maps["T2map"]) == pytest.approx(0.08, rel=1e-3)
    assert content["collections"][0]["region"] == {"voxels": 48, "fitted": 48}
    assert json.loads((home / "run.json").read_text())["settings"]["sigma"] == "1"


def flip_angles(root: Path, t1: float, b1: float) -> None:
    """Spoiled gradient echoes (Ernst's formula) at flip angles that are `b1` times the nominal ones."""
    tr = 0.015
    decay = np.exp(-tr / t1)
    for i, degrees in enumerate((3, 8, 15), 1):
        angle = np.radians(b1 * degrees)
        value = 1000 * np.sin(angle) * (1 - decay) / (1 - decay * np.cos(angle))
        facts = {"FlipAngle": degrees, "PulseSequenceType": "SPGR", "RepetitionTimeExcitation": tr}
        path = root / "sub-1" / "anat" / f"sub-1_flip-{i}_VFA.nii.gz"
        write_nifti(path, np.full(SHAPE, value, np.float32), AFFINE, sidecar=facts)


@pytest.mark.integration
def test_the_map_of_b1_of_the_study_is_used_by_models_that_know_it(made, tmp_path: Path) -> None:
    flip_angles(made.root, 1.2, 0.9)
    path = made.add_b1(made.root / "sub-1" / "fmap", "sub-1", 0.9)
    content = fit_one(made.root, tmp_path / "maps")
    assert content["collections"][0]["maps"]["t1"]["median"] == pytest.approx(1.2, rel=1e-3)
    assert str(path) in content["inputs"]
    sidecar = json.loads((tmp_path / "maps" / "sub-1" / "anat" / "sub-1_T1map.json").read_text())
    assert "bids:raw:sub-1/fmap/sub-1_TB1map.nii.gz" in sidecar["Sources"]
    without = fit_one(made.root, tmp_path / "without", b1="none")
    # Small angles: the estimate goes with the square of the flip angle.
    assert without["collections"][0]["maps"]["t1"]["median"] == pytest.approx(1.2 * 0.9**2, rel=0.02)


def test_a_map_of_b1_in_percent_is_refused_and_nothing_is_written(made, tmp_path: Path) -> None:
    flip_angles(made.root, 1.2, 0.9)
    made.add_b1(made.root / "sub-1" / "fmap", "sub-1", 90)
    with pytest.raises(InputError, match=re.escape("sub-1_TB1map.nii.gz: has a median of 90")):
        fit_one(made.root, tmp_path / "maps")
    assert not (tmp_path / "maps" / "sub-1").exists()
