"""How large a model is, from its configuration alone: the architecture is built without memory for its weights."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcore.errors import InputError
from vrft_aug.models.freezing import PARTS, belongs, freeze
from vrft_aug.recipe import ModelSettings

_NAMED = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([BbMm])(?![A-Za-z0-9])")


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """Numbers of parameters and the shape of the language model and of the image encoder.

    Attributes
    ----------
    parameters, trained, adapters, quantised
        All parameters without adapters; those that are trained (with `lora`: in adapters); those of adapters; those held in four bits.
    layers, hidden, kv_width, vocabulary
        Of the language model: layers, width, width of the keys of one layer (heads times their size), tokens.
    vision_layers, vision_hidden, merge, vision_trained
        Of the image encoder: layers, width, patches merged to one token in each direction, and whether it is trained.
    """

    parameters: int
    trained: int
    adapters: int
    quantised: int
    layers: int
    hidden: int
    kv_width: int
    vocabulary: int
    vision_layers: int
    vision_hidden: int
    merge: int
    vision_trained: bool


def local_config(path: str) -> Path | None:
    """The ``config.json`` of a model folder, or of a hub model in this machine's cache; None without one. Asks no server."""
    if Path(path).is_dir():
        file = Path(path, "config.json")
        return file if file.is_file() else None
    if path == "tiny" or path.startswith((".", "/", "~")):
        return None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(path, "config.json")
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def named_parameters(path: str) -> int | None:
    """The number of parameters that a model's name states, such as 3 000 000 000 for ``Qwen2.5-VL-3B``; None if it states none.

    >>> named_parameters("Qwen/Qwen2.5-VL-3B-Instruct"), named_parameters("org/Small-500M"), named_parameters("org/model-v2")
    (3000000000, 500000000, None)
    """
    found = _NAMED.search(Path(path).name)
    return None if found is None else round(float(found[1]) * (10**9 if found[2] in "Bb" else 10**6))


def read_size(config: Path, settings: ModelSettings) -> ModelSize:
    """The size of the model that a configuration describes, as the settings train it.

    Parameters
    ----------
    config
        The model's ``config.json``.
    settings
        Adapters, frozen parts, quantisation.

    Raises
    ------
    InputError
        If the configuration describes no vision-language model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    try:
        read = AutoConfig.from_pretrained(config.parent, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(read, trust_remote_code=False)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RuntimeError) as error:
        problem = f"describes no usable model ({' '.join(str(error).split())[:200]})"
        raise InputError(config, problem, "give the folder of a vision-language model") from error
    parts = (*(["vision"] if settings.freeze_vision else []), *settings.freeze)
    if parts:
        freeze(model, parts)
    parameters = dict(model.named_parameters())
    layers = _language_layers(model)
    adapters = trained = 0
    if settings.lora is not None:
        found = _adapted(model, settings)
        adapters = settings.lora.rank * sum(inputs + outputs for inputs, outputs, _ in found)
        trained = settings.lora.rank * sum(inputs + outputs for inputs, outputs, learns in found if learns)
    else:
        trained = sum(p.numel() for p in parameters.values() if p.requires_grad)
    text, vision = read.get_text_config(), getattr(read, "vision_config", None)
    heads = text.num_attention_heads
    head = getattr(text, "head_dim", None) or text.hidden_size // heads
    return ModelSize(
        parameters=sum(p.numel() for p in parameters.values()),
        trained=trained,
        adapters=adapters,
        quantised=0 if settings.quantize is None else sum(a * b for a, b in layers.values()),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        kv_width=head * (getattr(text, "num_key_value_heads", None) or heads),
        vocabulary=text.vocab_size,
        vision_layers=_first(vision, "depth", "num_hidden_layers"),
        vision_hidden=_first(vision, "hidden_size", "embed_dim"),
        merge=_first(vision, "spatial_merge_size") or 1,
        vision_trained=settings.lora is None
        and any(p.requires_grad for n, p in parameters.items() if any(piece in PARTS["vision"] for piece in n.split("."))),
    )


def _language_layers(model: Any) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of the linear layers outside of image encoder, projector and output layer."""
    import torch

    outside = {*PARTS["vision"], *PARTS["projector"], "lm_head"}
    return {
        name: (module.in_features, module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and not outside & set(name.split("."))
    }


def _adapted(model: Any, settings: ModelSettings) -> list[tuple[int, int, bool]]:
    """Inputs and outputs of the linear layers that peft gives an adapter, and whether it is trained."""
    import torch

    assert settings.lora is not None  # noqa: S101 - asked only with adapters
    wanted = settings.lora.target_modules
    frozen = (*settings.freeze, *(["vision"] if settings.freeze_vision else []))
    found = []
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear) or set(PARTS["vision"]) & set(name.split(".")):
            continue
        if name.split(".")[-1] != "lm_head" if wanted == "all-linear" else re.fullmatch(wanted, name) is not None:
            learns = not any(belongs(f"{name}.lora_A.default.weight", part) for part in frozen)
            found.append((module.in_features, module.out_features, learns))
    return found


def _first(holder: Any, *names: str) -> int:
    return next((int(value) for name in names if (value := getattr(holder, name, None)) is not None), 0)
