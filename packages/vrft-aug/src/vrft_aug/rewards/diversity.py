"""How varied and how copied texts are: diagnostics beside the rewards, never rewards themselves.

A policy that is paid for repeating the knowledge, or punished for it, changes how it writes: these numbers show it. They compare the
completions of a batch or group, so they must not be used inside a reward, which sees the completions of its own process only.

====================== ================================================================================================
:func:`copy_rate`      share of a text's runs of 4 words that the knowledge holds; the metric of the same name of medcore for
                       one pair of texts (after extractive coverage, Grusky et al. 2018, arXiv 1804.11283)
:func:`distinct_n`     different n-grams / all n-grams of all texts (Li et al. 2016, arXiv 1510.03055)
:func:`self_bleu`      mean BLEU of each text against all others as references (Zhu et al. 2018, arXiv 1802.01886)
:func:`answer_entropy` entropy of the distribution of answers in bits, - sum p log2 p (Shannon 1948)
====================== ================================================================================================
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from medcore.errors import InputError
from vrft_aug.parsing import answer_text, completion_text, think_text


def copy_rate(text: str, knowledge: str, *, n: int = 4) -> float | None:
    """Share of the runs of `n` words of `text` that occur in `knowledge`.

    None where the text has fewer than `n` words or the knowledge has none. It is what :func:`medcore.metrics.copy_rate` gives for one pair,
    without the cost of a metric, because it is logged for every completion.

    >>> copy_rate("I see white patches in both lungs", "white patches in both lungs")
    0.5

    Raises
    ------
    InputError
        If `n` is less than 1.
    """
    known, said = _known_runs(knowledge, n), _runs(text, n)
    return None if known is None or not said else sum(run in known for run in said) / len(said)


def _runs(text: str, n: int) -> list[tuple[str, ...]]:
    from medcore.metrics.text import words

    if n < 1:
        raise InputError("n", f"is {n}", "give at least 1")
    tokens = words(text)
    return list(zip(*(tokens[i:] for i in range(n)), strict=False))


@functools.lru_cache(maxsize=64)
def _known_runs(knowledge: str, n: int) -> frozenset[tuple[str, ...]] | None:
    """The runs of a text that is compared with many others, None if it has no word."""
    return frozenset(_runs(knowledge, n)) if _runs(knowledge, 1) else None


def distinct_n(texts: Iterable[str], n: int = 2) -> float | None:
    """Different runs of `n` words / all runs of `n` words of all texts, in (0, 1]; None if no text has `n` words.

    1 means that nothing is said twice.

    >>> distinct_n(["white patches", "white patches", "hazy areas"])
    0.6666666666666666

    Raises
    ------
    InputError
        If `n` is less than 1.
    """
    runs = [run for text in texts for run in _runs(text, n)]
    return len(set(runs)) / len(runs) if runs else None


def self_bleu(texts: Sequence[str], *, order: int = 4) -> float | None:
    """Mean BLEU of each text with a word against the others as references, in [0, 1]; None for fewer than two such texts.

    1 means that all say the same. BLEU is that of sacrebleu for single texts: lower case, effective order, exponential smoothing.
    """
    from sacrebleu.metrics import BLEU

    said = [text for text in texts if any(map(str.isalnum, text))]
    if len(said) < 2:
        return None
    metric = BLEU(max_ngram_order=order, effective_order=True, lowercase=True)
    scores = [float(metric.sentence_score(text, said[:i] + said[i + 1 :]).score) for i, text in enumerate(said)]
    return min(1.0, sum(scores) / len(scores) / 100)


def answer_entropy(answers: Iterable[str | None]) -> float | None:
    """Entropy of the answers in bits, from 0 (all the same) to log2 of their number (all different); None without answers.

    Case and white space do not make another answer. None stands for an answer that could not be read, which is one answer, too.

    >>> answer_entropy(["normal", "Normal ", "pneumonia", "pneumonia"])
    1.0
    """
    counts = Counter(None if answer is None else " ".join(answer.casefold().split()) for answer in answers)
    total = counts.total()
    if not total:
        return None
    return abs(-sum(count / total * math.log2(count / total) for count in counts.values()))  # abs: no -0.0


@dataclass(frozen=True, kw_only=True)
class GroupDiversity:
    """The diversity of the completions of one prompt."""

    distinct_1: float | None
    """Different words / words of the thoughts."""
    distinct_2: float | None
    """Different pairs of words / pairs of words of the thoughts."""
    self_bleu: float | None
    """How much the thoughts resemble each other."""
    answer_entropy: float
    """Entropy of the answers in bits."""


def group_diversity(completions: Sequence[Any], num_generations: int) -> list[GroupDiversity]:
    """The diversity of each group of `num_generations` completions in a row, as trl orders them.

    Parameters
    ----------
    completions
        Texts or trl's messages, the completions of one prompt in a row.
    num_generations
        Completions of a prompt.

    Raises
    ------
    InputError
        If the completions are no whole number of groups.
    """
    if num_generations < 1 or len(completions) % num_generations:
        raise InputError(
            "completions", f"{len(completions)} are no whole number of groups of {num_generations}", "give whole groups"
        )
    texts = [completion_text(completion) for completion in completions]
    return [_diversity(texts[start : start + num_generations]) for start in range(0, len(texts), num_generations)]


def _diversity(texts: Sequence[str]) -> GroupDiversity:
    thoughts = [think_text(text) or "" for text in texts]
    return GroupDiversity(
        distinct_1=distinct_n(thoughts, 1),
        distinct_2=distinct_n(thoughts, 2),
        self_bleu=self_bleu(thoughts),
        answer_entropy=answer_entropy(map(answer_text, texts)) or 0.0,
    )
