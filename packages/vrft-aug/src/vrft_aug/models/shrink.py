"""A tiny model with random weights of the same architecture as a large one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vrft_aug.models.environment import limit_threads
from vrft_aug.models.processor import load_processor, save_processor

_HIDDEN, _HEADS, _LAYERS = 64, 4, 2
_HEAD = _HIDDEN // _HEADS
_TEXT = {
    "hidden_size": _HIDDEN,
    "intermediate_size": 2 * _HIDDEN,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": _HEADS,
    "num_key_value_heads": _HEADS // 2,
    "head_dim": _HEAD,
    "max_window_layers": _LAYERS,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": _HIDDEN // 2,
}
_VISION = {
    "hidden_size": _HIDDEN,
    "embed_dim": _HIDDEN,
    "intermediate_size": 2 * _HIDDEN,
    "out_hidden_size": _HIDDEN,
    "projection_dim": _HIDDEN,
    "depth": _LAYERS,
    "num_hidden_layers": _LAYERS,
    "num_heads": _HEADS,
    "num_attention_heads": _HEADS,
    "fullatt_block_indexes": [0, 1],
    "deepstack_visual_indexes": [0],
}


def shrink_model(source: Path, folder: Path, *, seed: int = 0) -> int:
    """Write a model to `folder` with the classes, tokenizer and image processor of that in `source`, and next to no weights.

    Parameters
    ----------
    source
        Folder with the configuration and the processor of a model; weights are not needed.
    folder
        Folder to fill.
    seed
        Seed of the weights.

    Returns
    -------
    int
        Number of parameters; most of them belong to the vocabulary, which is kept.

    Raises
    ------
    Exception
        Whatever the library raises where the architecture cannot be built so small.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    config = AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    _set(config.get_text_config(), _TEXT)
    if getattr(config, "vision_config", None) is not None:
        _set(config.vision_config, _VISION)
    config.dtype = torch.float32
    processor = load_processor(source, model_type=config.model_type, local=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config, trust_remote_code=False)
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id or processor.tokenizer.eos_token_id
    limit_threads(model.num_parameters())
    model.save_pretrained(folder)
    save_processor(processor, folder)
    return int(model.num_parameters())


def _set(config: Any, values: dict[str, Any]) -> None:
    """Change the fields that the configuration has."""
    for name, value in values.items():
        if getattr(config, name, None) is not None:
            setattr(config, name, value)
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[-_LAYERS:]
    rope = getattr(config, "rope_parameters", None)
    if isinstance(rope, dict) and "mrope_section" in rope:
        config.rope_parameters = {**rope, "mrope_section": [2, 3, 3]}  # half a head
