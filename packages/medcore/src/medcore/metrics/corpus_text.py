"""Overlap of texts counted over all samples together: BLEU and chrF are no means over samples."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from medcore.errors import MissingExtraError
from medcore.metrics.base import MetricResult, Weighted, Weights, metric, undefined
from medcore.metrics.text import Texts, text_pairs

_ORDERS = range(1, 7)
_BETA = 2


def _weighted_bleu(reference: Texts, estimate: Texts) -> Weighted:
    """BLEU from sacrebleu's counts of each pair."""
    scorer = _sacrebleu().metrics.BLEU(effective_order=True)
    pairs, there = text_pairs(reference, estimate)
    found = [scorer.sentence_score(e, [r]) for r, e in pairs]
    counts = np.array([[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in found], dtype=np.float64).reshape(len(pairs), -1)

    def bleu_of(weights: Weights) -> float | None:
        own = weights[there]
        if not own.any():
            return None
        total = (own @ counts).astype(np.int64).tolist()
        single = own.sum() == 1
        score = scorer.compute_bleu(total[:4], total[4:8], *total[8:], smooth_method="exp", effective_order=bool(single))
        return float(score.score / 100)

    return bleu_of


def _weighted_chrf(reference: Texts, estimate: Texts) -> Weighted:
    """ChrF from counts of each pair: for each length of n-grams those of the estimate, of the reference, and common ones."""
    pairs, there = text_pairs(reference, estimate)
    counts = np.zeros((len(pairs), len(_ORDERS), 3))
    for row, (ref, est) in zip(counts, pairs, strict=True):
        a, b = ("".join(text.split()) for text in (est, ref))
        for k, n in enumerate(_ORDERS):
            grams = [Counter(text[i : i + n] for i in range(len(text) - n + 1)) for text in (a, b)]
            # As in sacrebleu, n-grams of an estimate whose reference is shorter than n do not count.
            row[k] = grams[0].total() * bool(grams[1]), grams[1].total(), (grams[0] & grams[1]).total()

    def chrf_of(weights: Weights) -> float | None:
        own = weights[there]
        if not own.any():
            return None
        ours, theirs, common = np.tensordot(own, counts, axes=1).T
        counted = (ours > 0) & (theirs > 0)
        if not common[counted].any():
            return 0.0
        precision, recall = np.mean(common[counted] / ours[counted]), np.mean(common[counted] / theirs[counted])
        return float((1 + _BETA**2) * precision * recall / (_BETA**2 * precision + recall))

    return chrf_of


@metric(
    "bleu",
    kind="text",
    variant="corpus-13a-exp",
    direction="higher",
    definition="corpus BLEU-4, tokenizer 13a, exponential smoothing, case kept; of a single pair with effective order",
    source="Papineni et al. 2002, doi 10.3115/1073083.1073135; computed by sacrebleu (arXiv 1804.08771)",
    referee="torchmetrics SacreBLEUScore, where no n-gram is missing; sacrebleu",
    weighted=_weighted_bleu,
)
def bleu(reference: Texts, estimate: Texts) -> MetricResult:
    """BLEU of all samples together; needs the extra ``text``."""
    sacrebleu = _sacrebleu()
    pairs, there = text_pairs(reference, estimate)
    dropped = len(there) - len(pairs)
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
    referee="torchmetrics CHRFScore; sacrebleu",
    weighted=_weighted_chrf,
)
def chrf(reference: Texts, estimate: Texts) -> MetricResult:
    """Character n-gram F-score of all samples together; needs the extra ``text``."""
    sacrebleu = _sacrebleu()
    pairs, there = text_pairs(reference, estimate)
    dropped = len(there) - len(pairs)
    if not pairs:
        return undefined("no reference holds a word", dropped=dropped)
    scorer = sacrebleu.metrics.CHRF()
    score = scorer.corpus_score([e for _, e in pairs], [[r for r, _ in pairs]])
    return MetricResult(value=score.score / 100, n=len(pairs), dropped=dropped, note=str(scorer.get_signature()))


def _sacrebleu() -> Any:
    try:
        import sacrebleu.metrics
    except ImportError as error:
        raise MissingExtraError("sacrebleu", "medcore[text]", "BLEU and chrF") from error
    return sacrebleu
