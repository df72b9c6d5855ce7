"""The XML header of an ISMRMRD file: what this project needs of it, read from hostile bytes and written to the schema."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, SubElement, tostring

import defusedxml.ElementTree
from defusedxml import DefusedXmlException

from medcore.errors import InputError
from medcore.io.guard import reason
from medcore.io.ismrmrd.layout import MAX_COUNT
from medcore.units import GYROMAGNETIC_RATIO_PROTON, deg_to_rad, rad_to_deg

MAX_XML_BYTES = 4 << 20
NAMESPACE = "http://www.ismrm.org/ISMRMRD"
UNIT_PARAMETER, META_PARAMETER = "unit", "medcore"
_HZ_PER_TESLA = GYROMAGNETIC_RATIO_PROTON / (2 * math.pi)
_TIME_ELEMENTS = {"te": "TE", "ti": "TI", "tr": "TR", "flip_angle": "flipAngle_deg"}
_HINT = "correct the XML header of the file"


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Range and centre of one encoding counter."""

    minimum: int = 0
    maximum: int = 0
    center: int = 0


@dataclass(frozen=True, kw_only=True)
class Header:
    """The part of the header that is used; axes are (z, y, x), lengths in metres, times in seconds, angles in radians."""

    matrix: tuple[int, int, int]
    fov: tuple[float, float, float]
    recon_matrix: tuple[int, int, int]
    recon_fov: tuple[float, float, float]
    trajectory: str = "cartesian"
    trajectory_unit: str | None = None
    limits: dict[str, Limit] = field(default_factory=dict)
    times: dict[str, tuple[float, ...]] = field(default_factory=dict)
    field_strength: float | None = None
    acceleration: tuple[int, int] | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    repairs: tuple[str, ...] = ()
    n_encodings: int = 1


def parse_header(xml: bytes, path: str | Path) -> Header:
    """Read the header; entities, document types, sizes and numbers that cannot be are refused.

    Raises
    ------
    InputError
        Naming the element that is wrong.
    """
    if len(xml) > MAX_XML_BYTES:
        raise InputError(path, f"has an XML header of {len(xml)} bytes, more than {MAX_XML_BYTES}", _HINT)
    try:
        root = defusedxml.ElementTree.fromstring(xml, forbid_dtd=True)
    except (ParseError, DefusedXmlException, UnicodeDecodeError, ValueError, LookupError) as error:
        raise InputError(path, f"has an XML header that cannot be read ({reason(error)})", _HINT) from error
    encodings = _all(root, "encoding")
    if not encodings:
        raise InputError(path, "has an XML header without an encoding", _HINT)
    reader = _Reader(encodings[0], path)
    matrix, fov = reader.matrix("encodedSpace"), reader.lengths("encodedSpace")
    recon = _find(encodings[0], "reconSpace") is not None
    recon_matrix, recon_fov = (reader.matrix("reconSpace"), reader.lengths("reconSpace")) if recon else (matrix, fov)
    repairs = []
    if _in_metres(matrix, fov):
        repairs.append(f"field of view {fov[2] * 1e3:g} x {fov[1] * 1e3:g} mm taken as metres")
        fov, recon_fov = _as_metres(fov), _as_metres(recon_fov)
    meta, noted = _meta(root, path)
    return Header(
        matrix=matrix,
        fov=fov,
        recon_matrix=recon_matrix,
        recon_fov=recon_fov,
        trajectory=_text(encodings[0], "trajectory") or "cartesian",
        trajectory_unit=_user_parameters(encodings[0], "trajectoryDescription").get(UNIT_PARAMETER),
        limits=reader.limits(),
        times=_times(root, path),
        field_strength=_field_strength(root, path),
        acceleration=reader.acceleration(),
        meta=meta,
        repairs=(*noted, *repairs),
        n_encodings=len(encodings),
    )


def _in_metres(matrix: tuple[int, int, int], fov: tuple[float, float, float]) -> bool:
    """Whether both in-plane lengths only make sense as metres: voxels below 20 micrometres in an image of 16 or more."""
    return all(n >= 16 and length / n < 20e-6 and 0.01 < length * 1e3 < 2 for n, length in zip(matrix[1:], fov[1:], strict=True))


def _as_metres(fov: tuple[float, float, float]) -> tuple[float, float, float]:
    return fov[0], fov[1] * 1e3, fov[2] * 1e3


class _Reader:
    """Numbers below one encoding element."""

    def __init__(self, encoding: Element, path: str | Path) -> None:
        self.encoding, self.path = encoding, path

    def matrix(self, space: str) -> tuple[int, int, int]:
        z, y, x = (self._whole(f"{space}/matrixSize/{axis}", 1, MAX_COUNT) for axis in "zyx")
        return z, y, x

    def lengths(self, space: str) -> tuple[float, float, float]:
        z, y, x = (self._length(f"{space}/fieldOfView_mm/{axis}") for axis in "zyx")
        return z, y, x

    def limits(self) -> dict[str, Limit]:
        found = {}
        parent = _find(self.encoding, "encodingLimits")
        for node in [] if parent is None else parent:
            name = _local(node)
            if len(node):
                values = {k: self._whole(f"encodingLimits/{name}/{k}", 0, MAX_COUNT) for k in ("minimum", "maximum", "center")}
                found[name] = Limit(**values)
        return found

    def acceleration(self) -> tuple[int, int] | None:
        place = "parallelImaging/accelerationFactor"
        if _find(self.encoding, place) is None:
            return None
        return self._whole(f"{place}/kspace_encoding_step_2", 1, MAX_COUNT), self._whole(
            f"{place}/kspace_encoding_step_1", 1, MAX_COUNT
        )

    def _whole(self, place: str, low: int, high: int) -> int:
        text = _text(self.encoding, place)
        try:
            value = int(text or "")
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise InputError(self.path, f"has {place} = {text!r} in its header, not a whole number from {low} to {high}", _HINT)
        return value

    def _length(self, place: str) -> float:
        value = _milli(_text(self.encoding, place) or "", place, self.path)
        if not 0 < value < 1e3:
            raise InputError(self.path, f"has {place} = {value * 1e3:g} in its header", _HINT)
        return value


def _times(root: Element, path: str | Path) -> dict[str, tuple[float, ...]]:
    found = {}
    for key, name in _TIME_ELEMENTS.items():
        texts = [node.text or "" for node in _all(root, f"sequenceParameters/{name}")]
        if key == "flip_angle":
            values = tuple(deg_to_rad(_number(t, name, path)) for t in texts)
        else:
            values = tuple(_milli(t, name, path) for t in texts)
        if values:
            found[key] = values
    return found


def _field_strength(root: Element, path: str | Path) -> float | None:
    text = _text(root, "acquisitionSystemInformation/systemFieldStrength_T")
    if text:
        value = _number(text, "systemFieldStrength_T", path)
        return value if value > 0 else None
    hertz = _text(root, "experimentalConditions/H1resonanceFrequency_Hz")
    value = _number(hertz, "H1resonanceFrequency_Hz", path) if hertz else 0.0
    return value / _HZ_PER_TESLA if value > 0 else None


def _meta(root: Element, path: str | Path) -> tuple[dict[str, Any], list[str]]:
    """Non-identifying facts, and the repairs a file written by this project remembers."""
    own = _user_parameters(root, "userParameters").get(META_PARAMETER)
    if own is not None:
        try:
            stored = json.loads(own)
            return dict(stored["meta"]), [str(r) for r in stored["repairs"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(path, f"has a damaged user parameter {META_PARAMETER!r} ({reason(error)})", _HINT) from error
    places = {
        "vendor": "acquisitionSystemInformation/systemVendor",
        "model": "acquisitionSystemInformation/systemModel",
        "protocol": "measurementInformation/protocolName",
        "sequence": "sequenceParameters/sequence_type",
    }
    return {key: text for key, place in places.items() if (text := _text(root, place))}, []


def _user_parameters(root: Element, place: str) -> dict[str, str]:
    return {_text(n, "name") or "": _text(n, "value") or "" for n in _all(root, f"{place}/userParameterString")}


def _number(text: str, name: str, path: str | Path) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(path, f"has {name} = {text!r} in its header, not a number", _HINT)
    return value


def _milli(text: str, name: str, path: str | Path) -> float:
    """A number divided by 1000 without rounding twice, so that written values come back exactly."""
    _number(text, name, path)
    try:
        return float(Decimal(text.strip()).scaleb(-3))
    except InvalidOperation as error:
        raise InputError(path, f"has {name} = {text!r} in its header, not a number", _HINT) from error


def _local(node: Element) -> str:
    return node.tag.rpartition("}")[2]


def _all(node: Element, place: str) -> list[Element]:
    """All elements at a path of local names, whatever their namespace."""
    nodes = [node]
    for name in place.split("/"):
        nodes = [child for parent in nodes for child in parent if _local(child) == name]
    return nodes


def _find(node: Element, place: str) -> Element | None:
    return next(iter(_all(node, place)), None)


def _text(node: Element, place: str) -> str | None:
    found = _find(node, place)
    return None if found is None or found.text is None else found.text.strip()


def render_header(header: Header, *, contrasts: int) -> bytes:
    """The header as XML that validates against the ISMRMRD schema."""
    root = Element("ismrmrdHeader", xmlns=NAMESPACE)
    if header.field_strength is not None:
        _put(root, "acquisitionSystemInformation", [("systemFieldStrength_T", repr(header.field_strength))])
    hertz = round((header.field_strength or 0.0) * _HZ_PER_TESLA)
    _put(root, "experimentalConditions", [("H1resonanceFrequency_Hz", str(hertz))])
    _render_encoding(SubElement(root, "encoding"), header, contrasts)
    _put(root, "sequenceParameters", list(_render_times(header.times)))
    record = json.dumps({"meta": header.meta, "repairs": header.repairs}, allow_nan=False)
    _put(SubElement(root, "userParameters"), "userParameterString", [("name", META_PARAMETER), ("value", record)])
    return ('<?xml version="1.0" encoding="utf-8"?>\n' + tostring(root, encoding="unicode")).encode()


def _render_encoding(encoding: Element, header: Header, contrasts: int) -> None:
    for name, matrix, fov in (
        ("encodedSpace", header.matrix, header.fov),
        ("reconSpace", header.recon_matrix, header.recon_fov),
    ):
        space = SubElement(encoding, name)
        _put(space, "matrixSize", [(axis, str(n)) for axis, n in zip("xyz", matrix[::-1], strict=True)])
        _put(space, "fieldOfView_mm", [(axis, _times_1000(v)) for axis, v in zip("xyz", fov[::-1], strict=True)])
    limits = SubElement(encoding, "encodingLimits")
    for name, limit in [*header.limits.items(), ("contrast", Limit(maximum=contrasts - 1))]:
        _put(limits, name, [(k, str(getattr(limit, k))) for k in ("minimum", "maximum", "center")])
    SubElement(encoding, "trajectory").text = header.trajectory
    if header.trajectory_unit is not None:
        description = SubElement(encoding, "trajectoryDescription")
        SubElement(description, "identifier").text = "medcore"
        _put(description, "userParameterString", [("name", UNIT_PARAMETER), ("value", header.trajectory_unit)])
    if header.acceleration is not None:
        z, y = header.acceleration
        factors = [("kspace_encoding_step_1", str(y)), ("kspace_encoding_step_2", str(z))]
        _put(SubElement(encoding, "parallelImaging"), "accelerationFactor", factors)


def _render_times(times: dict[str, tuple[float, ...]]) -> Iterator[tuple[str, str]]:
    for key in ("tr", "te", "ti", "flip_angle"):  # the order of the schema
        for value in times.get(key, ()):
            yield _TIME_ELEMENTS[key], _degrees(value) if key == "flip_angle" else _times_1000(value)


def _degrees(radians: float) -> str:
    """Degrees that come back as the same radians where a float64 next to the quotient does."""
    degrees = rad_to_deg(radians)
    near = (degrees, math.nextafter(degrees, 0.0), math.nextafter(degrees, math.inf))
    return repr(next((d for d in near if deg_to_rad(d) == radians), degrees))


def _times_1000(value: float) -> str:
    """Seconds or metres as decimal milli-units, exactly."""
    return str(Decimal(repr(float(value))).scaleb(3))


def _put(parent: Element, name: str, children: list[tuple[str, str]]) -> None:
    node = SubElement(parent, name)
    for child, text in children:
        SubElement(node, child).text = text
