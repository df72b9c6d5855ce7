"""Numbers of the sequence that all contrasts of a measurement share, as fields of a signal model."""

from __future__ import annotations

import dataclasses
import inspect
import math
from dataclasses import dataclass
from typing import Any

from medcore.errors import ConfigError

REQUIRED = dataclasses.MISSING
"""Default of a setting without one."""
_DESCRIPTION = "puq_qmri.setting"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One number of the sequence.

    Attributes
    ----------
    name
        Keyword of the model.
    meaning
        What it is, for messages and lists.
    unit
        SI unit; ``"1"`` for numbers without one.
    option
        Option of the command line that gives it.
    header
        Field of a BIDS sidecar that states it; empty if none does.
    several
        Whether it is a tuple of numbers.
    default
        Its value where none is given, or :data:`REQUIRED`.
    """

    name: str
    meaning: str = ""
    unit: str = "1"
    option: str = ""
    header: str = ""
    several: bool = False
    default: Any = REQUIRED

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is REQUIRED


def described(meaning: str, *, unit: str = "1", option: str = "", header: str = "", several: bool = False) -> dict[str, Any]:
    """Metadata for the dataclass field of a setting: ``tr: float = field(metadata=described("repetition time", unit="s"))``.

    Without an option of its own a setting is given by ``--setting NAME=VALUE``.
    """
    return {_DESCRIPTION: {"meaning": meaning, "unit": unit, "option": option, "header": header, "several": several}}


def settings_of(kind: type) -> tuple[Setting, ...]:
    """The settings of a model class: its dataclass fields, or else the arguments of its ``__init__``."""
    if dataclasses.is_dataclass(kind):
        return tuple(
            _with_option(Setting(name=f.name, default=_default(f), **f.metadata.get(_DESCRIPTION, {})))
            for f in dataclasses.fields(kind)
            if f.init
        )
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return tuple(
        _with_option(Setting(name=p.name, default=REQUIRED if p.default is inspect.Parameter.empty else p.default))
        for p in inspect.signature(kind).parameters.values()
        if p.kind in named
    )


def check_settings(name: str, kind: type, given: dict[str, Any]) -> None:
    """Refuse settings that the model does not have, and name at once all that it needs and did not get.

    Raises
    ------
    ConfigError
        With options and sidecar fields.
    """
    known = settings_of(kind)
    for extra in given:
        if extra not in {s.name for s in known}:
            listed = ", ".join(s.name for s in known) or "none"
            raise ConfigError(f"signal model {name!r}", f"has no setting {extra!r}", f"its settings: {listed}")
    missing = [s for s in known if s.required and given.get(s.name) is None]
    if missing:
        wanted = ", ".join(f"{s.name} ({s.meaning}{_in_unit(s)})" if s.meaning else s.name for s in missing)
        headers = [s.header for s in missing if s.header]
        otherwise = f", or {', '.join(headers)} in the sidecar" if headers else ""
        raise ConfigError(f"signal model {name!r}", f"needs {wanted}", f"give {', '.join(s.option for s in missing)}{otherwise}")


def check_number(
    model: str, name: str, value: Any, *, lower: float = 0.0, upper: float = math.inf, unit: str = "", hint: str | None = None
) -> None:
    """Refuse a setting that is no number strictly between `lower` and `upper`.

    Raises
    ------
    ConfigError
        With the value.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not lower < value < upper:
        limit = f"above {lower:g}" if math.isinf(upper) else f"between {lower:g} and {upper:g}"
        raise ConfigError(f"{name} of model {model}", f"is {value!r}", hint or f"give a number {limit}{' ' + unit if unit else ''}")


def _in_unit(setting: Setting) -> str:
    return "" if setting.unit == "1" else f" in {setting.unit}"


def _with_option(setting: Setting) -> Setting:
    return setting if setting.option else dataclasses.replace(setting, option=f"--setting {setting.name}=VALUE")


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
