"""Signal models: from tissue parameters to one signal for each contrast."""

from __future__ import annotations

from typing import Any

from medcore.errors import ConfigError
from medcore.plugins import Registry
from puq_qmri.signal_models.base import Parameter, SeparableModel, SignalModel
from puq_qmri.signal_models.settings import Setting, check_settings, described, settings_of

REGISTRY = Registry(group="puq_qmri.signal_models", kind="signal model")
_ATTRIBUTES = ("name", "summary", "source", "times_key", "parameters")


def find_model(name: str | SignalModel) -> SignalModel | type[SignalModel]:
    """The class, or the instance, that is installed as `name` or meant by ``module:attribute``; an instance comes back as it is.

    What a model estimates and needs is known without the settings of an instance.

    Raises
    ------
    ConfigError
        If there is none of that name, it is not a :class:`SignalModel`, or it lacks something that every model has.
    """
    if isinstance(name, SignalModel):
        return name
    found = REGISTRY.load(name)
    kind = found if isinstance(found, type) else type(found)
    if not issubclass(kind, SignalModel):
        raise ConfigError(f"signal model {name!r}", f"is a {kind.__name__}", "derive it from puq_qmri.signal_models.SignalModel")
    missing = [a for a in _ATTRIBUTES if not hasattr(kind, a)] + sorted(kind.__abstractmethods__)
    if missing:
        raise ConfigError(f"signal model {name!r}", f"lacks {', '.join(missing)}", f"define it in class {kind.__name__}")
    return found  # type: ignore[no-any-return]  # a model by the checks above


def get_model(model: str | SignalModel, **settings: Any) -> SignalModel:
    """A signal model that is ready to use.

    Parameters
    ----------
    model
        An installed name, ``module:attribute`` of a class or an instance, or an instance, which comes back as it is.
    settings
        Numbers of the sequence that the model needs, in SI units: ``get_model("vfa", tr=0.015)``.

    Raises
    ------
    ConfigError
        As :func:`find_model`; if a setting is missing, unknown or impossible, or settings are given for an instance.
    """
    found = find_model(model)
    if isinstance(found, SignalModel):
        if settings:
            raise ConfigError(f"signal model {str(model)!r}", "is an instance, whose settings are made", "give none")
        return found
    check_settings(str(model), found, settings)
    return found(**settings)


__all__ = [
    "REGISTRY",
    "Parameter",
    "SeparableModel",
    "Setting",
    "SignalModel",
    "described",
    "find_model",
    "get_model",
    "settings_of",
]
