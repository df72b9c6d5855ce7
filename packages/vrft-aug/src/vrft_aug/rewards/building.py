"""Rewards from recipes and from command lines."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from typing import Any

from medcore.config import from_mapping, parse_yaml, to_mapping
from medcore.errors import ConfigError
from vrft_aug.rewards.base import COLUMNS, REGISTRY, Reward
from vrft_aug.rewards.guard import GuardedReward, guard
from vrft_aug.rewards.isolation import IsolatedReward
from vrft_aug.rewards.settings import RewardSettings

_KEY = re.compile(r"(?:^|,)\s*([A-Za-z_]\w*)\s*=")


def build_reward(settings: RewardSettings) -> GuardedReward:
    """The guarded reward that `settings` describe, called ``settings.shown`` in logs.

    A plug-in is a class (made with the options; a dataclass is checked strictly), a function (options become keywords), or a ready object
    (which takes no options).

    Raises
    ------
    ConfigError
        If the name is unknown, an option is unknown or wrong, or the object is no reward.
    """
    reward: Reward | IsolatedReward = make_reward(settings)
    watch = settings.guard
    ours = type(reward).__module__.startswith("vrft_aug.")
    if watch.isolate == "always" or (watch.isolate == "auto" and not ours):
        reward = IsolatedReward.made_by(
            functools.partial(make_reward, settings), settings.shown, watch.seconds, watch.workers, watch.memory_gb
        )
    return guard(reward, settings.shown, watch)


def make_reward(settings: RewardSettings) -> Reward:
    """The reward itself, not guarded.

    Raises
    ------
    ConfigError
        As :func:`build_reward`.
    """
    what = f"reward {settings.name}"
    target = REGISTRY.load(settings.name)
    if isinstance(target, type) and dataclasses.is_dataclass(target):
        reward: Any = from_mapping(target, settings.options, what)
    elif isinstance(target, type) or (inspect.isfunction(target) and settings.options):
        reward = _with_options(target, settings.options, what)
    elif settings.options:
        raise ConfigError(what, f"takes no options, got {', '.join(settings.options)}", "remove them")
    else:
        reward = target
    return _checked(reward, what)


def _with_options(target: Any, options: dict[str, Any], what: str) -> Any:
    try:
        if isinstance(target, type):
            return target(**options)
        inspect.signature(target).bind_partial(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(what, f"does not take these options ({error})", "see its documentation") from error
    return functools.partial(target, **options)


def _checked(reward: Any, what: str) -> Reward:
    """Refuse what cannot be called like a reward, or answers later."""
    if not callable(reward):
        raise ConfigError(what, f"is a {type(reward).__name__}, not a callable", "name a function or class")
    inner = reward.func if isinstance(reward, functools.partial) else reward
    if inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(type(inner).__call__):
        raise ConfigError(what, "is asynchronous", "write it as an ordinary function")
    try:
        inspect.signature(reward).bind(**dict.fromkeys(("prompts", "completions", *COLUMNS)))
    except TypeError as error:
        known = f"take prompts, completions and **columns, of which there are {', '.join(COLUMNS)}"
        raise ConfigError(what, f"cannot be called like a reward ({error})", known) from error
    except ValueError:  # no signature to look at, a callable of an extension module
        pass
    return reward  # type: ignore[no-any-return]


def parse_spec(text: str) -> RewardSettings:
    """Read ``NAME[:key=value,...]``; values are YAML, so that ``table=[0.5, 0.1]`` works.

    The name may be ``module:attribute``.

    >>> parse_spec("multi_grade_fuzzy:kernel=geometric,base=0.5").options
    {'kernel': 'geometric', 'base': 0.5}

    Raises
    ------
    ConfigError
        If it is not of this form.
    """
    name, _, rest = text.partition(":")
    if rest and "=" not in rest.partition(":")[0] and name.strip() not in REGISTRY.names():
        attribute, _, rest = rest.partition(":")
        name = f"{name}:{attribute}"
    what = f"reward {name.strip() or text!r}"
    options: dict[str, Any] = {}
    keys = list(_KEY.finditer(rest))
    if rest.strip() and (not keys or keys[0].start() != 0):
        raise ConfigError(what, f"{rest!r} is not of the form key=value,...", "write for example accuracy:negative=normal")
    for key, following in zip(keys, [*keys[1:], None], strict=False):
        value = rest[key.end() : following.start() if following else len(rest)]
        if key[1] in options:
            raise ConfigError(what, f"has the option {key[1]} twice", "give it once")
        options[key[1]] = parse_yaml(f"value: {value.strip()}", f"{what} option {key[1]}")["value"]
    return RewardSettings(name=name.strip(), options=options)


def describe_rewards() -> list[dict[str, Any]]:
    """Name, owner, summary and options with their defaults of every installed reward; one that cannot be imported says why."""
    found = []
    for name, entry in REGISTRY.entries().items():
        described: dict[str, Any] = {"name": name, "object": entry.value, "package": entry.dist.name if entry.dist else None}
        try:
            target = REGISTRY.load(name)
        except ConfigError as error:
            found.append(described | {"summary": str(error), "options": {}})
            continue
        summary = (inspect.getdoc(target) or "").partition("\n\n")[0]
        found.append(described | {"summary": " ".join(summary.split()), "options": _options(target)})
    return found


def _options(target: Any) -> dict[str, Any]:
    if not (isinstance(target, type) and dataclasses.is_dataclass(target)):
        return {}
    fields = [f for f in dataclasses.fields(target) if f.init]
    defaults = {f.name: f.default_factory() if callable(f.default_factory) else f.default for f in fields}
    return {name: "required" if value is dataclasses.MISSING else to_mapping(value) for name, value in defaults.items()}
