"""Overlap of texts, all in [0, 1] but the longest run.

``reference`` comes first, ``estimate`` second; each is one text or one text for each sample. A pair whose reference holds no word has no
value: it is left out and counted. An empty estimate scores 0. Words are runs of letters, digits and underscores in lower case.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from medcore.errors import InputError, MissingExtraError
from medcore.metrics.base import MetricResult, Weighted, Weights, metric, undefined
from medcore.metrics.resampling import weighted_mean

Texts = str | Shaped[np.ndarray, " samples"] | Sequence[Any]
_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """The words of `text` in lower case."""
    return _WORD.findall(text.lower())


def _weighted(score: Callable[[str, str], float]) -> Callable[[Texts, Texts], Weighted]:
    """The weighted form of a mean over pairs."""

    def weighted(reference: Texts, estimate: Texts) -> Weighted:
        pairs, there = text_pairs(reference, estimate)
        mean = weighted_mean(np.array([score(r, e) for r, e in pairs], dtype=np.float64))
        return lambda weights: mean(weights[there])

    return weighted


def _rouge_l(ref: str, est: str) -> float:
    a, b = words(ref), words(est)
    return 2 * float(_rapidfuzz("LCSseq").similarity(a, b)) / (len(a) + len(b))


def _token_f1(ref: str, est: str) -> float:
    a, b = Counter(words(ref)), Counter(words(est))
    return 2 * (a & b).total() / (a.total() + b.total())


def _edit_ratio(ref: str, est: str) -> float:
    return float(_rapidfuzz("Levenshtein").normalized_similarity(ref, est))


def _longest_run(ref: str, est: str) -> float:
    a, b = words(ref), words(est)
    codes = {w: i for i, w in enumerate(dict.fromkeys([*a, *b]))}
    row = np.array([codes[w] for w in b], dtype=np.int64)
    runs, longest = np.zeros(len(b) + 1, dtype=np.int64), 0
    for word in a:
        runs[1:] = np.where(row == codes[word], runs[:-1] + 1, 0)
        longest = max(longest, int(runs.max()))
    return float(longest)


def _copied(pairs: list[tuple[str, str]], n: int) -> Float[np.ndarray, "pairs 2"]:
    """For each pair the runs of the estimate that the reference holds, and all its runs."""
    found = np.zeros((len(pairs), 2))
    for row, (ref, est) in zip(found, pairs, strict=True):
        known, runs = set(_runs(words(ref), n)), _runs(words(est), n)
        row[:] = sum(run in known for run in runs), len(runs)
    return found


def _weighted_copy_rate(reference: Texts, estimate: Texts, *, n: int = 4) -> Weighted:
    pairs, there = text_pairs(reference, estimate)
    counts = _copied(pairs, n)

    def rate(weights: Weights) -> float | None:
        copied, total = weights[there] @ counts
        return float(copied / total) if total else None

    return rate


@metric(
    "rouge_l",
    kind="text",
    variant="f1-words",
    direction="higher",
    definition="mean over pairs of 2 LCS / (words of the reference + words of the estimate), LCS = longest common subsequence of words",
    source="Lin 2004, https://aclanthology.org/W04-1013",
    referee="longest common subsequence by dynamic programming",
    weighted=_weighted(_rouge_l),
)
def rouge_l(reference: Texts, estimate: Texts) -> MetricResult:
    """ROUGE-L (F1, no stemming); needs the extra ``text``."""
    return _mean(reference, estimate, _rouge_l)


@metric(
    "token_f1",
    kind="text",
    variant="bag",
    direction="higher",
    definition="mean over pairs of 2 common / (words of the reference + words of the estimate), common counted with multiplicity",
    source="Rajpurkar et al. 2016, arXiv 1606.05250, without its removal of articles",
    referee="counting by hand",
    weighted=_weighted(_token_f1),
)
def token_f1(reference: Texts, estimate: Texts) -> MetricResult:
    """F1 of the bags of words."""
    return _mean(reference, estimate, _token_f1)


@metric(
    "edit_ratio",
    kind="text",
    variant="levenshtein-characters",
    direction="higher",
    definition="mean over pairs of 1 - Levenshtein distance / length of the longer text",
    source="Levenshtein 1966; computed by rapidfuzz",
    referee="edit distance by dynamic programming; torchmetrics",
    weighted=_weighted(_edit_ratio),
)
def edit_ratio(reference: Texts, estimate: Texts) -> MetricResult:
    """Similarity by edits of characters; needs the extra ``text``."""
    return _mean(reference, estimate, _edit_ratio)


@metric(
    "longest_common_run",
    kind="text",
    variant="words",
    direction="none",
    unit="word",
    definition="mean over pairs of the length of the longest run of words that both texts contain",
    source="longest common substring of words",
    referee="difflib",
    weighted=_weighted(_longest_run),
)
def longest_common_run(reference: Texts, estimate: Texts) -> MetricResult:
    """How many words in a row were taken over."""
    return _mean(reference, estimate, _longest_run)


@metric(
    "copy_rate",
    kind="text",
    variant="4-grams",
    direction="none",
    definition="share of the estimate's runs of 4 words that occur in the reference, over all pairs",
    source="own definition, after extractive coverage (Grusky et al. 2018, arXiv 1804.11283)",
    referee="counting by hand",
    weighted=_weighted_copy_rate,
)
def copy_rate(reference: Texts, estimate: Texts, *, n: int = 4) -> MetricResult:
    """How much of the estimate is copied word by word; `n` other than 4 is stated in the note."""
    if n < 1:
        raise InputError("n", f"is {n}", "give at least 1")
    pairs, there = text_pairs(reference, estimate)
    dropped = len(there) - len(pairs)
    copied, total = _copied(pairs, n).sum(axis=0)
    if not total:
        return undefined(f"no estimate has {n} words", n=len(pairs), dropped=dropped)
    return MetricResult(value=float(copied / total), n=len(pairs), dropped=dropped, note=f"{n} words")


def _runs(tokens: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def text_pairs(reference: Texts, estimate: Texts) -> tuple[list[tuple[str, str]], Bool[np.ndarray, " samples"]]:
    """The pairs whose reference holds a word, and which of all they are.

    Raises
    ------
    InputError
        If lengths differ, or something is no text.
    """
    ref, est = ([texts] if isinstance(texts, str) else list(texts) for texts in (reference, estimate))
    if len(ref) != len(est):
        raise InputError("texts", f"{len(ref)} references and {len(est)} estimates", "give one estimate for each reference")
    if not all(isinstance(text, str) for text in [*ref, *est]):
        raise InputError("texts", "hold something that is not text", "give strings, an empty one where there is no answer")
    there = np.array([bool(_WORD.search(r)) for r in ref], dtype=np.bool_)
    return [(r, e) for r, e, kept in zip(ref, est, there, strict=True) if kept], there


def _mean(reference: Texts, estimate: Texts, score: Callable[[str, str], float]) -> MetricResult:
    pairs, there = text_pairs(reference, estimate)
    dropped = len(there) - len(pairs)
    if not pairs:
        return undefined("no reference holds a word", dropped=dropped)
    return MetricResult(value=float(np.mean([score(r, e) for r, e in pairs])), n=len(pairs), dropped=dropped)


def _rapidfuzz(name: str) -> Any:
    try:
        from rapidfuzz import distance
    except ImportError as error:
        raise MissingExtraError("rapidfuzz", "medcore[text]", "text distances") from error
    return getattr(distance, name)
