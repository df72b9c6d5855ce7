"""One door for built-ins and guests: names from entry points, or ``module:attribute`` typed by the user."""

from __future__ import annotations

import difflib
import importlib
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from medcore.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Registry:
    """The named plug-ins of one kind.

    Parameters
    ----------
    group
        Entry-point group, for example ``"puq_qmri.signal_models"``.
    kind
        What one plug-in is called in messages, for example ``"signal model"``.
    """

    group: str
    kind: str

    def entries(self) -> dict[str, EntryPoint]:
        """All installed entry points by name.

        Raises
        ------
        ConfigError
            If two distributions claim one name for different objects; both are shown.
        """
        found: dict[str, EntryPoint] = {}
        for entry in entry_points(group=self.group):
            owner = found.setdefault(entry.name, entry)
            if owner.value != entry.value:
                raise ConfigError(
                    f"{self.kind} {entry.name!r}",
                    f"is offered twice, by {_owner(owner)} and by {_owner(entry)}",
                    "uninstall one of the two packages",
                )
        return dict(sorted(found.items()))

    def names(self) -> list[str]:
        """Sorted names of all installed plug-ins."""
        return list(self.entries())

    def load(self, name: str) -> Any:
        """Import the plug-in called `name`, an entry-point name or ``module:attribute``.

        A module named by the user may also be a file of the current folder; installed modules come first.

        Raises
        ------
        ConfigError
            If the name is unknown (the known and the nearest ones are listed) or its import fails.
        """
        entries = self.entries()
        if name in entries:
            return _load(entries[name].value, f"{self.kind} {name!r}")
        if ":" in name:
            # An installed command does not search the current folder, where a user's own file lies.
            if (here := str(Path.cwd())) not in sys.path:
                sys.path.append(here)
            return _load(name, f"{self.kind} {name!r}")
        raise unknown_name(self.kind, name, list(entries))


def unknown_name(kind: str, name: str, known: list[str]) -> ConfigError:
    """The error for a name that is none of `known`, with the nearest one as the hint."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "choose one of these"
    return ConfigError(f"{kind} {name!r}", f"is not one of {', '.join(known) or '(none installed)'}", hint)


def _load(value: str, what: str) -> Any:
    module, _, attribute = value.partition(":")
    try:
        target: Any = importlib.import_module(module)
        for part in attribute.split("."):
            target = getattr(target, part)
    except Exception as error:  # a guest's module may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(what, f"cannot be imported ({reason})", "check the name module:attribute and the installation") from error
    return target


def _owner(entry: EntryPoint) -> str:
    package = entry.dist.name if entry.dist else "an unknown package"
    return f"{package} ({entry.value})"
