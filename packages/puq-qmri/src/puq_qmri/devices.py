"""Devices to compute on."""

from __future__ import annotations

from medcore.errors import ConfigError


def checked_device(name: str, what: str = "--device") -> str:
    """The name of a device that is there; `what` names the setting in errors.

    Raises
    ------
    ConfigError
        If torch cannot use it.
    """
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(what, f"{name!r} cannot be used ({str(error).splitlines()[0]})", "use cpu") from error
    return name
