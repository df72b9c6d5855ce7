from __future__ import annotations

from pathlib import Path

import pytest

from medcore.errors import ConfigError, InputError
from vrft_aug.knowledge import MAX_CHARACTERS, Knowledge, KnowledgeSettings, Provenance, check_no_leak, load_knowledge

ORIGIN = Provenance(author="A. Radiologist", model="none", date="2026-01-31", licence="CC-BY-4.0")
FILE = """\
task: Chest X-rays of children
classes:
  normal: clear lungs
  pneumonia: |
    white patches
    or hazy areas
provenance: {author: A, model: model-x 2, date: 2026-01-31, licence: CC0-1.0, reviewed_by: B}
"""


def test_a_file_becomes_one_line_for_all_classes(tmp_path: Path) -> None:
    path = tmp_path / "k.yaml"
    path.write_text(FILE)
    knowledge = load_knowledge(path)
    assert knowledge.provenance.date == "2026-01-31"
    assert knowledge.provenance.reviewed_by == "B"
    assert (
        knowledge.text(["normal", "pneumonia"])
        == "Chest X-rays of children. normal: clear lungs. pneumonia: white patches or hazy areas."
    )
    assert knowledge.text(["pneumonia", "normal"]).index("pneumonia:") < knowledge.text(["pneumonia", "normal"]).index("normal:")
    assert knowledge.text() == "Chest X-rays of children."


@pytest.mark.parametrize("key", ["author", "model", "date", "licence"])
def test_provenance_is_required(tmp_path: Path, key: str) -> None:
    path = tmp_path / "k.yaml"
    for damaged in (FILE.replace(f"{key}:", f"x{key}:"), FILE.replace(f"{key}: ", f"{key}: '', x: ")):
        path.write_text(damaged)
        with pytest.raises(ConfigError, match=key):
            load_knowledge(path)
    path.write_text("task: a text\n")
    with pytest.raises(ConfigError, match="provenance: is required"):
        load_knowledge(path)
    path.write_text("task: a\nprovenance: {author: A, model: none, date: yesterday, licence: CC0-1.0}\n")
    with pytest.raises(ConfigError, match="'yesterday' is not a date"):
        load_knowledge(path)


def test_sources_and_the_reviewer_are_read_in_every_spelling(tmp_path: Path) -> None:
    path = tmp_path / "k.yaml"
    for source, expected in (
        ("A textbook", ("A textbook",)),
        ("[A, 'https://example.org']", ("A", "https://example.org")),
        ("[]", ()),
    ):
        path.write_text(FILE.replace("reviewed_by: B", f"source: {source}, reviewer: B"))
        origin = load_knowledge(path).provenance
        assert (origin.source, origin.reviewed_by) == (expected, "B")
    path.write_text(FILE)
    assert load_knowledge(path).provenance.source == ()
    for damaged, match in (
        ("source: ' ', reviewed_by: B", "source: holds an empty text"),
        ("source: 5, reviewed_by: B", r"provenance\.source"),
        ("reviewer: A, reviewed_by: B", "names reviewer and reviewed_by; keep one of them"),
        ("reviewr: A", "did you mean 'reviewed_by'"),
    ):
        path.write_text(FILE.replace("reviewed_by: B", damaged))
        with pytest.raises(ConfigError, match=match):
            load_knowledge(path)


def test_class_texts_are_for_all_classes_or_for_none() -> None:
    knowledge = Knowledge(provenance=ORIGIN, classes={"normal": "clear", "pneumonia": "white"})
    with pytest.raises(ConfigError, match=r"lacks effusion; write a text for every class or for none"):
        knowledge.text(["normal", "pneumonia", "effusion"])
    with pytest.raises(ConfigError, match=r"classes\.pneumonia: is unknown.*valid are normal, pneumonie; did you mean 'pneumonie'"):
        knowledge.text(["normal", "pneumonie"])
    with pytest.raises(ConfigError, match="neither a task text nor class texts"):
        Knowledge(provenance=ORIGIN, task=" ")
    with pytest.raises(ConfigError, match=r"classes\.normal: is empty"):
        Knowledge(provenance=ORIGIN, classes={"normal": " "})
    with pytest.raises(ConfigError, match="more than 20000"):
        Knowledge(provenance=ORIGIN, task="a" * (MAX_CHARACTERS + 1)).text()


def test_knowledge_that_tells_samples_apart_is_a_leak() -> None:
    rows = [{"task": "classification", "sample_id": str(i), "knowledge": "the same", "label": str(i)} for i in range(4)]
    check_no_leak(rows)
    check_no_leak([row | {"task": f"t{i}", "knowledge": str(i)} for i, row in enumerate(rows)])
    check_no_leak([row | {"knowledge": None} for row in rows])
    for other in ("another", None):
        with pytest.raises(InputError, match="sample 3: carries other knowledge"):
            check_no_leak([*rows[:3], rows[3] | {"knowledge": other}])


def test_when_it_applies() -> None:
    for apply_at, train, held_out in (("both", True, True), ("train", True, False), ("eval", False, True)):
        settings = KnowledgeSettings(file=Path("k.yaml"), apply_at=apply_at)
        assert (settings.applies("train"), settings.applies("held_out")) == (train, held_out)
