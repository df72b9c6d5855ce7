"""The corpus of bad input, every case through the command line in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import corpus_dicom
import corpus_images
import corpus_kspace
import corpus_nifti
import pytest
from corpus_case import Case, check

FAMILIES = {
    "DICOM": corpus_dicom.CASES,
    "k-space": corpus_kspace.CASES,
    "NIfTI and BIDS": corpus_nifti.CASES,
    "npz, images, text": corpus_images.CASES,
}
LEAST = {"DICOM": 30, "k-space": 28, "NIfTI and BIDS": 22, "npz, images, text": 18}
CASES = [pytest.param(family, case, id=f"{family}: {case.name}") for family, cases in FAMILIES.items() for case in cases]


@pytest.mark.integration
@pytest.mark.parametrize(("family", "case"), CASES)
def test_bad_input(family: str, case: Case, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    record_property("corpus", family)
    record_property("corpus_outcome", check(case, tmp_path))


@pytest.mark.parametrize("family", list(FAMILIES))
def test_the_corpus_is_as_large_as_promised_and_names_are_unique(family: str) -> None:
    names = [case.name for case in FAMILIES[family]]
    assert len(names) >= LEAST[family]
    assert len(set(names)) == len(names)
