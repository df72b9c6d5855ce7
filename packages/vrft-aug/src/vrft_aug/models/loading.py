"""Policies: loaded from a folder or the hub (safetensors only, no code from the model), with or without LoRA, and saved again."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from medcore.errors import ConfigError, InputError
from vrft_aug.models.environment import known_deprecations, limit_threads
from vrft_aug.models.freezing import PARTS, freeze
from vrft_aug.models.processor import load_processor, save_processor
from vrft_aug.recipe import LoraSettings, ModelSettings

ADAPTER = "adapter_config.json"
_WHOLE = ("lm_head", *PARTS["vision"], *PARTS["projector"])  # parts that are not quantised


def load_policy(settings: ModelSettings, path: str | Path | None = None) -> tuple[Any, Any]:
    """A model to train or evaluate, and its processor.

    Parameters
    ----------
    settings
        How to load: dtype, quantisation, LoRA, frozen parts, image size.
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
    parts = (*(["vision"] if settings.freeze_vision else []), *settings.freeze)
    if parts:
        freeze(model, parts)
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
    quantised = _quantised(settings)
    try:
        return AutoModelForImageTextToText.from_pretrained(
            path,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=Path(path).is_dir(),
            **quantised,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        problem = f"cannot be loaded ({' '.join(str(error).split())[:200]})"
        raise InputError(path, problem, "give a vision-language model with safetensors weights") from error


def _quantised(settings: ModelSettings) -> dict[str, Any]:
    """What transformers needs to load weights in four bits: language layers only, as adapters are trained there.

    Raises
    ------
    ConfigError
        If bitsandbytes or the GPU it needs is missing.
    """
    if settings.quantize is None:
        return {}
    import torch
    from transformers import BitsAndBytesConfig

    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"model.quantize {settings.quantize}", "needs bitsandbytes, which is not installed", "install vrft-aug[qlora]"
        )
    if not torch.cuda.is_available():
        raise ConfigError(f"model.quantize {settings.quantize}", "needs a GPU, and there is none", "leave it out")
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=settings.quantize,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16,
        llm_int8_skip_modules=list(_WHOLE),
    )
    return {"quantization_config": config, "device_map": {"": torch.cuda.current_device()}}


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
        exclude_modules=rf".*({'|'.join(PARTS['vision'])})\..*",
        task_type="CAUSAL_LM",
    )
    with known_deprecations():
        return get_peft_model(model, config)


def _with_adapter(model: Any, folder: Path) -> Any:
    from peft import PeftModel

    with known_deprecations():
        return PeftModel.from_pretrained(model, folder, is_trainable=True)


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
