"""Policies: loaded from a folder or the hub (safetensors only, no code from the model), with or without LoRA, and saved again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medcore.errors import ConfigError, InputError
from vrft_aug.models.environment import known_deprecations, limit_threads
from vrft_aug.models.processor import load_processor, save_processor
from vrft_aug.recipe import LoraSettings, ModelSettings

ADAPTER = "adapter_config.json"
_VISION = ("visual", "vision_tower", "vision_model")  # how families name their image encoder


def load_policy(settings: ModelSettings, path: str | Path | None = None) -> tuple[Any, Any]:
    """A model to train or evaluate, and its processor.

    Parameters
    ----------
    settings
        How to load: dtype, LoRA, frozen vision, image size.
    path
        Folder or hub name; by default the settings' own. A folder with a LoRA adapter continues that adapter on its base model.

    Returns
    -------
    model, processor
        A transformers (or peft) model and its processor.

    Raises
    ------
    InputError
        If there is no model that can be loaded without running foreign code.
    """
    path = settings.path if path is None else path
    local = Path(path).is_dir()
    if not local and (isinstance(path, Path) or str(path).startswith((".", "/", "~"))):
        raise ConfigError(path, "is not a folder", "give a model folder or a hub name such as Qwen/Qwen2.5-VL-3B-Instruct")
    adapter = Path(path, ADAPTER) if local else None
    if adapter is not None and adapter.is_file():
        base = _base_of(adapter)
        model = _with_adapter(_load(base, settings), Path(path))
    else:
        model = _load(path, settings)
        if settings.lora is not None:
            model = _new_adapter(model, settings.lora)
    if settings.freeze_vision:
        freeze_vision(model)
    # A folder with an adapter has no configuration of the model, so its type comes from the model.
    processor = load_processor(
        path, model_type=model.config.model_type, min_pixels=settings.min_pixels, max_pixels=settings.max_pixels, local=local
    )
    limit_threads(model.num_parameters())
    return model, processor


def _load(path: str | Path, settings: ModelSettings) -> Any:
    import torch
    from transformers import AutoModelForImageTextToText

    # Without a GPU bfloat16 is several times slower than float32, so "auto" means float32 there.
    dtype: Any = settings.dtype
    if dtype == "auto" and not torch.cuda.is_available():
        dtype = "float32"
    try:
        return AutoModelForImageTextToText.from_pretrained(
            path,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=Path(path).is_dir(),
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        problem = f"cannot be loaded ({' '.join(str(error).split())[:200]})"
        raise InputError(path, problem, "give a vision-language model with safetensors weights") from error


def _base_of(adapter: Path) -> str:
    try:
        base = str(json.loads(adapter.read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (ValueError, KeyError) as error:
        raise InputError(adapter, "does not name its base model", "use another copy of this adapter") from error
    inside = adapter.parent / base
    return str(inside.resolve()) if base.startswith(".") and inside.is_dir() else base


def _new_adapter(model: Any, settings: LoraSettings) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=settings.target_modules,
        exclude_modules=rf".*({'|'.join(_VISION)})\..*",
        task_type="CAUSAL_LM",
    )
    with known_deprecations():
        return get_peft_model(model, config)


def _with_adapter(model: Any, folder: Path) -> Any:
    from peft import PeftModel

    with known_deprecations():
        return PeftModel.from_pretrained(model, folder, is_trainable=True)


def freeze_vision(model: Any) -> int:
    """Stop training of the image encoder; returns the number of parameters frozen.

    Raises
    ------
    ConfigError
        If the model has no image encoder under a known name.
    """
    frozen = 0
    for name, parameter in model.named_parameters():
        if any(part in _VISION for part in name.split(".")):
            parameter.requires_grad_(requires_grad=False)
            frozen += parameter.numel()
    if not frozen:
        raise ConfigError("model.freeze_vision", f"finds no image encoder in {type(model).__name__}", "leave it out")
    return frozen


def save_policy(model: Any, processor: Any, folder: str | Path) -> None:
    """Save weights (or the LoRA adapter) as safetensors, generation settings and the processor to `folder`."""
    folder = Path(folder)
    if _is_peft(model):
        # The copy trl keeps as KL reference is no part of the policy.
        model.save_pretrained(folder, safe_serialization=True, selected_adapters=["default"])
    else:
        model.save_pretrained(folder, safe_serialization=True)
    save_processor(processor, folder)


def _is_peft(model: Any) -> bool:
    from peft import PeftModel

    return isinstance(model, PeftModel)
