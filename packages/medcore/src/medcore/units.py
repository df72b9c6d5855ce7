"""Conversions at the border: inside, everything is in seconds, metres, hertz and radians."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", float, NDArray[np.floating])

GYROMAGNETIC_RATIO_PROTON = 267.522e6
"""Gyromagnetic ratio of the proton in rad/s/T (CODATA 2018, shielded value not used)."""


def ms_to_s(value: Number) -> Number:
    """Milliseconds to seconds."""
    return value * 1e-3


def s_to_ms(value: Number) -> Number:
    """Seconds to milliseconds."""
    return value * 1e3


def mm_to_m(value: Number) -> Number:
    """Millimetres to metres."""
    return value * 1e-3


def m_to_mm(value: Number) -> Number:
    """Metres to millimetres."""
    return value * 1e3


def deg_to_rad(value: Number) -> Number:
    """Degrees to radians."""
    return value * (math.pi / 180)


def rad_to_deg(value: Number) -> Number:
    """Radians to degrees."""
    return value * (180 / math.pi)
