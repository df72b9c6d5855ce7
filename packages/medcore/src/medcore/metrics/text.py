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

from medcore.errors import InputError, MissingExtraError
from medcore.metrics.base import MetricResult, metric, undefined

Texts = str | Sequence[Any]
_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """The words of `text` in lower case."""
    return _WORD.findall(text.lower())


@metric(
    "bleu",
    kind="text",
    variant="corpus-13a-exp",
    direction="higher",
    definition="corpus BLEU-4, tokenizer 13a, exponential smoothing, case kept; of a single pair with effective order",
    source="Papineni et al. 2002, doi 10.3115/1073083.1073135; computed by sacrebleu (arXiv 1804.08771)",
    referee="sacrebleu",
)
def bleu(reference: Texts, estimate: Texts) -> MetricResult:
    """BLEU of all samples together; needs the extra ``text``."""
    sacrebleu = _sacrebleu()
    pairs, dropped = _pairs(reference, estimate)
    if not pairs:
        return undefined("no reference holds a word", dropped=dropped)
    scorer = sacrebleu.metrics.BLEU(effective_order=len(pairs) == 1)
    score = scorer.corpus_score([e for _, e in pairs], [[r for r, _ in pairs]])
    return MetricResult(value=score.score / 100, n=len(pairs), dropped=dropped, note=str(scorer.get_signature()))


@metric(
    "chrf",
    kind="text",
    variant="chrF2",
    direction="higher",
    definition="corpus chrF: character 6-grams, beta 2, no words",
    source="Popovic 2015, doi 10.18653/v1/W15-3049; computed by sacrebleu",
    referee="sacrebleu",
)
def chrf(reference: Texts, estimate: Texts) -> MetricResult:
    """Character n-gram F-score of all samples together; needs the extra ``text``."""
    sacrebleu = _sacrebleu()
    pairs, dropped = _pairs(reference, estimate)
    if not pairs:
        return undefined("no reference holds a word", dropped=dropped)
    scorer = sacrebleu.metrics.CHRF()
    score = scorer.corpus_score([e for _, e in pairs], [[r for r, _ in pairs]])
    return MetricResult(value=score.score / 100, n=len(pairs), dropped=dropped, note=str(scorer.get_signature()))


@metric(
    "rouge_l",
    kind="text",
    variant="f1-words",
    direction="higher",
    definition="mean over pairs of 2 LCS / (words of the reference + words of the estimate), LCS = longest common subsequence of words",
    source="Lin 2004, https://aclanthology.org/W04-1013",
    referee="longest common subsequence by dynamic programming",
)
def rouge_l(reference: Texts, estimate: Texts) -> MetricResult:
    """ROUGE-L (F1, no stemming); needs the extra ``text``."""
    similarity = _rapidfuzz("LCSseq").similarity

    def score(ref: str, est: str) -> float:
        a, b = words(ref), words(est)
        return 2 * float(similarity(a, b)) / (len(a) + len(b))

    return _mean(reference, estimate, score)


@metric(
    "token_f1",
    kind="text",
    variant="bag",
    direction="higher",
    definition="mean over pairs of 2 common / (words of the reference + words of the estimate), common counted with multiplicity",
    source="Rajpurkar et al. 2016, arXiv 1606.05250, without its removal of articles",
    referee="counting by hand",
)
def token_f1(reference: Texts, estimate: Texts) -> MetricResult:
    """F1 of the bags of words."""

    def score(ref: str, est: str) -> float:
        a, b = Counter(words(ref)), Counter(words(est))
        return 2 * (a & b).total() / (a.total() + b.total())

    return _mean(reference, estimate, score)


@metric(
    "edit_ratio",
    kind="text",
    variant="levenshtein-characters",
    direction="higher",
    definition="mean over pairs of 1 - Levenshtein distance / length of the longer text",
    source="Levenshtein 1966; computed by rapidfuzz",
    referee="rapidfuzz",
)
def edit_ratio(reference: Texts, estimate: Texts) -> MetricResult:
    """Similarity by edits of characters; needs the extra ``text``."""
    return _mean(reference, estimate, _rapidfuzz("Levenshtein").normalized_similarity)


@metric(
    "longest_common_run",
    kind="text",
    variant="words",
    direction="none",
    unit="word",
    definition="mean over pairs of the length of the longest run of words that both texts contain",
    source="longest common substring of words",
    referee="difflib",
)
def longest_common_run(reference: Texts, estimate: Texts) -> MetricResult:
    """How many words in a row were taken over."""

    def score(ref: str, est: str) -> float:
        a, b = words(ref), words(est)
        codes = {w: i for i, w in enumerate(dict.fromkeys([*a, *b]))}
        row = np.array([codes[w] for w in b], dtype=np.int64)
        runs, longest = np.zeros(len(b) + 1, dtype=np.int64), 0
        for word in a:
            runs[1:] = np.where(row == codes[word], runs[:-1] + 1, 0)
            longest = max(longest, int(runs.max()))
        return float(longest)

    return _mean(reference, estimate, score)


@metric(
    "copy_rate",
    kind="text",
    variant="4-grams",
    direction="none",
    definition="share of the estimate's runs of 4 words that occur in the reference, over all pairs",
    source="own definition, after extractive coverage (Grusky et al. 2018, arXiv 1804.11283)",
    referee="counting by hand",
)
def copy_rate(reference: Texts, estimate: Texts, *, n: int = 4) -> MetricResult:
    """How much of the estimate is copied word by word; `n` other than 4 is stated in the note."""
    if n < 1:
        raise InputError("n", f"is {n}", "give at least 1")
    pairs, dropped = _pairs(reference, estimate)
    copied = total = 0
    for ref, est in pairs:
        known, runs = set(_runs(words(ref), n)), _runs(words(est), n)
        copied, total = copied + sum(run in known for run in runs), total + len(runs)
    if not total:
        return undefined(f"no estimate has {n} words", n=len(pairs), dropped=dropped)
    return MetricResult(value=copied / total, n=len(pairs), dropped=dropped, note=f"{n} words")


def _runs(tokens: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def _pairs(reference: Texts, estimate: Texts) -> tuple[list[tuple[str, str]], int]:
    """The pairs whose reference holds a word, and how many do not."""
    ref, est = ([texts] if isinstance(texts, str) else list(texts) for texts in (reference, estimate))
    if len(ref) != len(est):
        raise InputError("texts", f"{len(ref)} references and {len(est)} estimates", "give one estimate for each reference")
    if not all(isinstance(text, str) for text in [*ref, *est]):
        raise InputError("texts", "hold something that is not text", "give strings, an empty one where there is no answer")
    kept = [(r, e) for r, e in zip(ref, est, strict=True) if words(r)]
    return kept, len(ref) - len(kept)


def _mean(reference: Texts, estimate: Texts, score: Callable[[str, str], float]) -> MetricResult:
    pairs, dropped = _pairs(reference, estimate)
    if not pairs:
        return undefined("no reference holds a word", dropped=dropped)
    return MetricResult(value=float(np.mean([score(r, e) for r, e in pairs])), n=len(pairs), dropped=dropped)


def _sacrebleu() -> Any:
    try:
        import sacrebleu.metrics
    except ImportError as error:
        raise MissingExtraError("sacrebleu", "medcore[text]", "BLEU and chrF") from error
    return sacrebleu


def _rapidfuzz(name: str) -> Any:
    try:
        from rapidfuzz import distance
    except ImportError as error:
        raise MissingExtraError("rapidfuzz", "medcore[text]", "text distances") from error
    return getattr(distance, name)
