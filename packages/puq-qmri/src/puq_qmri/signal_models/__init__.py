"""Signal models: from tissue parameters to one signal for each contrast."""

from __future__ import annotations

from typing import cast

from medcore.errors import ConfigError
from medcore.plugins import Registry
from puq_qmri.signal_models.base import Parameter, SeparableModel, SignalModel

REGISTRY = Registry(group="puq_qmri.signal_models", kind="signal model")
_ATTRIBUTES = ("name", "summary", "source", "times_key", "parameters")


def get_model(name: str) -> SignalModel:
    """The installed signal model called `name`, or ``module:attribute``: a class without arguments, or an instance.

    Raises
    ------
    ConfigError
        If there is none of that name, it is not a :class:`SignalModel`, or it lacks something that every model has.
    """
    found = REGISTRY.load(name)
    kind = found if isinstance(found, type) else type(found)
    if not issubclass(kind, SignalModel):
        raise ConfigError(f"signal model {name!r}", f"is a {kind.__name__}", "derive it from puq_qmri.signal_models.SignalModel")
    missing = [a for a in _ATTRIBUTES if not hasattr(kind, a)] + sorted(kind.__abstractmethods__)
    if missing:
        raise ConfigError(f"signal model {name!r}", f"lacks {', '.join(missing)}", f"define it in class {kind.__name__}")
    if not isinstance(found, type):
        return cast(SignalModel, found)
    try:
        return kind()
    except TypeError as error:
        raise ConfigError(
            f"signal model {name!r}", f"cannot be made without arguments ({error})", "name an instance instead"
        ) from error


__all__ = ["REGISTRY", "Parameter", "SeparableModel", "SignalModel", "get_model"]
