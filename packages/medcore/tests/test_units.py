"""Conversions at the border: exact where they can be, inverse to each other, for numbers and arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore import units

PAIRS = [(units.ms_to_s, units.s_to_ms), (units.mm_to_m, units.m_to_mm), (units.deg_to_rad, units.rad_to_deg)]


@pytest.mark.parametrize(
    ("convert", "value", "expected"),
    [
        (units.ms_to_s, 26.4, 0.0264),
        (units.s_to_ms, 0.0264, 26.4),
        (units.mm_to_m, 0.5, 0.0005),
        (units.m_to_mm, 0.23, 230.0),
        (units.deg_to_rad, 180.0, math.pi),
        (units.rad_to_deg, math.pi / 2, 90.0),
    ],
)
def test_known_values(convert, value, expected):
    assert convert(value) == pytest.approx(expected, rel=1e-15)
    assert convert(np.array([value, 0.0])) == pytest.approx([expected, 0.0], rel=1e-15)


@pytest.mark.parametrize(("there", "back"), PAIRS)
@given(value=st.floats(-1e100, 1e100))
def test_there_and_back(there, back, value):
    assert back(there(value)) == pytest.approx(value, rel=1e-15, abs=1e-300)


def test_the_proton_turns_at_42_577_mhz_per_tesla():
    assert units.GYROMAGNETIC_RATIO_PROTON / (2 * math.pi) == pytest.approx(42.577e6, rel=1e-4)
