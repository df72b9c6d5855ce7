"""Whether a prompt gives the label away without the image.

A policy finds such a hint at once and never looks at the image; held-out figures are then high for the same wrong reason. Three checks of
the rows of a data set, on everything in the prompt but the image:

=================== =================================================================================================
code                a fault if
=================== =================================================================================================
different-knowledge two samples of a task carry different injected knowledge
prompt-tells-label  a classifier of the prompts' words is right more often than naming the commonest label
order-tells-label   the place of the right answer among the choices can be guessed, where choices come in several orders
=================== =================================================================================================

Three simple classifiers of the words are tried, and the best counts: naive Bayes over words and pairs of words, the one word that tells
most, and the commonest label of the same text. They do not find a hint that changes no guess, such as a word that goes with 95 instead of
85 percent of one label.

The classifiers are judged on subjects they were not fitted to (cross-validation by subject), and against permutations: labels are
exchanged between subjects with the same number of samples, whole subjects at a time, so that samples of one subject, which resemble each
other, do not pass for evidence (whole-block exchangeability, Winkler et al. 2015, doi 10.1016/j.neuroimage.2015.05.092).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from medcore.errors import InputError
from medcore.metrics.text import words
from vrft_aug.knowledge import check_no_leak
from vrft_aug.knowledge_lint import Finding

MAX_TOKENS = 1000
"""Most words and pairs of words that the classifier looks at: those that split the samples most evenly."""
MIN_SUBJECTS = 20
"""Fewest subjects for which a test is made."""
Labels = Int[np.ndarray, " rows"]
Block = Int[np.ndarray, "_"]
Table = Float[np.ndarray, "rows tokens"]


@dataclass(frozen=True, kw_only=True)
class LeakTest:
    """One classifier that does not see the image."""

    what: Literal["prompt", "order"]
    """Words of the prompt, or the place of the right answer among the choices."""
    task: str
    """Task of the samples."""
    samples: int
    """Samples that were looked at."""
    subjects: int
    """Subjects they come from."""
    accuracy: float
    """Share of right guesses, of the best classifier, on subjects that it was not fitted to."""
    majority: float
    """Share of the commonest label."""
    p_value: float
    """How often permuted labels are guessed as well; 1 where all samples have the same prompt or order."""

    def leaks(self, alpha: float) -> bool:
        """Whether the label is guessed better than chance allows; words must also beat the commonest label."""
        return self.p_value <= alpha and (self.what == "order" or self.accuracy > self.majority)


def leak_check(
    rows: Iterable[Mapping[str, Any]], *, alpha: float = 0.01, where: str = "rows", tests: Iterable[LeakTest] | None = None
) -> list[Finding]:
    """The faults of the module's table in rows of one part of a data set.

    Parameters
    ----------
    rows
        Rows with the columns of :mod:`vrft_aug.data`; images are not looked at.
    alpha
        Level of significance of each test.
    where
        What the rows are called in findings.
    tests
        What :func:`measure_leaks` found in the rows, if it was called already.
    """
    rows = list(rows)
    found = []
    try:
        check_no_leak(rows)
    except InputError as error:
        problem = f"{error.what} {error.problem}"
        found.append(Finding(code="different-knowledge", severity="fault", where=where, problem=problem, remedy=error.hint))
    texts = {
        "prompt": ("prompt-tells-label", "the words of the prompt", "keep what differs between samples out of the prompt"),
        "order": ("order-tells-label", "the order of the choices", "keep one order, or shuffle it without looking at the label"),
    }
    for test in measure_leaks(rows) if tests is None else tests:
        if test.leaks(alpha):
            code, by, remedy = texts[test.what]
            problem = (
                f"{by} alone give {test.accuracy:.0%} of {test.samples} labels ({test.task}; commonest label {test.majority:.0%}, "
                f"p {test.p_value:.3g})"
            )
            found.append(Finding(code=code, severity="fault", where=where, problem=problem, remedy=remedy))
    return found


def measure_leaks(
    rows: Iterable[Mapping[str, Any]], *, folds: int = 5, permutations: int = 199, seed: int = 0, max_samples: int = 2000
) -> list[LeakTest]:
    """How well labels are guessed without the image, for each task that has at least two labels and :data:`MIN_SUBJECTS` subjects.

    Parameters
    ----------
    rows
        Rows with ``prompt``, ``task``, ``label``, ``grade`` or ``boxes`` and, as far as known, ``subject`` and ``classes``.
    folds
        Parts of the cross-validation.
    permutations
        Permutations of the labels; the smallest p value is 1 / (permutations + 1).
    seed
        Seed of folds and permutations.
    max_samples
        Where there are more, whole subjects are left out at random.
    """
    if folds < 2 or permutations < 1:
        raise InputError("leak check", f"has {folds} folds and {permutations} permutations", "give at least 2 and 1")
    tasks: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if _label(row) is not None:
            tasks[str(row.get("task"))].append(row)
    tests: list[LeakTest] = []
    for task, members in tasks.items():
        rng = np.random.default_rng(seed)
        chosen = _thin(members, max_samples, rng)
        blocks = _blocks(chosen)
        if len(blocks) < MIN_SUBJECTS or len({_label(row) for row in chosen}) < 2:
            continue
        fold = np.empty(len(chosen), dtype=np.int64)
        for position, number in enumerate(rng.permutation(len(blocks))):
            fold[blocks[number]] = position % folds
        tests.append(_prompt_test(task, chosen, blocks, fold, permutations, rng))
        tests.extend(_order_test(task, chosen, blocks, fold, permutations, rng))
    return tests


def prompt_text(row: Mapping[str, Any]) -> str:
    """Everything in the prompt but images: texts of all messages, each with its role."""
    prompt = row.get("prompt")
    if not isinstance(prompt, Sequence) or isinstance(prompt, str):
        return str(prompt or "")
    lines = []
    for message in prompt:
        content = message.get("content")
        parts = [content] if isinstance(content, str) else [part.get("text") for part in content or []]
        lines.append(" ".join([str(message.get("role")), *(part for part in parts if isinstance(part, str))]))
    return "\n".join(lines)


def _label(row: Mapping[str, Any]) -> str | None:
    """What a prompt could give away: class or grade, or whether there is anything to find."""
    if row.get("task") == "localisation":
        return None if row.get("boxes") is None else "boxes" if len(row["boxes"]) else "no boxes"
    value = row.get("grade") if row.get("label") is None else row["label"]
    return None if value is None else str(value)


def _subject(row: Mapping[str, Any], number: int) -> str:
    known = row.get("subject") or row.get("sample_id")
    return f"row {number}" if known is None else str(known)


def _thin(rows: list[Mapping[str, Any]], limit: int, rng: np.random.Generator) -> list[Mapping[str, Any]]:
    """At most about `limit` rows: whole subjects in random order until there are enough."""
    if len(rows) <= limit:
        return rows
    kept: list[int] = []
    blocks = _blocks(rows)
    for number in rng.permutation(len(blocks)):
        if len(kept) < limit:
            kept.extend(blocks[number].tolist())
    return [rows[i] for i in sorted(kept)]


def _blocks(rows: Sequence[Mapping[str, Any]]) -> list[Block]:
    """Numbers of the rows of each subject."""
    found: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        found[_subject(row, number)].append(number)
    return [np.array(numbers, dtype=np.int64) for numbers in found.values()]


def _exchanged(labels: Labels, blocks: Sequence[Block], rng: np.random.Generator) -> Labels:
    """Labels exchanged between subjects with the same number of samples."""
    sizes: dict[int, list[Block]] = defaultdict(list)
    for block in blocks:
        sizes[len(block)].append(block)
    result = labels.copy()
    for members in sizes.values():
        for target, source in zip(members, rng.permutation(len(members)), strict=True):
            result[target] = labels[members[source]]
    return result


def _prompt_test(
    task: str,
    rows: Sequence[Mapping[str, Any]],
    blocks: Sequence[Block],
    fold: Labels,
    permutations: int,
    rng: np.random.Generator,
) -> LeakTest:
    labels, majority = _coded(rows)
    prompts = [prompt_text(row) for row in rows]
    table = _tokens(prompts, blocks)
    facts: dict[str, Any] = {"what": "prompt", "task": task, "samples": len(rows), "subjects": len(blocks), "majority": majority}
    if not table.shape[1]:
        return LeakTest(accuracy=majority, p_value=1.0, **facts)
    _, texts = np.unique(prompts, return_inverse=True)

    parts = _parts(table, fold)

    def best(y: Labels) -> float:
        words_of = _counted(parts, y)
        guesses = (_naive_bayes(words_of, len(y)), _telling_word(words_of, len(y)), _same_text(texts, y, fold))
        return max(float(np.mean(guess == y)) for guess in guesses)

    accuracy, p_value = _permuted(best, labels, (_exchanged(labels, blocks, rng) for _ in range(permutations)))
    return LeakTest(accuracy=accuracy, p_value=p_value, **facts)


def _coded(rows: Sequence[Mapping[str, Any]]) -> tuple[Labels, float]:
    """Labels as numbers, and the share of the commonest."""
    _, labels = np.unique([_label(row) or "" for row in rows], return_inverse=True)
    return labels.astype(np.int64), float(np.bincount(labels).max() / len(labels))


def _permuted(score: Callable[[Labels], float], labels: Labels, others: Iterable[Labels]) -> tuple[float, float]:
    """The score of `labels`, and the share of `others` (and itself) that score at least as well."""
    observed = score(labels)
    scores = [score(other) for other in others]
    return observed, (1 + sum(value >= observed - 1e-12 for value in scores)) / (1 + len(scores))


def _tokens(texts: Sequence[str], blocks: Sequence[Block]) -> Table:
    """Which words and pairs of words each text holds, of those that some but not all texts of several subjects hold."""
    holders: dict[str, list[int]] = defaultdict(list)
    for number, text in enumerate(texts):
        said = words(text)
        for token in {*said, *(f"{a} {b}" for a, b in pairwise(said))}:
            holders[token].append(number)
    owner = np.empty(len(texts), dtype=np.int64)
    for number, block in enumerate(blocks):
        owner[block] = number
    useful = {
        token: numbers for token, numbers in holders.items() if len(numbers) < len(texts) and len(set(owner[numbers].tolist())) > 1
    }
    evenness = {token: min(len(numbers), len(texts) - len(numbers)) for token, numbers in useful.items()}
    kept = sorted(useful, key=lambda token: (-evenness[token], token))[:MAX_TOKENS]
    table = np.zeros((len(texts), len(kept)))
    for column, token in enumerate(kept):
        table[useful[token], column] = 1.0
    return table


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fold:
    """One part of the cross-validation: what is guessed for, and what the other parts hold."""

    rows: Block
    table: Float[np.ndarray, "_ tokens"]
    counts: Float[np.ndarray, "tokens labels"]
    sizes: Float[np.ndarray, " labels"]


def _parts(table: Table, fold: Labels) -> list[tuple[Block, Any]]:
    """Row numbers and rows of each fold."""
    return [(rows, table[rows]) for rows in (np.flatnonzero(fold == number) for number in np.unique(fold))]


def _counted(parts: Sequence[tuple[Block, Any]], labels: Labels) -> list[_Fold]:
    """The folds, with the texts of each label in the other folds: those that hold a word, and all."""
    classes = np.eye(int(labels.max()) + 1)[labels]
    counts = [table.T @ classes[rows] for rows, table in parts]
    total, sizes = np.sum(counts, axis=0), classes.sum(axis=0)
    return [
        _Fold(rows=rows, table=table, counts=total - own, sizes=sizes - classes[rows].sum(axis=0))
        for (rows, table), own in zip(parts, counts, strict=True)
    ]


def _naive_bayes(folds: Sequence[_Fold], total: int) -> Labels:
    """Labels guessed by Bernoulli naive Bayes fitted to the other folds; probabilities of words with half a count added."""
    guessed = np.empty(total, dtype=np.int64)
    for part in folds:
        share = (part.counts + 0.5) / (part.sizes + 1)
        prior = np.log((part.sizes + 0.5) / (part.sizes.sum() + 0.5 * len(part.sizes)))
        score = prior + np.log1p(-share).sum(axis=0) + part.table @ (np.log(share) - np.log1p(-share))
        guessed[part.rows] = score.argmax(axis=1)
    return guessed


def _telling_word(folds: Sequence[_Fold], total: int) -> Labels:
    """Labels guessed by whether a text holds the one word that tells most in the other folds."""
    guessed = np.empty(total, dtype=np.int64)
    for part in folds:
        absent = part.sizes - part.counts
        word = int((part.counts.max(axis=1) + absent.max(axis=1)).argmax())
        guessed[part.rows] = np.where(part.table[:, word] > 0, part.counts[word].argmax(), absent[word].argmax())
    return guessed


def _same_text(texts: Labels, labels: Labels, fold: Labels) -> Labels:
    """Labels guessed as the commonest one of the same text in the other folds, or of all texts where there is none."""
    guessed = np.empty(len(labels), dtype=np.int64)
    for number in np.unique(fold):
        out = fold == number
        counts = np.zeros((int(texts.max()) + 1, int(labels.max()) + 1))
        np.add.at(counts, (texts[~out], labels[~out]), 1.0)
        known = counts.sum(axis=1) > 0
        guess = np.where(known, counts.argmax(axis=1), counts.sum(axis=0).argmax())
        guessed[out] = guess[texts[out]]
    return guessed


def _order_test(
    task: str,
    rows: Sequence[Mapping[str, Any]],
    blocks: Sequence[Block],
    fold: Labels,
    permutations: int,
    rng: np.random.Generator,
) -> list[LeakTest]:
    """Whether the place of the right answer is guessed, where choices come in several orders."""
    orders = [tuple(row.get("classes") or ()) for row in rows]
    names = [str(row.get("label")) for row in rows]
    if len(set(orders)) < 2 or not all(name in order for name, order in zip(names, orders, strict=True)):
        return []
    places = np.array([order.index(name) for name, order in zip(names, orders, strict=True)], dtype=np.int64)
    others: Iterable[Labels]
    if len({frozenset(order) for order in orders}) == 1:
        kinds = list(orders[0])
        codes = np.array([kinds.index(name) for name in names], dtype=np.int64)
        place_of = np.array([[order.index(kind) for kind in kinds] for order in orders], dtype=np.int64)
        numbers = np.arange(len(rows))
        others = (place_of[numbers, _exchanged(codes, blocks, rng)] for _ in range(permutations))
    else:  # every question has choices of its own: in shuffled choices each place is as likely as another
        counts = np.array([len(order) for order in orders])
        others = (rng.integers(0, counts) for _ in range(permutations))
    accuracy, p_value = _permuted(lambda y: _place_guessed(y, fold), places, others)
    majority = max(Counter(names).values()) / len(names)
    test = LeakTest(
        what="order", task=task, samples=len(rows), subjects=len(blocks), accuracy=accuracy, majority=majority, p_value=p_value
    )
    return [test]


def _place_guessed(places: Labels, fold: Labels) -> float:
    """Share of samples whose place is the commonest one of the other folds."""
    right = 0
    for number in np.unique(fold):
        out = fold == number
        right += int(np.sum(places[out] == np.bincount(places[~out]).argmax()))
    return right / len(places)
