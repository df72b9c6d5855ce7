"""A Qwen2.5-VL of 0.4 million random weights with a tokenizer of its own: real code paths, nothing downloaded, seconds on one core."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vrft_aug.models.environment import limit_threads
from vrft_aug.models.processor import build_processor, save_processor

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
PATCH, MERGE = 14, 2
IMAGE_SIDE = 56  # pixels; a square image becomes 16 patches, merged to 4 tokens
_HIDDEN, _HEADS = 64, 4

CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message['role'] }}
{% if message['content'] is string -%}
{{ message['content'] }}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>
{%- elif 'text' in part -%}{{ part['text'] }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""


def build_tiny_model(
    folder: str | Path, texts: Iterable[str], *, seed: int = 0, image_side: int = IMAGE_SIDE, vocabulary: int = 1024
) -> Path:
    """Write a tiny Qwen2.5-VL with random weights and its processor to `folder`, so that it can be loaded by path.

    Parameters
    ----------
    folder
        Folder to fill.
    texts
        Prompts and answers; the byte-level BPE tokenizer is trained on them, so that class names become single tokens. Any
        other text can still be written, byte by byte.
    seed
        Seed of the weights.
    image_side
        Images are scaled to about this many pixels squared.
    vocabulary
        Largest number of tokens.

    Returns
    -------
    Path
        `folder`.
    """
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

    folder = Path(folder)
    tokenizer = _tokenizer(texts, vocabulary)
    images = Qwen2VLImageProcessorPil(
        patch_size=PATCH,
        merge_size=MERGE,
        temporal_patch_size=2,
        size={"shortest_edge": (PATCH * MERGE) ** 2, "longest_edge": image_side**2},
    )
    processor = build_processor("qwen2_5_vl", images, tokenizer, CHAT_TEMPLATE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(_config(tokenizer))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    limit_threads(model.num_parameters())
    model.save_pretrained(folder)
    save_processor(processor, folder)
    return folder


def _tokenizer(texts: Iterable[str], vocabulary: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",  # noqa: S106
        pad_token="<|endoftext|>",  # noqa: S106
        additional_special_tokens=[t for t in SPECIAL_TOKENS if t not in {"<|im_end|>", "<|endoftext|>"}],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def _config(tokenizer: Any) -> Any:
    from transformers import Qwen2_5_VLConfig

    ids = {
        name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("image_pad", "video_pad", "vision_start", "vision_end")
    }
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": _HIDDEN,
        "intermediate_size": 3 * _HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _HEADS // 2,
        "max_position_embeddings": 2048,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
        "initializer_range": 0.12,  # 0.02 learns several times slower at this width
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "depth": 2,
        "hidden_size": _HIDDEN,
        "num_heads": _HEADS,
        "intermediate_size": 2 * _HIDDEN,
        "out_hidden_size": _HIDDEN,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 2,
        "fullatt_block_indexes": [0, 1],
        "initializer_range": 0.12,
    }
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
        tie_word_embeddings=False,
        initializer_range=0.12,
    )
