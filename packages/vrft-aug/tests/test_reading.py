"""Answers in other forms, reasons, several labels, confidence."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import ConfigError
from vrft_aug.parsing import (
    MAX_ANSWER,
    Reading,
    Reason,
    answer_text,
    check_form,
    explain_confidence,
    explain_number,
    find_boxes,
    find_grade,
    find_label,
    find_labels,
    find_number,
    has_format,
    is_abstention,
    parse_label,
    parse_labels,
    parse_number,
    read_confidence,
    read_label,
    think_text,
    without_confidence,
    without_thoughts,
)

CHEST = ("normal", "pneumonia")
FORMS = ("tags", "thinking", "reasoning", "boxed", "line", "any")


@pytest.mark.parametrize(
    ("form", "text", "thought", "answer", "right"),
    [
        ("thinking", "<thinking>a</thinking><answer>b</answer>", "a", "b", True),
        ("thinking", "<think>a</think><answer>b</answer>", None, "b", False),
        ("thinking", "<thinking><answer>c</answer></thinking><answer>b</answer>", "<answer>c</answer>", "b", False),
        ("reasoning", "<reasoning>a</reasoning>\n<answer>b</answer>", "a", "b", True),
        ("reasoning", "<reasoning>a</reasoning>", "a", None, False),
        ("boxed", "<think>a</think>\\boxed{b}", "a", "b", True),
        ("boxed", "<think>a</think> So \\boxed{b}.", "a", "b", False),
        ("boxed", "<think>\\boxed{c}</think>\\boxed{\\text{b}}", "\\boxed{c}", "b", True),
        ("boxed", "<think>a</think>\\boxed{b}\\boxed{c}", "a", "c", False),
        ("boxed", "<think>a</think>\\boxed{x{y}z}", "a", "x{y}z", True),
        ("boxed", "<think>a</think>\\boxed{b", "a", None, False),
        ("boxed", "<think>a</think><answer>b</answer>", "a", None, False),
        ("line", "<think>a</think>\nAnswer: b", "a", "b", True),
        ("line", "<think>a</think>\nI see b.\n**Final answer:** b", "a", "b", False),
        ("line", "<think>a</think>\n**Final Answer: b**\n", "a", "b", True),
        ("line", "<think>a</think>\nThe answer is: b", "a", "b", True),
        ("line", "<think>a</think>\nAnswer: b\nor so", "a", None, False),
        ("line", "<think>a\nAnswer: b</think>", "a\nAnswer: b", None, False),
        ("line", "<think>a</think>\nAnswer:", "a", "", False),
        ("any", "<reasoning>a</reasoning>\\boxed{b}", "a", "b", True),
        ("any", "<thinking>a</thinking><answer>b</answer>", "a", "b", True),
        ("any", "<think>a</think>\nAnswer: c\n<answer>b</answer>", "a", "b", False),
        ("any", "b", None, None, False),
        ("tags", "<think>a</think>\\boxed{b}", "a", None, False),
        ("tags", "<think>a</think>\nAnswer: b", "a", None, False),
        ("tags", "<thinking>a</thinking><answer>b</answer>", None, "b", False),
    ],
)
def test_forms(form: str, text: str, thought: str | None, answer: str | None, right: bool) -> None:
    assert think_text(text, form) == thought
    assert answer_text(text, form) == answer
    assert has_format(text, form=form) == right
    assert read_label(text, ["b", "c"], form=form) == (answer if answer in ("b", "c") else None)


def test_unknown_forms_are_refused() -> None:
    assert [check_form(form) for form in FORMS] == list(FORMS)
    with pytest.raises(ConfigError, match="form: is 'xml'; choose tags"):
        check_form("xml")


def test_thoughts_are_taken_out_whole() -> None:
    assert without_thoughts("a<think>b</think>c<think>d</think>e") == "ace"
    assert without_thoughts("a<think>b") == "a<think>b"
    assert without_thoughts("a<thinking>b</thinking>c<think>d</think>", "any") == "ac"


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("<think>a</think><answer>b</answer><confidence>0.8</confidence>", True),
        ("<think>a</think><answer>b</answer>", False),
        ("<think>a</think><answer>b</answer><confidence> </confidence>", False),
        ("<think>a</think><answer>b</answer><confidence>1</confidence><confidence>1</confidence>", False),
        ("<think>a</think><answer>b</answer><confidence>1</confidence> sure", False),
    ],
)
def test_format_with_confidence(text: str, right: bool) -> None:
    assert has_format(text, confidence=True) == right
    assert has_format(text) == (text == "<think>a</think><answer>b</answer>")


@pytest.mark.parametrize(
    ("text", "value", "why"),
    [
        ("<answer>x</answer><confidence>0.8</confidence>", 0.8, "in tags"),
        ("<answer>x</answer><confidence>80%</confidence>", 0.8, "per cent"),
        ("<answer>x (confidence: 80 %)</answer>", 0.8, "in words, in the answer"),
        ("<answer>x</answer> Confidence: 0,75.", 0.75, "decimal comma"),
        ("<answer>x</answer> confidence is 9/10", 0.9, "a share of ten"),
        ("<answer>x</answer> confidence level: 65 percent", 0.65, "in words"),
        ("<think>confidence: 0.1</think><answer>x</answer> confidence: 0.6", 0.6, "a thought states nothing"),
        ("<answer>x</answer> confidence: 0.8, confidence 80%", 0.8, "the same twice"),
        ("<answer>x</answer> confidence: 0.8, confidence: 0.7", Reason.SEVERAL_NUMBERS, "two"),
        ("<answer>x</answer> confidence: 80", Reason.OUT_OF_RANGE, "per cent, or what?"),
        ("<answer>x</answer> confidence: 120%", Reason.OUT_OF_RANGE, "more than certain"),
        ("<confidence>-0.2</confidence>", Reason.BAD_NUMBER, "less than nothing"),
        ("<confidence>3/0</confidence>", Reason.BAD_NUMBER, "no share"),
        ("<confidence>high</confidence>", Reason.BAD_NUMBER, "no number"),
        ("<confidence>nan</confidence>", Reason.BAD_NUMBER, "no number"),
        ("<confidence>" + "9" * 5000 + "</confidence>", Reason.BAD_NUMBER, "no number"),
        ("<answer>x</answer> highly confident", Reason.NO_NUMBER, "none"),
        ("<answer>x</answer>", Reason.NO_NUMBER, "none"),
    ],
)
def test_confidence(text: str, value: float | Reason, why: str) -> None:
    expected = Reading(reason=value) if isinstance(value, Reason) else Reading(value)
    assert explain_confidence(text) == expected, why
    assert read_confidence([{"role": "assistant", "content": text}]) == expected.value


def test_statements_of_confidence_are_taken_out() -> None:
    assert without_confidence("grade 2 (confidence: 80 %)").split() == ["grade", "2", "(", ")"]
    assert without_confidence("<answer>2</answer><confidence>0.5</confidence>").strip() == "<answer>2</answer>"


def test_abstentions() -> None:
    assert all(map(is_abstention, ("unsure", "Not sure.", "I don't know", "cannot tell", "Insufficient information!")))
    assert not any(map(is_abstention, (None, "", "unsure, but pneumonia", "pneumonia", "no", "unsure" * 100)))
    assert parse_label("uncertain", ("certain", "uncertain")) == "uncertain"


def test_units_are_checked_and_never_converted() -> None:
    assert explain_number("<answer>4.5 cm</answer>", "mm") == Reading(reason=Reason.OTHER_UNIT)
    assert [parse_number(text, "mm") for text in ("45 mm", "45mm", "45", "45.")] == [45.0] * 4
    assert parse_number("4.5 cm") == 4.5


def test_an_answer_beyond_its_limit_is_not_looked_at() -> None:
    text = "normal " * MAX_ANSWER
    for reading in (find_label(text, CHEST), find_labels(text, CHEST), find_grade(text, 5), find_boxes(text), find_number(text)):
        assert reading == Reading(reason=Reason.TOO_LONG)


def test_several_labels_with_a_negative_class() -> None:
    classes = ("effusion", "mass", "no finding")
    assert parse_labels("none", classes, negative="no finding") == {"no finding"}
    assert parse_labels("no effusion, no mass", classes, negative="no finding") == {"no finding"}
    assert parse_labels("no finding", classes, negative="no finding") == {"no finding"}
    assert find_labels("effusion, no finding", classes, negative="no finding").reason == Reason.CONFLICT
    assert parse_labels("A, B", classes) == {"effusion", "mass"}
    assert find_labels("A, C", classes, negative="no finding").reason == Reason.CONFLICT
    assert parse_labels("A, D", classes) is None
    assert parse_labels("mass", classes, letters=False) == {"mass"}


@given(
    st.lists(st.sampled_from(["effusion", "mass", "nodule", "rib fracture"]), min_size=1, unique=True),
    st.sampled_from([", ", "\n", "; ", " and "]),
)
def test_a_list_of_classes_is_read_whole(classes: list[str], between: str) -> None:
    known = ["effusion", "mass", "nodule", "rib fracture"]
    assert parse_labels(between.join(classes), known) == set(classes)
    assert parse_labels(f"no {' or '.join(classes)}", known) in (None, frozenset())


@given(st.sampled_from(["possible", "possibly", "may be", "cannot exclude", "questionable", "perhaps a", "differential:"]))
def test_what_is_left_open_is_no_answer_even_with_a_negative_class(hedge: str) -> None:
    assert find_label(f"{hedge} pneumonia", CHEST, negative="normal").reason == Reason.HEDGED
    assert find_labels(f"{hedge} pneumonia", CHEST).reason == Reason.HEDGED


@given(st.sampled_from(["likely", "probable", "suspected", "consistent with", "suspicious for", "presumed", "typical"]))
def test_confidence_takes_a_side(word: str) -> None:
    assert parse_label(f"{word} pneumonia", CHEST) == "pneumonia"


@given(
    st.text(max_size=200) | st.text("01234.,-[](){}<>|/?'\"%~ \nabox", max_size=60),
    st.lists(st.text(max_size=10), max_size=4),
    st.sampled_from(FORMS),
)
def test_a_reading_is_a_value_or_a_reason(text: str, classes: list[str], form: str) -> None:
    """Never both, never neither, and never a value from outside of the classes."""
    answer = answer_text(text, form)
    for shown in (text, answer):
        label, labels = find_label(shown, classes, negative="normal"), find_labels(shown, classes)
        readings = [label, labels, find_grade(shown, classes), find_grade(shown, 5), find_boxes(shown), find_number(shown)]
        for reading in [*readings, explain_confidence(text, form=form)]:
            assert (reading.value is None) != (reading.reason is None)
        assert label.value in (None, *classes)
        assert labels.value is None or labels.value <= set(classes)
    assert has_format(text, form=form) <= (answer is not None)
    assert "<answer>" not in (answer or "") or form in ("boxed", "line", "any")


@pytest.mark.parametrize(
    "text",
    [
        "a" + " " * 3900 + "!",
        "the answer is" + " " * 3900 + "!",
        "a " * 1900 + "!",
        "a" * 3990,
        "{" + "a" * 3900 + "}",
        "x1" + " " * 3900 + "?",
        "<box>" * 780,
        "1 " * 1900 + "x",
        "1,2" * 1300,
        "not be " * 550 + "x",
        "no evidence " * 330,
        "pneumonia or " * 300,
        "?" * 3900,
        '"' * 3901,
        "\\boxed{" * 100_000,
        "\\boxed{" + "{}" * 100_000,
        "Answer:" * 100_000,
        "Answer:\n" * 100_000,
        "*" * 400_000,
        "confidence " * 50_000,
        "confidence: " + "9" * 100_000,
        "<confidence>" * 50_000,
        "<think><thinking><reasoning>" * 20_000,
    ],
)
def test_no_text_takes_long(text: str) -> None:
    started = time.process_time()
    for form in FORMS:
        has_format(text, form=form)
        explain_confidence(text, form=form)
        find_label(answer_text(text, form), CHEST, negative="normal")
    for shown in (text[:MAX_ANSWER], text):
        find_label(shown, CHEST, negative="normal")
        find_labels(shown, CHEST)
        find_grade(shown, ["none", "mild", "severe"])
        find_boxes(shown)
        find_number(shown)
        is_abstention(shown)
    assert time.process_time() - started < 3
