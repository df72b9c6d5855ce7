"""Which quantity a map shows and in which unit, in the codes of DICOM PS3.16 (CID 7180 and 7181).

Codes and their meanings come from pydicom's copy of the standard's dictionaries; none is made up here. Inside this project values are in
SI units; a DICOM viewer shows milliseconds, square millimetres per second and millimetres. Both hold: stored pixels keep the SI values,
and the real-world value mapping multiplies them for the unit that is shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from medcore.errors import ConfigError
from medcore.plugins import unknown_name

_TIMES = frozenset({"s", "ms"})
_RATES = frozenset({"/s", "1/s", "Hz"})
_DIFFUSION = frozenset({"m2/s", "mm2/s", "um2/s", "um2/ms"})
_QUANTITY_GROUP, _UNIT_GROUP = 7180, 7181

# Short name: keyword of the concept in DICOM's own dictionary, and the units that make sense (None: any).
QUANTITIES: dict[str, tuple[str, frozenset[str] | None]] = {
    "T1": ("T1", _TIMES),
    "T2": ("T2", _TIMES),
    "T2*": ("T2Star", _TIMES),
    "R1": ("R1", _RATES),
    "R2": ("R2", _RATES),
    "R2*": ("R2Star", _RATES),
    "ADC": ("ApparentDiffusionCoefficient", _DIFFUSION),
    "FA": ("FractionalAnisotropy", frozenset({"1"})),
    "PD": ("ProtonDensity", None),
    "M0": ("ProtonDensity", None),
    "MTR": ("MagnetizationTransferRatio", frozenset({"1", "%"})),
    "FF": ("FatFraction", frozenset({"1", "%"})),
    "QSM": ("MagneticSusceptibility", frozenset({"1", "ppm"})),
    "chi2": ("ChiSquare", frozenset({"1"})),
}
_ALIASES = {"1/s": "/s"}
# SI unit: unit that DICOM shows, and how many of these make one of those.
_SHOWN = {"s": ("ms", 1e3), "m2/s": ("mm2/s", 1e6), "m": ("mm", 1e3), "rad": ("deg", 180 / math.pi)}
# Unit of a file: SI unit, and how many of the file's make one of SI.
_TO_SI = {
    "ms": ("s", 1e3),
    "mm2/s": ("m2/s", 1e6),
    "um2/s": ("m2/s", 1e12),
    "um2/ms": ("m2/s", 1e9),
    "mm": ("m", 1e3),
    "cm": ("m", 1e2),
    "um": ("m", 1e6),
    "deg": ("rad", 180 / math.pi),
    "mT": ("T", 1e3),
    "/s": ("1/s", 1.0),
}


class Concept(NamedTuple):
    """A coded concept."""

    value: str
    scheme: str
    meaning: str


class Shown(NamedTuple):
    """The unit a file shows, and the factor from stored pixels to it."""

    unit: Concept
    factor: float


def quantity_concept(name: str) -> Concept:
    """The concept of a quantity: a short name such as ``T2*``, or a keyword of CID 7180 such as ``FractionalAnisotropy``.

    Raises
    ------
    ConfigError
        If there is none of that name.
    """
    keyword = QUANTITIES[name][0] if name in QUANTITIES else name
    found = _members("DCM", _QUANTITY_GROUP).get(keyword)
    if found is None:
        raise unknown_name("quantity", name, list(QUANTITIES))
    return found


def shown_unit(unit: str, quantity: str) -> Shown:
    """How values in `unit` are shown: SI units in the one usual in DICOM, others as they are.

    Parameters
    ----------
    unit
        UCUM code of the values: an SI unit (``s``, ``m2/s``, ``m``, ``rad``, ``1/s``), or one of CID 7181 (``ms``, ``mm2/s``, ``1``).
    quantity
        What the values are, as in :func:`quantity_concept`.

    Raises
    ------
    ConfigError
        If DICOM has no code for the unit, or it cannot be one of that quantity.
    """
    allowed = QUANTITIES.get(quantity, ("", None))[1]
    if allowed is not None and unit not in allowed:
        raise ConfigError("unit", f"is {unit!r}, which is no unit of {quantity}", f"use one of {', '.join(sorted(allowed))}")
    code, factor = _SHOWN.get(unit, (_ALIASES.get(unit, unit), 1.0))
    known = {concept.value: concept for concept in (*_members("UCUM", _UNIT_GROUP).values(), *_members("UCUM", 7183).values())}
    if code not in known:
        raise unknown_name("unit", unit, [*_SHOWN, *known])
    return Shown(known[code], factor)


def si_unit(code: str) -> tuple[str, float]:
    """The SI unit that belongs to a UCUM code, and how many of the code's unit make one of it; other units stay as they are."""
    return _TO_SI.get(code, (code, 1.0))


def one_each(values: str | Sequence[str], count: int, what: str) -> list[str]:
    """`values` as a list of `count` names.

    Raises
    ------
    ConfigError
        If there are not `count`.
    """
    listed = [values] if isinstance(values, str) else [str(v) for v in values]
    if len(listed) != count:
        raise ConfigError(what, f"names {len(listed)} for {count} contrasts ({', '.join(listed)})", "name one for each contrast")
    return listed


def _members(scheme: str, group: int) -> dict[str, Concept]:
    """Concepts of a context group by keyword."""
    from pydicom.sr._concepts_dict import concepts

    table: dict[str, Any] = concepts[scheme]
    return {
        keyword: Concept(code, scheme, meaning)
        for keyword, entries in table.items()
        for code, (meaning, groups) in entries.items()
        if group in groups
    }
