"""What a policy answers: its most likely completion, or several sampled ones, in batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vrft_aug.recipe import EvaluationSettings


def generate(model: Any, processor: Any, rows: Any, settings: EvaluationSettings) -> list[str]:
    """The policy's most likely completion for each row; the policy's training mode is put back afterwards."""
    options = {"do_sample": False, "max_new_tokens": settings.max_new_tokens}
    return [made.text for made in _generate(model, processor, rows, settings.batch_size, options)]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One sampled completion.

    Attributes
    ----------
    text
        Without special tokens.
    tokens
        Its tokens, up to the end.
    truncated
        Whether it came to the longest length without an end.
    """

    text: str
    tokens: tuple[int, ...]
    truncated: bool


def sample(
    model: Any,
    processor: Any,
    rows: Any,
    *,
    n: int,
    max_new_tokens: int,
    batch_size: int = 64,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> list[list[Sample]]:
    """Several completions of each row, sampled.

    Parameters
    ----------
    model, processor
        The policy; its training mode is put back afterwards.
    rows
        Rows with ``prompt`` and ``image``.
    n
        Completions of each row.
    max_new_tokens
        Longest completion.
    batch_size
        Completions made at a time, rounded to whole rows.
    seed
        The same seed gives the same completions on the same machine; the caller's random state stays as it is.
    options
        ``temperature``, ``top_p``, ``top_k``, ``min_p``, ``repetition_penalty`` and other parameters of transformers' generation.

    Returns
    -------
    list
        For each row its `n` completions.
    """
    import torch

    wanted = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, **(options or {})}
    wanted |= {"do_sample": True, "num_return_sequences": n, "max_new_tokens": max_new_tokens}
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        found = _generate(model, processor, rows, max(1, batch_size // n), wanted)
    return [found[i : i + n] for i in range(0, len(found), n)]


def _generate(model: Any, processor: Any, rows: Any, batch_size: int, options: Mapping[str, Any]) -> list[Sample]:
    import torch

    training, found = model.training, []
    model.eval()
    tokenizer = processor.tokenizer
    image_token = getattr(model.config, "image_token_id", None)
    fixed = {
        "pad_token_id": tokenizer.pad_token_id,
        # A written image token would have no image behind it.
        **({} if image_token is None else {"suppress_tokens": [image_token]}),
    }
    ends = end_tokens(model, tokenizer)
    try:
        with torch.inference_mode():
            for start in range(0, len(rows), batch_size):
                inputs = questions(processor, rows, start, start + batch_size).to(model.device)
                tokens = model.generate(**inputs, **fixed, **options)[:, inputs["input_ids"].shape[1] :]
                texts = tokenizer.batch_decode(tokens, skip_special_tokens=True)
                found += [_sample(text, row, ends) for text, row in zip(texts, tokens.tolist(), strict=True)]
    finally:
        model.train(training)
    return found


def questions(processor: Any, rows: Any, start: int, stop: int) -> Any:
    """The tensors of some rows' prompts with their images, padded on the left, up to where the answer begins."""
    from trl.data_utils import prepare_multimodal_messages

    batch = rows[start:stop]
    talks = [prepare_multimodal_messages(p, images=[i]) for p, i in zip(batch["prompt"], batch["image"], strict=True)]
    return processor.apply_chat_template(
        talks,
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        processor_kwargs={"return_tensors": "pt", "padding": True},
    )


def end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end a completion."""
    ends = getattr(model.generation_config, "eos_token_id", None)
    ends = tokenizer.eos_token_id if ends is None else ends
    return frozenset(ends if isinstance(ends, (list, tuple)) else [ends])


def _sample(text: str, tokens: list[int], ends: frozenset[int]) -> Sample:
    last = next((i for i, token in enumerate(tokens) if token in ends), None)
    kept = tokens if last is None else tokens[: last + 1]
    return Sample(text=text, tokens=tuple(kept), truncated=last is None)
