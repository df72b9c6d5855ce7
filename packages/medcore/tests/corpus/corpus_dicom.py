"""Bad input: dicom."""

from __future__ import annotations

from corpus_case import Case

CASES: list[Case] = []
