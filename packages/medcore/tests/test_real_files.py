"""Real files of every kind through the command line: described, validated, and no patient named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

pytestmark = pytest.mark.integration
FILES = {
    "dicom-transfer-syntaxes/1.dcm": "dicom",
    "philips-enhanced-mr/DICOM/T2_.dcm": "dicom",
    "siemens-xa-enhanced/6_1.dcm": "dicom",
    "siemens-mese-dicom/csa_test.dcm": "dicom",
    "philips-enhanced-mr/PARREC/fieldmap.PAR": "par",
    "philips-enhanced-mr/PARREC/fieldmap.REC": "rec",
    "prostate-t2/invivo_000198.nii.gz": "nifti",
    "dicom-transfer-syntaxes/ref/1.json": "json",
    "koma-phantom-mrd/Koma_signal.mrd": "ismrmrd",
    "koma-phantom-mrd/brain.h5": "hdf5",
    "koma-phantom-mrd/brain2D.mat": "mat",
    "fsantini-t1t2/t2dataset.npy": "npy",
    "pneumoniamnist/pneumoniamnist_train_val.npz": "medmnist",
    "osipi-t1-vfa/t1_brain_data.csv": "table",
    "bccd-boxes/BCCD/Annotations/BloodImage_00338.xml": "xml",
    "idrid-fundus/README.md": "text",
}
IDENTIFYING = ("PatientName", "PatientID", "PatientBirthDate", "ReferringPhysicianName", "InstitutionName", "StudyDate")


@pytest.mark.parametrize(("name", "kind"), FILES.items())
def test_info_and_validate(name: str, kind: str, data_root: Path, run_cli: Callable) -> None:
    path = data_root / name
    if not path.exists():  # where the copy has another folder for it
        path = next(data_root.rglob(Path(name).name))
    before = path.stat().st_mtime_ns
    described = run_cli("info", path, "--json")
    assert (described.returncode, described.stderr) == (0, "")
    facts = json.loads(described.stdout)
    assert facts["format"] == kind
    validated = run_cli("validate", path)
    assert validated.returncode in {0, 8}
    assert validated.stderr.count("\n") == (1 if validated.returncode else 0)
    assert "Traceback" not in validated.stderr
    assert path.stat().st_mtime_ns == before
    if kind == "dicom":
        said = (described.stdout + validated.stdout + validated.stderr).replace(str(path), "")
        header = pydicom.dcmread(path, stop_before_pixels=True)
        secrets = {str(header.get(k)) for k in IDENTIFYING if len(str(header.get(k) or "")) > 3}
        assert not [s for s in secrets if s in said]


def test_a_known_fault_is_named(data_root: Path, run_cli: Callable) -> None:
    done = run_cli("validate", next(data_root.rglob("BloodImage_00338.xml")))
    assert done.returncode == 8
    assert "1 of" in done.stdout
    assert "zero area" in done.stdout
