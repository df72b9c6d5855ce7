"""Strict readers, atomic writers, datasets, phantoms and metrics for medical imaging."""

from typing import Any

from medcore.__about__ import __version__
from medcore.errors import MedcoreError

__all__ = ["MedcoreError", "__version__", "open"]


def __getattr__(name: str) -> Any:
    """``medcore.open``, imported when it is first used."""
    if name == "open":
        from medcore.opening import open as function

        return function
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
