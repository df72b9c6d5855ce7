"""Strict settings: frozen dataclasses read from YAML, where an unknown key is an error that names the nearest valid one."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import itertools
import math
import re
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from medcore.errors import ConfigError

T = TypeVar("T")
MAX_BYTES = 1_000_000
_EXPONENT = re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$")


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping: safe loader, at most 1 MB, no aliases, no key twice.

    Raises
    ------
    ConfigError
        If the file is missing, too large, not YAML, not a mapping, or repeats a key; the line is named where known.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(path, f"has {path.stat().st_size} bytes, more than {MAX_BYTES}", "give a settings file")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(path, f"cannot be read ({error.strerror})", "give an existing YAML file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(path, "is not UTF-8 text", "give a YAML file") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, what: str) -> dict[str, Any]:
    """Parse YAML text into a mapping under the rules of :func:`load_yaml`; `what` names it in errors."""
    import yaml

    try:
        value = yaml.load(text, Loader=_strict_loader())  # noqa: S506 - it derives from SafeLoader
    # What PyYAML's constructors were seen to raise about odd scalars: LookupError for `!!float ''`, AttributeError for `!!timestamp x`.
    except (yaml.YAMLError, RecursionError, ValueError, ArithmeticError, AttributeError, LookupError, TypeError) as error:
        raise ConfigError(what, f"is not valid YAML ({' '.join(str(error).split())})", "correct the file") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(what, f"holds a {type(value).__name__}, not a mapping", "write 'key: value' lines")
    strange = [key for key in value if not isinstance(key, str)]
    if strange:
        raise ConfigError(what, f"has the key {strange[0]!r}, which is not text", "put it in quotes, or correct it")
    return value


@functools.cache
def _strict_loader() -> Any:
    """The safe loader without aliases and repeated keys, which reads ``1e-5`` as a number (as YAML 1.2 does)."""
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):
                raise yaml.YAMLError("aliases are not allowed")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[str] = set()
            for key, _ in node.value:
                if isinstance(key.value, str) and key.value in seen:
                    raise yaml.YAMLError(f"key {key.value!r} stands twice (line {key.start_mark.line + 1})")
                seen.add(str(key.value))
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789."))
    return Loader


def set_value(mapping: dict[str, Any], assignment: str) -> None:
    """Apply one ``a.b=value`` to a nested mapping in place; the value is read as YAML; ``a.0.b`` indexes lists.

    Raises
    ------
    ConfigError
        If there is no ``=`` or the path runs through something that is not a mapping or list.
    """
    path, equals, text = assignment.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {assignment}", "is not of the form a.b=value", "write for example --set fit.model=t2")
    value = parse_yaml(f"value: {text}", f"--set {assignment}")["value"]
    target: Any = mapping
    for key in keys[:-1]:
        target = _step(target, key, assignment, create=True)
    if isinstance(target, list):
        _step(target, keys[-1], assignment, create=False)
        target[int(keys[-1])] = value
    elif isinstance(target, dict):
        target[keys[-1]] = value
    else:
        raise ConfigError(f"--set {assignment}", f"{keys[-1]!r} lies inside a plain value", "shorten the path")


def _step(target: Any, key: str, assignment: str, *, create: bool) -> Any:
    if isinstance(target, dict):
        return target.setdefault(key, {}) if create else target[key]
    if isinstance(target, list) and key.isdecimal() and int(key) < len(target):
        return target[int(key)]
    raise ConfigError(f"--set {assignment}", f"there is nothing at {key!r}", "check the path")


def from_mapping(cls: type[T], mapping: Any, what: str = "settings") -> T:
    """Build the dataclass `cls` from plain values, checking every key and type on the way.

    Nested dataclasses, ``tuple[X, ...]``, ``list[X]``, ``dict[str, X]``, ``Literal``, unions and :class:`pathlib.Path` are
    understood. A whole number is taken where a float is expected; nothing else is converted.

    Raises
    ------
    ConfigError
        For an unknown key (valid and nearest ones are listed), a missing required key, or a value of the wrong type.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(what, f"is a {type(mapping).__name__}, not a mapping", "write 'key: value' lines")
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    for key in mapping:
        if key not in fields:
            raise unknown_key(what, str(key), list(fields))
    hints = typing.get_type_hints(cls)
    values = {key: _convert(hints[key], value, f"{what}.{key}") for key, value in mapping.items()}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise ConfigError(f"{what}.{name}", "is required and missing", "add this key")
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigError(what, str(error), "correct this value") from error


def unknown_key(what: str, key: str, valid: list[str]) -> ConfigError:
    """The error for a key that is none of `valid`; lists them and suggests the nearest."""
    near = difflib.get_close_matches(key, valid, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "remove it"
    return ConfigError(f"{what}.{key}", f"is unknown, valid are {', '.join(valid)}", hint)


def to_mapping(value: Any) -> Any:
    """The plain, JSON-ready form of a settings dataclass; the inverse of :func:`from_mapping`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_mapping(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
    if isinstance(value, Mapping):
        return {str(k): to_mapping(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_mapping(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def _convert(hint: Any, value: Any, what: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(args, value, what)
    if origin is typing.Literal:
        if not any(type(value) is type(arg) and value == arg for arg in args):  # True == 1
            raise _wrong(what, " or ".join(map(repr, args)), value)
        return value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_mapping(hint, value, what)
    if origin in (tuple, list) or hint in (tuple, list):
        return _convert_list(origin or hint, args, value, what)
    if origin in (dict, Mapping) or hint is dict:
        if not isinstance(value, Mapping):
            raise _wrong(what, "a mapping", value)
        item = args[1] if args else Any
        return {str(k): _convert(item, v, f"{what}.{k}") for k, v in value.items()}
    if hint is Path and isinstance(value, (str, Path)):
        return Path(value)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if abs(value) > sys.float_info.max or math.isnan(value):
            raise _wrong(what, "a finite number", value)
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise _wrong(what, _name(hint), value)


def _convert_list(kind: Any, args: tuple[Any, ...], value: Any, what: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise _wrong(what, "a list", value)
    if kind is tuple and args and args[-1] is not Ellipsis:
        if len(value) != len(args):
            raise _wrong(what, f"a list of {len(args)}", value)
        hints: Any = args
    else:
        hints = itertools.repeat(args[0] if args else Any)
    return kind(_convert(hint, v, f"{what}.{i}") for i, (hint, v) in enumerate(zip(hints, value, strict=False)))


def _convert_union(args: tuple[Any, ...], value: Any, what: str) -> Any:
    if value is None and type(None) in args:
        return None
    options = [a for a in args if a is not type(None)]
    if len(options) == 1:
        return _convert(options[0], value, what)
    problems = []
    for option in options:
        try:
            return _convert(option, value, what)
        except ConfigError as error:
            problems.append(error)
    # Where a part of the value is wrong, that part says more than the whole.
    deeper = next((p for p in problems if p.what != what), None)
    raise deeper or _wrong(what, " or ".join(_name(o) for o in options), value)


def _name(hint: Any) -> str:
    words = {float: "a number", int: "a whole number", str: "text", bool: "true or false", Path: "a path"}
    origin = typing.get_origin(hint) or hint
    return words.get(hint) or {list: "a list", tuple: "a list", dict: "a mapping"}.get(origin) or str(hint)


def _wrong(what: str, expected: str, value: Any) -> ConfigError:
    return ConfigError(what, f"must be {expected}, got {value!r}", "correct this value")
