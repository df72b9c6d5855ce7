"""How many tokens prompts and completions have, counted by the model's processor where it is on this disk, estimated otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medcore.errors import InputError
from vrft_aug.coordinates import Resize
from vrft_aug.recipe import ModelSettings

SAMPLE = 8
"""Rows that are counted; the longest of them is shown."""
LETTERS = 4
"""Characters a token, where no tokenizer can be asked: a rough figure for English text."""
TINY = Resize(min_pixels=28 * 28, max_pixels=56 * 56)
"""The resize of the tiny model's processor."""


@dataclass(frozen=True, kw_only=True)
class PromptTokens:
    """Tokens of the longest prompt looked at.

    Attributes
    ----------
    prompt
        All of them, the image's among them; None if those of the image are not known.
    image
        Those of the image; None if not known.
    source
        Who counted or how they were estimated.
    """

    prompt: int | None
    image: int | None
    source: str


def count_prompt(rows: Any, model: ModelSettings) -> PromptTokens:
    """Tokens of the longest of up to :data:`SAMPLE` prompts, spread over the rows.

    Parameters
    ----------
    rows
        Rows of :mod:`vrft_aug.data`.
    model
        Whose processor is asked, if it lies in a folder or in the cache of hub models; no server is asked.
    """
    step = max(1, len(rows) // SAMPLE)
    chosen = rows.select_columns(["prompt", "image", "image_size"]).select(range(0, len(rows), step)[:SAMPLE])
    sample = [chosen[i] for i in range(len(chosen))]
    found = _counted(sample, model)
    return _estimated(sample, model) if found is None else found


def _counted(sample: list[dict[str, Any]], model: ModelSettings) -> PromptTokens | None:
    from vrft_aug.models.sizes import local_config

    if local_config(model.path) is None:
        return None
    from vrft_aug.models import load_processor

    try:
        processor = load_processor(model.path, min_pixels=model.min_pixels, max_pixels=model.max_pixels, local=True)
    except InputError:
        return None
    lengths = []
    for row in sample:
        talk = [{"role": m["role"], "content": [{"type": "text", "text": m["content"]}]} for m in row["prompt"]]
        bare = _length(processor, talk)
        first = next(m for m in talk if m["role"] == "user")
        first["content"].insert(0, {"type": "image", "image": row["image"]})
        whole = _length(processor, talk)
        lengths.append((whole, whole - bare))
    prompt, image = max(lengths)
    return PromptTokens(prompt=prompt, image=image, source=f"counted by the processor of {model.path}")


def _length(processor: Any, talk: list[dict[str, Any]]) -> int:
    made = processor.apply_chat_template(
        [talk], tokenize=True, add_generation_prompt=True, return_dict=True, processor_kwargs={"return_tensors": "pt"}
    )
    return int(made["input_ids"].shape[1])


def _estimated(sample: list[dict[str, Any]], model: ModelSettings) -> PromptTokens:
    text = max(-(-sum(len(m["content"]) for m in row["prompt"]) // LETTERS) for row in sample)
    how = f"estimated: {LETTERS} characters a token"
    resize = _resize(model)
    if resize is None:
        return PromptTokens(prompt=None, image=None, source=f"{how}; tokens of an image are not known")
    frames = [resize(row["image_size"]) for row in sample]
    image = max(round(w) * round(h) // (resize.patch_size * resize.merge_size) ** 2 for w, h in frames)
    side = resize.patch_size * resize.merge_size
    return PromptTokens(prompt=text + image, image=image, source=f"{how}, and one for {side} x {side} pixels")


def _resize(model: ModelSettings) -> Resize | None:
    """How images are resized, for families of which this is known without the processor."""
    if model.path == "tiny":
        start = TINY
    elif "qwen2" in model.path.lower():
        start = Resize()
    else:
        return None
    low = model.min_pixels or start.min_pixels
    high = model.max_pixels or start.max_pixels
    return Resize(patch_size=start.patch_size, merge_size=start.merge_size, min_pixels=min(low, high), max_pixels=max(low, high))
