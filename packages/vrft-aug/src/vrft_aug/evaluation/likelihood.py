"""How probable each class is to a policy as its answer, by teacher forcing."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from vrft_aug import prompts
from vrft_aug.evaluation.generation import end_tokens, questions


def class_answers(row: dict[str, Any]) -> list[str]:
    """For each class or grade the completion that would be right if it were the truth, see :func:`vrft_aug.prompts.target`."""
    if row["task"] == "classification":
        return [prompts.target({**row, "label": name}) for name in row["classes"]]
    return [prompts.target({**row, "grade": grade}) for grade in range(row["num_grades"])]


def log_likelihoods(
    model: Any, processor: Any, rows: Any, answers: Sequence[str], *, batch_size: int = 64
) -> Float[np.ndarray, "row answer"]:
    r"""Log-probability of each of the given completions after each row's prompt.

    .. math::
        \log p(a \mid x) = \sum_t \log p(a_t \mid x, a_{<t})

    over the tokens of the completion and the token that ends it, in nats.

    Parameters
    ----------
    model, processor
        The policy; its training mode is put back afterwards.
    rows
        Rows with ``prompt`` and ``image``; every completion is scored for all of them.
    answers
        Completions.
    batch_size
        Rows scored at a time.
    """
    import torch

    training, found = model.training, []
    ends, usual = end_tokens(model, processor.tokenizer), processor.tokenizer.eos_token_id
    end = usual if usual in ends else min(ends)
    tokens = [[*processor.tokenizer(text, add_special_tokens=False)["input_ids"], end] for text in answers]
    model.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(rows), batch_size):
                inputs = questions(processor, rows, start, start + batch_size).to(model.device)
                found.append(np.stack([_score(model, inputs, ids) for ids in tokens], axis=1))
    finally:
        model.train(training)
    return np.concatenate(found) if found else np.zeros((0, len(answers)))


def probabilities(found: Float[np.ndarray, "row answer"]) -> Float[np.ndarray, "row answer"]:
    """The probability of each completion if one of them is given: softmax of their log-probabilities."""
    away = np.exp(found - found.max(axis=1, keepdims=True))
    return np.asarray(away / away.sum(axis=1, keepdims=True))


def _score(model: Any, inputs: Any, ids: Sequence[int]) -> Float[np.ndarray, " row"]:
    """Log-probability of the tokens `ids` after each prompt; they are the same for all rows, so that nothing is padded behind them."""
    import torch

    n, length = inputs["input_ids"].shape[0], len(ids)
    given = torch.tensor(ids, device=inputs["input_ids"].device).expand(n, length)
    extended = {}
    for key, value in inputs.items():
        added = value
        if key == "input_ids":
            added = torch.cat([value, given], dim=1)
        elif value.shape == inputs["input_ids"].shape:  # the attention mask; kinds of token, where 0 is text
            added = torch.cat([value, torch.full_like(given, int(key == "attention_mask"))], dim=1)
        extended[key] = added
    logits = model(**extended, **_only_last(model, length + 1)).logits[:, -length - 1 : -1]
    steps = torch.log_softmax(logits.float(), dim=-1).gather(2, given.unsqueeze(2)).squeeze(2)
    total: Float[np.ndarray, " row"] = steps.sum(dim=1).double().cpu().numpy()
    return total


def _only_last(model: Any, tokens: int) -> dict[str, Any]:
    """Ask for the logits of the last tokens only, where the model can do so: those of a whole prompt fill memory."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    known = inspect.signature(base.forward).parameters
    return {"logits_to_keep": tokens, "use_cache": False} if "logits_to_keep" in known else {"use_cache": False}
