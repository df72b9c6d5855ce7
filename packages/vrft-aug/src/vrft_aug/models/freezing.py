"""Parts of a model that stay as they are."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Any

from medcore.errors import ConfigError

PARTS: dict[str, tuple[str, ...]] = {
    "vision": ("visual", "vision_tower", "vision_model"),
    "projector": ("merger", "deepstack_merger_list", "multi_modal_projector", "connector"),
    "language": ("language_model", "text_model", "lm_head"),
}
"""Names of modules by which families call their image encoder, what joins it to the language model, and the language model. In the
Qwen-VL family the projector is a part of the vision module."""
_WRAPPER = "base_model.model."  # how peft begins the names of all parameters


def freeze(model: Any, parts: Sequence[str], what: str = "model.freeze") -> int:
    """Stop training of parts of a model.

    Parameters
    ----------
    model
        A transformers or peft model; an adapter inside of a frozen part is frozen, too.
    parts
        Names of :data:`PARTS`, or patterns of parameter names with ``*`` and ``?``, for example ``*layers.[0-9].*``.
    what
        The setting, for messages.

    Returns
    -------
    int
        Number of parameters frozen.

    Raises
    ------
    ConfigError
        If a part matches nothing, or nothing is left to train.
    """
    # Names of the plain model, whatever is wrapped around it; of a quantised model with an adapter, too.
    parameters = [(name.removeprefix(_WRAPPER), parameter) for name, parameter in model.named_parameters()]
    frozen: set[str] = set()
    for part in parts:
        matched = {name for name, _ in parameters if belongs(name, part)}
        if not matched:
            known = f"use {', '.join(PARTS)} or a pattern such as *layers.0.*"
            raise ConfigError(what, f"finds no parameter of {type(model).__name__} for {part!r}", known)
        frozen |= matched
    count = 0
    for name, parameter in parameters:
        if name in frozen:
            parameter.requires_grad_(requires_grad=False)
            count += parameter.numel()
    if not any(parameter.requires_grad for _, parameter in parameters):
        raise ConfigError(what, f"{', '.join(parts)} leaves nothing to train", "freeze less")
    return count


def belongs(name: str, part: str) -> bool:
    """Whether a parameter is in a part, a name of :data:`PARTS` or a pattern."""
    if part in PARTS:
        return any(piece in PARTS[part] for piece in name.split("."))
    return fnmatch.fnmatchcase(name, part)
