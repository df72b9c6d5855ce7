"""Signal models: from tissue parameters to one signal for each contrast."""

from __future__ import annotations

from medcore.errors import ConfigError
from medcore.plugins import Registry

from puq_qmri.signal_models.base import Parameter, SeparableModel, SignalModel

REGISTRY = Registry(group="puq_qmri.signal_models", kind="signal model")


def get_model(name: str) -> SignalModel:
    """The installed signal model called `name`, or ``module:attribute``.

    Raises
    ------
    ConfigError
        If there is none of that name or it is not a :class:`SignalModel`.
    """
    found = REGISTRY.load(name)
    model = found() if isinstance(found, type) else found
    if not isinstance(model, SignalModel):
        raise ConfigError(f"signal model {name!r}", f"is a {type(model).__name__}", "derive it from puq_qmri.signal_models.SignalModel")
    return model


__all__ = ["REGISTRY", "Parameter", "SeparableModel", "SignalModel", "get_model"]
