"""Bad input: nifti."""

from __future__ import annotations

from corpus_case import Case

CASES: list[Case] = []
