from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vrft_aug.parsing import (
    MAX_ANSWER,
    MAX_BOXES,
    answer_text,
    completion_text,
    has_format,
    parse_boxes,
    parse_grade,
    parse_label,
    read_boxes,
    read_grade,
    read_label,
    think_text,
)

CHEST = ("normal", "pneumonia")
PAIR = ("normal", "abnormal")
GRADES = ("none", "mild", "moderate", "severe", "proliferative")
ORGANS = ("spleen", "kidney", "liver", "lung")
NAME = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), min_size=1, max_size=12).map(str.strip).filter(bool)


@pytest.mark.parametrize(
    ("text", "right", "why"),
    [
        ("<think>a</think><answer>b</answer>", True, "as asked"),
        (" \n<think>a</think>\n\n<answer>b</answer>\n", True, "white space is harmless"),
        ("<think>a\nb</think><answer>c\nd</answer>", True, "lines inside are harmless"),
        ("", False, "nothing"),
        ("normal", False, "no tags"),
        ("<answer>b</answer>", False, "no thought"),
        ("<think>a</think>", False, "no answer"),
        ("<think></think><answer>b</answer>", False, "empty thought"),
        ("<think>a</think><answer> \n</answer>", False, "empty answer"),
        ("<think>a</think><answer>b</answer> and more", False, "text behind the answer"),
        ("Sure! <think>a</think><answer>b</answer>", False, "text in front"),
        ("<think>a</think> so <answer>b</answer>", False, "text between"),
        ("<think>a</think><answer>b</answer><answer>c</answer>", False, "two answers"),
        ("<think>a</think><think>a</think><answer>b</answer>", False, "two thoughts"),
        ("<answer>b</answer><think>a</think>", False, "wrong order"),
        ("<think>a<answer>b</answer></think>", False, "answer inside the thought"),
        ("<think>a</think><answer>b", False, "not closed"),
        ("<think>a<answer>b</answer>", False, "thought not closed"),
        ("<Think>a</Think><Answer>b</Answer>", False, "tags are exact"),
        ("<think >a</think><answer>b</answer>", False, "tags are exact"),
        ("<think>a</think><answer><answer>b</answer></answer>", False, "nested"),
    ],
)
def test_format(text: str, right: bool, why: str) -> None:
    assert has_format(text) == right, why


def test_format_without_thought_and_with_text_around() -> None:
    assert has_format("<answer>b</answer>", think=False)
    assert has_format("<think>a</think><answer>b</answer>", think=False)
    assert not has_format("<think>a<answer>b</answer>", think=False)
    assert has_format("So: <think>a</think> hence <answer>b</answer> done", strict=False)
    assert not has_format("So: <answer>b</answer>", strict=False)
    assert not has_format("<think>a</think><answer></answer>", strict=False)


@pytest.mark.parametrize(
    ("text", "answer", "why"),
    [
        ("<answer>a</answer>", "a", "plain"),
        ("x <answer>a</answer> y", "a", "text around is not read"),
        ("<answer>a</answer><answer>b</answer>", "b", "the last one"),
        ("<answer>a</answer><answer>b", "a", "the last complete one"),
        ("<answer>a<answer>b</answer></answer>", "b", "the innermost one"),
        ("<think><answer>a</answer></think>", None, "a thought holds no answer"),
        ("<think><answer>a</answer></think><answer>b</answer>", "b", "the one behind the thought"),
        ("<think>open <answer>a</answer>", "a", "a thought that never ends hides nothing"),
        ("<answer>a", None, "not closed"),
        ("a</answer>", None, "not opened"),
        ("<ANSWER>a</ANSWER>", None, "tags are exact"),
        ("a", None, "no tags"),
        ("<answer></answer>", "", "empty, but an answer"),
    ],
)
def test_answer_text(text: str, answer: str | None, why: str) -> None:
    assert answer_text(text) == answer, why


def test_think_text_is_the_first_complete_one() -> None:
    assert think_text("<think>a</think><think>b</think>") == "a"
    assert think_text("</think><think>a</think>") == "a"
    assert think_text("<think>a") is None
    assert think_text("a</think>") is None


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("a", "a"),
        ([{"role": "assistant", "content": "a"}], "a"),
        ([{"role": "tool", "content": "x"}, {"role": "assistant", "content": "a"}], "a"),
        ([{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}], "ab"),
        ([{"role": "assistant", "content": [{"type": "image"}, {"type": "text", "text": "b"}]}], "b"),
        ({"role": "assistant", "content": "a"}, "a"),
        ([{"role": "assistant", "content": None}], ""),
        ([], ""),
        (None, ""),
        (7, ""),
        (b"<answer>a</answer>", ""),
        ([None], ""),
        ([{"type": "text", "text": 3}], ""),
    ],
)
def test_completion_text(completion: object, text: str) -> None:
    assert completion_text(completion) == text


# The first rows are the probes on which the scoring of other projects pays for wrong answers or refuses right ones.
@pytest.mark.parametrize(
    ("text", "classes", "label", "why"),
    [
        ("", CHEST, None, "an empty answer names nothing"),
        ("normal", PAIR, "normal", "whole words"),
        ("abnormal", PAIR, "abnormal", "whole words"),
        ("abnormal", CHEST, None, "'abnormal' does not hold the word 'normal'"),
        ("no pneumonia", CHEST, None, "denied"),
        ("benign or malignant", ("benign", "malignant"), None, "hedging"),
        ("e", ("melanoma", "nevus"), None, "one letter of a name"),
        ("C) CT", ("MRI", "X-ray", "CT", "US"), "CT", "option letter and name agree"),
        ("A. Liver", ("liver", "spleen"), "liver", "option letter and name agree"),
        ("D) Normal", ("a1", "b1", "c1", "Normal"), "Normal", "option letter and name agree"),
        ("No Effusion", ("Effusion", "No Finding"), None, "denied"),
        ("Effusion, No Finding", ("Effusion", "No Finding"), None, "two labels"),
        ("No Finding", ("Effusion", "No Finding"), "No Finding", "the longer name, which is no denial"),
        ("A or B or C", ORGANS, None, "hedging with letters"),
        ("pneumonia", CHEST, "pneumonia", "plain"),
        (" Pneumonia. ", CHEST, "pneumonia", "case, space and stop"),
        ("\uff50\uff4e\uff45\uff55\uff4d\uff4f\uff4e\uff49\uff41", CHEST, "pneumonia", "full-width letters"),
        ("The image shows pneumonia", CHEST, "pneumonia", "in a sentence"),
        ("pneumonia, pneumonia", CHEST, "pneumonia", "twice is once"),
        ("pneumoniae", CHEST, None, "another word"),
        ("pneumonia/normal", CHEST, None, "two"),
        ("it is not pneumonia, but normal", CHEST, "normal", "a denial ends at 'but'"),
        ("No consolidation. Pneumonia.", CHEST, "pneumonia", "a denial ends with its sentence"),
        ("normal, no pneumonia", CHEST, "normal", "one named, one denied"),
        ("pneumonia, no pneumonia", CHEST, None, "named and denied"),
        ("neither normal nor pneumonia", CHEST, None, "both denied"),
        ("non-pneumonia", CHEST, None, "denied by a prefix"),
        ("isn't pneumonia", CHEST, None, "denied by a short form"),
        ("isn\u2019t pneumonia", CHEST, None, "denied by a short form with a printer's apostrophe"),
        ("without signs of pneumonia", CHEST, None, "denied"),
        ("free of pneumonia", CHEST, None, "denied"),
        ("negative for pneumonia", CHEST, None, "denied"),
        ("pneumonia is absent", CHEST, None, "denied behind the name"),
        ("pneumonia: no", CHEST, None, "denied behind the name"),
        ("pneumonia can be ruled out", CHEST, None, "denied behind the name"),
        ("pneumonia, not normal", CHEST, "pneumonia", "the denial behind belongs to the other name"),
        ("Pneumonia\nNo effusion", CHEST, "pneumonia", "the denial is in another line"),
        ("left-lung", ("left lung", "lung"), "left lung", "the longer name, hyphens separate words"),
        ("lung_left", ("lung-left", "lung-right"), "lung-left", "underscores separate words"),
        ("normal, benign", ("malignant", "normal, benign"), "normal, benign", "a name with a comma"),
        ("No, DR", ("DR", "no DR"), None, "a name is not read across a comma"),
        ("no DR", ("DR", "no DR"), "no DR", "a name that is a denial"),
        ("B", ORGANS, "kidney", "letter"),
        ("(c)", ORGANS, "liver", "letter"),
        ("[d].", ORGANS, "lung", "letter"),
        ("option b", ORGANS, "kidney", "letter"),
        ("Answer: A", ORGANS, "spleen", "letter"),
        ("E", ORGANS, None, "no such letter"),
        ("A) kidney", ORGANS, None, "letter and name differ"),
        ("C) something else", ORGANS, None, "what stands behind a letter must name the class"),
        ("A normal scan", CHEST, "normal", "an article is no letter"),
        ("B", ("A", "B"), "B", "classes called by letters are names"),
        ("A", ("B", "A"), "A", "classes called by letters are names"),
        ("T1", ("t1", "T1"), "T1", "exact spelling decides"),
        ("+", ("+", "-"), "+", "classes without words"),
        ("p. falciparum", ("p. vivax", "p. falciparum"), "p. falciparum", "a name that looks like a lettered option"),
        ("\u0130normal", CHEST, None, "an accent that stays a character of its own does not end a word"),
        (
            "\u0915\u093f\u0921\u0928\u0940",
            ("\u0915", "\u0915\u093f\u0921\u0928\u0940"),
            "\u0915\u093f\u0921\u0928\u0940",
            "Hindi vowel signs",
        ),
        ("x \u0915\u093f\u0921", ("\u0915", "\u0921"), None, "Hindi vowel signs do not end a word"),
        ("normal" + " " * MAX_ANSWER, CHEST, None, "too long to be an answer"),
    ],
)
def test_labels(text: str, classes: tuple[str, ...], label: str | None, why: str) -> None:
    assert parse_label(text, classes) == label, why
    assert read_label(f"<think>normal or pneumonia or liver?</think><answer>{text}</answer>", classes) == label, why


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("no pneumonia", "normal"),
        ("pneumonia is absent", "normal"),
        ("pneumonia", "pneumonia"),
        ("not normal", None),
        ("neither normal nor pneumonia", None),
        ("", None),
        ("no effusion", None),
    ],
)
def test_denying_the_other_of_two_classes_names_the_negative_one_if_declared(text: str, label: str | None) -> None:
    assert parse_label(text, CHEST, negative="normal") == label
    assert parse_label("no pneumonia", ("normal", "pneumonia", "effusion"), negative="normal") is None
    assert parse_label("no pneumonia", CHEST, negative="healthy") is None


def test_synonyms_and_letters() -> None:
    words = {"pneumonia": ("lung infection", "consolidation"), "normal": ("healthy",)}
    assert parse_label("lung infection", CHEST, words) == "pneumonia"
    assert parse_label("no lung infection", CHEST, words) is None
    assert parse_label("healthy, consolidation", CHEST, words) is None
    assert parse_label("lung infection", CHEST) is None
    assert parse_label("x", CHEST, {"pneumonia": ("x",), "normal": ("x",)}) is None
    assert parse_label("B", CHEST, letters=False) is None


@given(st.lists(NAME, min_size=1, max_size=6, unique=True))
def test_every_class_names_itself(classes: list[str]) -> None:
    for name in classes:
        assert parse_label(name, classes) == name


@given(
    st.lists(st.sampled_from(["nodule", "effusion", "normal", "rib fracture", "mass"]), min_size=2, max_size=5, unique=True),
    st.data(),
)
def test_naming_two_classes_names_none(classes: list[str], data: st.DataObject) -> None:
    first, second = data.draw(st.permutations(classes))[:2]
    link = data.draw(st.sampled_from([" or ", ", ", " ", ". ", "/", " and ", "\n", " but "]))
    assert parse_label(f"{first}{link}{second}", classes) is None


@given(
    st.sampled_from(["nodule", "effusion", "rib fracture"]),
    st.sampled_from(
        ["no", "not", "without", "no evidence of", "absence of", "free of", "negative for", "isn't", "non", "unlikely"]
    ),
    st.sampled_from(["", "signs of ", "any ", "acute "]),
)
def test_a_denied_name_never_counts(name: str, denial: str, filler: str) -> None:
    assert parse_label(f"{denial} {filler}{name}", ["nodule", "effusion", "rib fracture"]) is None


# Letters that are one letter in Unicode's plain form too: some decay into a letter and a sign, which separates words.
LETTERS = st.characters(categories=["L", "N"]).filter(lambda c: unicodedata.normalize("NFKC", c).isalnum())


@given(st.sampled_from(CHEST), st.text(LETTERS, min_size=1, max_size=5))
def test_letters_glued_to_a_name_make_another_word(name: str, glued: str) -> None:
    for text in (name + glued, glued + name):
        assert parse_label(text, CHEST, letters=False) in (None, *(c for c in CHEST if c == text.casefold()))


@pytest.mark.parametrize(
    ("text", "by_number", "by_name", "why"),
    [
        ("2", 2, 2, "number"),
        (" grade 2 ", 2, 2, "number in words"),
        ("moderate", None, 2, "name"),
        ("moderate (2)", 2, 2, "both agree"),
        ("mild (2)", 2, None, "they differ"),
        ("2 or 3", None, None, "two numbers"),
        ("grade 2 of 4", 2, 2, "the second number is the top of the scale"),
        ("mild or moderate", None, None, "two names"),
        ("-1", None, None, "no grade"),
        ("2.0", None, None, "no whole number"),
        ("5", None, None, "no such grade"),
        ("9" * 400, None, None, "no such grade"),
        ("not grade 2", None, None, "denied"),
        ("not moderate", None, None, "denied"),
        ("not 2 but 3", None, None, "two numbers"),
        ("none", None, 0, "a name that is a denial elsewhere"),
        ("none (0)", None, 0, "name and number"),
        ("II", 2, 2, "a Roman number and nothing else"),
        ("two", 2, 2, "a number word and nothing else"),
        ("\u0662", None, None, "only 0 to 9"),
        ("", None, None, "nothing"),
    ],
)
def test_grades(text: str, by_number: int | None, by_name: int | None, why: str) -> None:
    assert parse_grade(text, 5) == by_number, why
    assert parse_grade(text, GRADES) == by_name, why
    assert read_grade(f"<answer>{text}</answer>", GRADES) == by_name, why


def test_numbers_in_names_of_grades() -> None:
    zero_based, one_based = [f"grade {i}" for i in range(4)], [f"ISUP {i}" for i in range(1, 6)]
    assert [parse_grade(t, zero_based) for t in ("grade 2", "2", "grade 4")] == [2, 2, None]
    assert [parse_grade(t, one_based) for t in ("ISUP 2", "2", "isup-5")] == [1, None, 4]


@given(st.lists(NAME, min_size=2, max_size=6, unique_by=lambda s: s.casefold()), st.data())
def test_every_grade_names_itself(grades: list[str], data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(grades) - 1))
    found = parse_grade(grades[number], grades)
    assert found in (number, None)
    if grades[number].isalpha() and grades[number].isascii():
        assert found == number or len({g.casefold() for g in grades}) < len(grades)


@pytest.mark.parametrize(
    ("text", "boxes", "why"),
    [
        ("[1, 2, 3, 4]", [(1, 2, 3, 4)], "one box"),
        ("[1.5,-2,3e1,.4e1]", [(1.5, -2, 30, 4)], "any number"),
        ("[[1, 2, 3, 4], [5, 6, 7, 8]]", [(1, 2, 3, 4), (5, 6, 7, 8)], "a list"),
        ("[1, 2, 3, 4] and [5, 6, 7, 8]", [(1, 2, 3, 4), (5, 6, 7, 8)], "text between"),
        ('```json\n[{"bbox_2d": [1, 2, 3, 4], "label": "disc"}]\n```', [(1, 2, 3, 4)], "as Qwen writes them"),
        ("[]", [], "none"),
        (" [ ] ", [], "none"),
        ("None", [], "none"),
        ("", None, "no answer"),
        ("nothing", None, "no answer"),
        ("[1, 2, 3]", None, "three numbers"),
        ("[1, 2, 3, 4, 5]", None, "five numbers"),
        ("[1 2 3 4]", [(1, 2, 3, 4)], "no commas"),
        ("[3, 2, 1, 4]", None, "corners swapped"),
        ("[1, 4, 3, 2]", None, "corners swapped"),
        ("[1, 2, 3, nan]", None, "no number"),
        ("[1, 2, 3, inf]", None, "no number"),
        ("[1, 2, 3, 1e999]", None, "no finite number"),
        ("[1, 2, 3, 4], [5, 6]", None, "one bad box spoils the answer"),
        ("[1, 2, 3, 4], []", None, "one bad box spoils the answer"),
        ("[1, 2, 3, 4", None, "not closed"),
        ("(1, 2, 3, 4)", [(1, 2, 3, 4)], "other brackets"),
        ("[1, 2, 1, 2]", [(1, 2, 1, 2)], "no area, but a box"),
        ("[0, 0, 1, 1]" * (MAX_BOXES + 1), None, "box spam"),
    ],
)
def test_boxes(text: str, boxes: list[tuple[float, ...]] | None, why: str) -> None:
    assert parse_boxes(text) == boxes, why
    assert read_boxes([{"role": "assistant", "content": f"<answer>{text}</answer>"}]) == boxes, why


@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 4), max_size=8))
def test_written_boxes_are_read_back(corners: list[tuple[float, float, float, float]]) -> None:
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    text = f"[{', '.join(str(list(b)) for b in boxes)}]"
    assert parse_boxes(text) == boxes


@given(st.text(max_size=300), st.lists(st.text(max_size=10), max_size=4))
def test_whatever_is_written_something_sensible_is_read(text: str, classes: list[str]) -> None:
    assert read_label(text, classes) in (None, *classes)
    assert parse_label(text, classes, negative="normal") in (None, *classes)
    assert parse_grade(text, 5) in (None, 0, 1, 2, 3, 4)
    assert parse_grade(text, classes) in (None, *range(len(classes)))
    boxes = parse_boxes(text)
    assert boxes is None or all(x0 <= x1 and y0 <= y1 for x0, y0, x1, y1 in boxes)
    assert has_format(text) <= (think_text(text) is not None and answer_text(text) is not None)


@pytest.mark.parametrize(
    "text",
    [
        "no " * 300_000,
        "<answer>" * 100_000,
        "<think>" * 100_000 + "</think>" * 100_000,
        "<think></think>" * 100_000,
        "[" * 500_000,
        "[1, 2, 3, 4]" * 50_000,
        "pneumonia " * 390,
        "pneumonia not " * 280,
        "9" * 1_000_000,
        "[" + "9" * 3_900 + "]",
        "\ufdfa" * MAX_ANSWER,
    ],
)
def test_long_texts_take_no_time(text: str) -> None:
    started = time.process_time()
    for completion in (text, f"<answer>{text}</answer>", f"<think>a</think><answer>{text}</answer>"):
        has_format(completion)
        think_text(completion)
        read_label(completion, ["normal", "pneumonia", "no pneumonia at all"], negative="normal")
        read_grade(completion, GRADES)
        read_boxes(completion)
        parse_label(completion, CHEST)
    assert time.process_time() - started < 3
