"""Text overlap against sacrebleu, rapidfuzz, difflib and plain dynamic programming."""

from __future__ import annotations

import difflib

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from medcore.errors import InputError
from medcore.metrics import bleu, chrf, copy_rate, edit_ratio, longest_common_run, rouge_l, token_f1
from medcore.metrics.text import words

word = st.sampled_from(["the", "lung", "is", "clear", "no", "sign", "of", "opacity", "left", "right"])
sentence = st.lists(word, min_size=1, max_size=12).map(" ".join)
corpora = st.lists(st.tuples(sentence, sentence), min_size=1, max_size=4).map(lambda p: tuple(map(list, zip(*p, strict=True))))


@given(corpus=corpora)
def test_bleu_and_chrf_are_sacrebleu_s(corpus):
    ref, est = corpus
    scorer = sacrebleu.BLEU(effective_order=len(ref) == 1)
    assert bleu(ref, est).value == pytest.approx(scorer.corpus_score(est, [ref]).score / 100)
    assert chrf(ref, est).value == pytest.approx(sacrebleu.corpus_chrf(est, [ref]).score / 100)


def test_a_single_pair_uses_the_effective_order():
    assert bleu("lung is clear", "lung is clear").value == pytest.approx(1)
    assert "eff:yes" in bleu("lung is clear", "lung is clear").note
    assert "eff:no" in bleu(["a b c d"] * 2, ["a b c d"] * 2).note


def lcs(a, b):
    row = [0] * (len(b) + 1)
    for x in a:
        previous = 0
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], previous + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]


@given(corpus=corpora)
def test_rouge_l_by_dynamic_programming(corpus):
    ref, est = corpus
    expected = [2 * lcs(r.split(), e.split()) / len((r + " " + e).split()) for r, e in zip(ref, est, strict=True)]
    assert rouge_l(ref, est).value == pytest.approx(sum(expected) / len(expected))


@given(corpus=corpora)
def test_the_longest_run_is_difflib_s(corpus):
    ref, est = corpus
    expected = []
    for r, e in zip(ref, est, strict=True):
        a, b = r.split(), e.split()
        expected.append(difflib.SequenceMatcher(None, a, b, autojunk=False).find_longest_match().size)
    assert longest_common_run(ref, est).value == pytest.approx(sum(expected) / len(expected))


@given(ref=st.text(max_size=20).map("w{}".format), est=st.text(max_size=20))
def test_edit_ratio_is_one_minus_the_relative_distance(ref, est):
    assert edit_ratio(ref, est).value == pytest.approx(1 - Levenshtein.distance(ref, est) / max(len(ref), len(est)))


@given(ref=st.lists(word, min_size=1, max_size=9), est=st.lists(word, max_size=9))
def test_token_f1_by_removing_what_was_matched(ref, est):
    left, common = list(ref), 0
    for w in est:
        if w in left:
            left.remove(w)
            common += 1
    assert token_f1(" ".join(ref), " ".join(est)).value == pytest.approx(2 * common / (len(ref) + len(est)))


def test_copy_rate_counts_runs_of_four():
    ref = "the left lung is clear and the heart is normal"
    assert copy_rate(ref, "the left lung is clear").value == 1
    assert copy_rate(ref, "the left lung is not clear").value == pytest.approx(1 / 3)
    assert copy_rate(ref, "lung is clear", n=2).value == 1
    assert copy_rate(ref, "lung is clear", n=2).note == "2 words"
    assert copy_rate(ref, "too short").reason == "no estimate has 4 words"
    assert copy_rate([ref, ref], ["the left lung is", "heart is normal too"]).value == 0.5
    with pytest.raises(InputError, match="at least 1"):
        copy_rate(ref, ref, n=0)


FUNCTIONS = (bleu, chrf, rouge_l, token_f1, edit_ratio, longest_common_run)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_empty_answer_scores_zero_and_an_empty_reference_is_left_out(function):
    assert function("lung", "").value == 0
    result = function(["the lung is clear", "  ...  "], ["the lung is clear", "x"])
    assert (result.n, result.dropped) == (1, 1)
    assert result.value == pytest.approx(4 if function is longest_common_run else 1)
    assert function(["..."], ["x"]).reason == "no reference holds a word"
    assert function([], []).value is None


@pytest.mark.parametrize("function", [*FUNCTIONS, copy_rate])
def test_texts_that_do_not_fit_are_refused(function):
    with pytest.raises(InputError, match="2 references and 1 estimates"):
        function(["a", "b"], ["a"])
    with pytest.raises(InputError, match="something that is not text"):
        function(["a"], [None])


def test_words_ignore_case_and_marks():
    assert words("The LEFT lung, (no) opacity_1!") == ["the", "left", "lung", "no", "opacity_1"]
    assert token_f1("The lung.", "the LUNG").value == 1
