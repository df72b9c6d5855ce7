from __future__ import annotations

import shutil

import numpy as np
import pytest

from medcore.errors import InputError, MedcoreError
from medcore.io import read_dicom
from medcore.io.parrec import read_par


@pytest.fixture
def pair(data_root, tmp_path):
    for suffix in (".PAR", ".REC"):
        shutil.copy(data_root / "philips-enhanced-mr" / "PARREC" / f"T1{suffix}", tmp_path / f"T1{suffix}")
    return tmp_path / "T1.PAR"


@pytest.mark.integration
@pytest.mark.parametrize("name", ["T1", "fieldmap"])
def test_equals_the_dicom_export_of_the_same_scan(name, data_root):
    exported = read_par(data_root / "philips-enhanced-mr" / "PARREC" / f"{name}.PAR")
    dicom = read_dicom(data_root / "philips-enhanced-mr" / "DICOM" / f"{name}.dcm")
    np.testing.assert_allclose(exported.data, dicom.data, atol=3e-6 * dicom.data.max())
    np.testing.assert_allclose(exported.affine, dicom.affine, atol=2e-5)
    assert exported.times["te"] == pytest.approx(dicom.times["te"], abs=1e-5)
    assert exported.times["flip_angle"] == pytest.approx(dicom.times["flip_angle"])
    assert exported.repairs == (("left out 1 volumes of another image type",) if name == "fieldmap" else ())


@pytest.mark.integration
def test_a_cut_or_missing_partner_is_refused(pair):
    rec = pair.with_suffix(".REC")
    whole = rec.read_bytes()
    rec.write_bytes(whole[:-2])
    with pytest.raises(InputError, match=r"T1.REC: has 127998 bytes where its PAR file says 128000"):
        read_par(pair)
    rec.unlink()
    with pytest.raises(InputError, match="has no REC file beside it"):
        read_par(pair)


@pytest.mark.integration
@pytest.mark.filterwarnings("error")
def test_any_cut_of_the_header_is_one_error(pair):
    whole = pair.read_bytes()
    refused = 0
    for length in range(0, len(whole) - 400, 199):
        pair.write_bytes(whole[:length])
        try:
            read_par(pair)
        except MedcoreError:
            refused += 1
    assert refused == len(range(0, len(whole) - 400, 199))
