"""What is used of the protocol of a Siemens measurement: sizes, lengths and times, in SI units."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcore.errors import InputError
from medcore.units import GYROMAGNETIC_RATIO_PROTON, deg_to_rad

CARTESIAN = 1
_TRAJECTORIES = {1: "Cartesian", 2: "radial", 4: "spiral", 8: "blades"}
_THREE_DIMENSIONS, _WHOLE = 4, 16
"""Values of ``ucDimension`` and of the partial-Fourier entries that mean three dimensions and the whole of k-space."""
_MAX_LINES, _MAX_LIST = 2_000_000, 1024
_MAX_ENTRY = 4096
_BRACES, _PARAMETER = re.compile(r"\{([^{}]{0,4000})\}"), re.compile(r'<Param\w{1,20}\."\w')
_HINT = "get another copy of the file from the scanner"
_HZ_PER_TESLA = GYROMAGNETIC_RATIO_PROTON / (2 * math.pi)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Facts of a protocol.

    Attributes
    ----------
    columns, lines, partitions
        Grid of k-space: readout without its oversampling, phase encoding, slice encoding.
    oversampling
        Of the readout; None where it is not stated.
    fov
        Slice, phase and read direction in metres, with the oversampling of lines and partitions and without that of the readout.
    times
        Lists of ``te``, ``ti``, ``tr`` (seconds) and ``flip_angle`` (radians).
    acceleration
        Along partitions and lines; None where it is not stated, or lines are left out on purpose (partial Fourier, ellipse).
    field_strength
        In tesla; None where it is not stated.
    meta
        Further facts that name no patient.
    notes
        What was assumed.
    """

    columns: int
    lines: int
    partitions: int
    oversampling: float | None
    fov: tuple[float, float, float]
    times: dict[str, tuple[float, ...]]
    acceleration: tuple[int, int] | None
    field_strength: float | None
    meta: dict[str, Any]
    notes: tuple[str, ...]


def parse_protocol(buffers: dict[str, str], path: Path) -> Protocol:
    """Read the facts from the buffers ``MeasYaps`` and ``Meas``.

    Raises
    ------
    InputError
        If a size or length is missing or impossible, or the readouts are not Cartesian.
    """
    if "MeasYaps" not in buffers:
        raise InputError(path, f"has no protocol MeasYaps, only {', '.join(sorted(buffers))[:200]}", _HINT)
    values = _Values(buffers["MeasYaps"], buffers.get("Meas", ""), path)
    trajectory = values.whole("sKSpace.ucTrajectory", 1, 255, default=CARTESIAN)
    if trajectory != CARTESIAN:
        kind = _TRAJECTORIES.get(trajectory, f"of kind {trajectory}")
        raise InputError(path, f"is {kind} and stores no trajectory", "convert it to ISMRMRD with the trajectory of its sequence")
    if values.whole("alRegridMode", 0, 255, default=1, stored=True) > 1:
        raise InputError(path, "has samples on the ramps of the gradient", "grid them onto a regular readout first")
    deep = values.whole("sKSpace.ucDimension", 1, 255, default=2) == _THREE_DIMENSIONS
    more_lines = 1 + values.number("sKSpace.dPhaseOversamplingForDialog", 0.0, 10.0, default=0.0)
    more_planes = 1 + values.number("sKSpace.dSliceOversamplingForDialog", 0.0, 10.0, default=0.0) if deep else 1.0
    lines, notes = values.grown("sKSpace.lPhaseEncodingLines", "iPEFTLength", more_lines)
    partitions, more = values.grown("sKSpace.lPartitions", "i3DFTLength", more_planes) if deep else (1, [])
    slab = "sSliceArray.asSlice[0]."
    fov = (
        values.number(slab + "dThickness", 1e-3, 1e4) * 1e-3 * more_planes,
        values.number(slab + "dPhaseFOV", 1e-3, 1e4) * 1e-3 * more_lines,
        values.number(slab + "dReadoutFOV", 1e-3, 1e4) * 1e-3,
    )
    hertz = values.number("sTXSPEC.asNucleusInfo[0].lFrequency", 0.0, 1e10, default=0.0)
    tesla = values.number("sProtConsistencyInfo.flNominalB0", 0.0, 100.0, default=hertz / _HZ_PER_TESLA)
    names = {"sequence": "tSequenceFileName", "protocol": "tProtocolName"}
    return Protocol(
        columns=values.whole("sKSpace.lBaseResolution", 1, 65535),
        lines=lines,
        partitions=partitions,
        oversampling=values.number("flReadoutOSFactor", 0.0, 16.0, default=0.0, stored=True) or None,
        fov=fov,
        times=values.times(),
        acceleration=values.acceleration(),
        field_strength=tesla or None,
        meta={"vendor": "Siemens", **{k: v for k, name in names.items() if (v := values.text(name))}},
        notes=(*notes, *more),
    )


class _Values:
    """Values of a protocol by name: lines ``name = value``, and entries ``"name"> { value }`` of the stored parameters."""

    def __init__(self, text: str, stored: str, path: Path) -> None:
        lines = text.split("\n", _MAX_LINES)
        pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
        self._values = {name.strip(): value.strip() for name, _, value in pairs}
        self._stored, self._path = stored, path

    def text(self, name: str) -> str:
        """A text without its quotation marks, empty where it is not stated."""
        return self._values.get(name, "").strip('"')[:200]

    def number(self, name: str, low: float, high: float, *, default: float | None = None, stored: bool = False) -> float:
        """A number from `low` to `high`; `default` where it is not stated."""
        text = self._entry(name) if stored else self._values.get(name)
        if text is None:
            if default is None:
                raise InputError(self._path, f"states no {name} in its protocol", _HINT)
            return default
        value = _number(text)
        if not low <= value <= high:
            raise InputError(self._path, f"states {name} = {text[:40]!r} in its protocol, not {low:g} to {high:g}", _HINT)
        return value

    def whole(self, name: str, low: int, high: int, *, default: int | None = None, stored: bool = False) -> int:
        """A whole number from `low` to `high`; `default` where it is not stated."""
        value = self.number(name, float(low), float(high), default=None if default is None else float(default), stored=stored)
        if value != int(value):
            raise InputError(self._path, f"states {name} = {value:g} in its protocol, not a whole number", _HINT)
        return int(value)

    def grown(self, name: str, length: str, factor: float) -> tuple[int, list[str]]:
        """A number of encoding steps with their oversampling: as it was stored, or worked out, which is noted."""
        plain = self.whole(name, 1, 65535)
        if self._entry(length) is not None:
            return max(plain, self.whole(length, 1, 65535, stored=True)), []
        if factor == 1:
            return plain, []
        grown = math.ceil(plain * factor - 1e-6)
        return grown, [f"{name} {plain} with an oversampling of {factor:g} taken as {grown} steps"]

    def acceleration(self) -> tuple[int, int] | None:
        """Steps between measured partitions and lines, if every such step is to be measured."""
        partial = [self.whole(f"sKSpace.uc{axis}PartialFourier", 0, 255, default=_WHOLE) for axis in ("Phase", "Slice")]
        ellipse = self.whole("sKSpace.ucEnableEllipticalScanning", 0, 255, default=0)
        lines = self.whole("sPat.lAccelFactPE", 0, 64, default=0)
        if partial != [_WHOLE, _WHOLE] or ellipse or not lines:
            return None
        return max(1, self.whole("sPat.lAccelFact3D", 0, 64, default=1)), lines

    def times(self) -> dict[str, tuple[float, ...]]:
        """Times from microseconds to seconds, flip angles from degrees to radians; of the echo times only those in use."""
        echoes = self.whole("lContrasts", 1, _MAX_LIST, default=1)
        found = {
            "te": tuple(v * 1e-6 for v in self._list("alTE")[:echoes]),
            "ti": tuple(v * 1e-6 for v in self._list("alTI") if v > 0),
            "tr": tuple(v * 1e-6 for v in self._list("alTR")[:1]),
            "flip_angle": tuple(deg_to_rad(v) for v in self._list("adFlipAngleDegree")[:1]),
        }
        return {key: values for key, values in found.items() if values}

    def _list(self, name: str) -> list[float]:
        values: list[float] = []
        while f"{name}[{len(values)}]" in self._values and len(values) < _MAX_LIST:
            values.append(self.number(f"{name}[{len(values)}]", 0.0, 1e9))
        return values

    def _entry(self, name: str) -> str | None:
        """The first number in the braces of a stored parameter."""
        start = self._stored.find(f'"{name}">')
        if start < 0:
            return None
        body = self._stored[start + len(name) + 3 : start + _MAX_ENTRY]
        following = _PARAMETER.search(body)
        for braces in _BRACES.finditer(body[: following.start()] if following else body):
            text = braces.group(1)
            words = [w for w in text.split() if not w.startswith("<")][1 if "<Precision>" in text else 0 :]
            if words:
                return words[0]
        return None


def _number(text: str) -> float:
    try:
        return float(int(text, 16)) if text.lower().startswith("0x") else float(text)
    except (ValueError, OverflowError):
        return math.nan
