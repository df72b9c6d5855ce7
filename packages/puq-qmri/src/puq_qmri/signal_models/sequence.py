"""The settings of a signal model as images and scans state them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from medcore.errors import ConfigError, InputError
from medcore.io import ImageSeries, KSpace
from puq_qmri.signal_models import Setting, SignalModel, find_model, get_model, settings_of

_TIMES = {"RepetitionTimeExcitation": "tr", "FlipAngle": "flip_angle"}
"""Fields of sidecars that come as times of an image series."""


def model_for(model: str | SignalModel, source: ImageSeries | KSpace, given: Mapping[str, Any] | None = None) -> SignalModel:
    """A signal model with the settings that `source` states, and in their place those that are `given`.

    Parameters
    ----------
    model
        A name, ``module:attribute``, or an instance, whose settings are made.
    source
        Images or k-space; a setting is looked for in the times and in ``meta`` under the name of its sidecar field.
    given
        Settings by name, in SI units.

    Raises
    ------
    ConfigError
        If a setting is missing, unknown or impossible; option and field are named.
    InputError
        If what should be one number differs between the contrasts.
    """
    found = find_model(model)
    chosen = dict(given or {})
    if isinstance(found, SignalModel):
        return get_model(found, **chosen)
    for setting in settings_of(found):
        value = chosen.get(setting.name, _stated(setting, source, found.times_key))
        if value is not None:
            chosen[setting.name] = _tuple(setting, value) if setting.several else value
    return get_model(str(model), **chosen)


def parse_settings(texts: list[str], option: str = "--setting") -> dict[str, Any]:
    """Settings from ``NAME=VALUE``: a number, or several separated by commas or spaces.

    Raises
    ------
    ConfigError
        If something is not that, or a name comes twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            numbers = tuple(float(word) for word in value.replace(",", " ").split())
        except ValueError:
            numbers = ()
        if not (name.strip() and equals and numbers):
            raise ConfigError(option, f"is {text!r}", "give NAME=VALUE, for example t1=1.2 or n_shots=60,80")
        if name.strip() in found:
            raise ConfigError(option, f"gives {name.strip()} twice", "give it once")
        found[name.strip()] = numbers if len(numbers) > 1 else numbers[0]
    return found


def _stated(setting: Setting, source: ImageSeries | KSpace, times_key: str) -> Any:
    """Value of a setting in times or ``meta``; None where nothing states it."""
    if setting.header in _TIMES:
        key = _TIMES[setting.header]
        values = source.times.get(key)
        if values is None:
            return None
        if setting.several:
            return values[np.argsort(source.times[times_key], kind="stable")].tolist() if times_key in source.times else None
        if np.ptp(values) > 1e-6 * np.max(values):
            raise InputError(source.source, f"has {key} of {values.min():g} to {values.max():g}", f"give one with {setting.option}")
        return float(values[0])
    return source.meta.get(setting.header) if setting.header else None


def _tuple(setting: Setting, value: Any) -> tuple[Any, ...]:
    values = tuple(int(v) if float(v).is_integer() else v for v in np.atleast_1d(value).tolist())
    if setting.header == "NumberShots" and len(values) == 1:
        # One number of excitations: the centre of k-space lies in their middle.
        return (values[0] // 2, values[0] - values[0] // 2)
    return values
