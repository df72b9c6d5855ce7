"""The audit: broken rewards of public scripts fail it, ours pass it, and its figures are what was paid."""

from __future__ import annotations

from typing import Any

import pytest
from made_rows import KNOWLEDGE, classification, grading, localisation

from medcore.errors import ConfigError
from vrft_aug.audit import AuditSettings, StageAudit, audit_rows
from vrft_aug.audit.attacks import RIGHT, SPELLED, WRONG
from vrft_aug.rewards import Accuracy, BoxIou, Calibration, Format, MultiGradeFuzzy, Recitation, known_bad

X_RAYS = [classification(label, knowledge=KNOWLEDGE) for label in ("normal", "pneumonia")]
ORGANS = [classification(label, ("CT", "MR", "US")) for label in ("CT", "MR", "US")]
GRADES = [grading(grade) for grade in range(5)]
BOXES = [localisation((10, 20, 50, 60)), localisation((0, 0, 20, 20), (150, 50, 190, 100))]


def audit(rows: list[dict[str, Any]], *terms: tuple[Any, float]) -> StageAudit:
    return audit_rows("test", rows, {f"r{i}": term for i, term in enumerate(terms)})


def kinds_at_fault(found: StageAudit) -> set[str]:
    return {kind for kind in found.excess for fault in found.faults if f" {kind} (" in fault}


@pytest.mark.parametrize(
    ("reward", "rows", "attacks"),
    [
        (known_bad.substring, X_RAYS, {"empty", "all-labels", "negated", "substring", "copied-prompt"}),
        (known_bad.label_list, X_RAYS, {"all-labels", "negated", "copied-prompt"}),
        (known_bad.any_number, GRADES, {"all-labels", "negated", "copied-prompt"}),
        (known_bad.covered, BOXES, {"giant-box", "box-spam"}),
    ],
)
def test_broken_rewards_fail(reward: Any, rows: list[dict[str, Any]], attacks: set[str]) -> None:
    found = audit(rows, (reward, 1.0), (Format(), 1.0))
    assert attacks <= kinds_at_fault(found)
    assert any(fault.startswith("sum: ") for fault in found.faults)


def test_a_reward_that_refuses_the_right_answer_fails() -> None:
    found = audit(ORGANS, (known_bad.one_letter, 1.0), (Format(), 1.0))
    assert found.faults == ("sum: an honest right answer earns 1, an honest wrong one 1.33",)  # the C of CT is taken for option C
    named = audit(X_RAYS, (known_bad.one_letter, 1.0))
    assert named.faults[0].startswith("r0: an honest right answer earns 0, an honest wrong one 0")


def test_a_reward_that_tells_nothing_apart_fails() -> None:
    assert audit(X_RAYS, (known_bad.format_only, 1.0)).faults == ("r0: an honest right answer earns 1, an honest wrong one 1",)
    assert audit(GRADES, (BoxIou(), 1.0)).faults == ("r0: no honest answer can be judged",)


@pytest.mark.parametrize(
    ("rows", "terms"),
    [
        (X_RAYS, [(Accuracy(), 1.0), (Format(), 1.0)]),
        (X_RAYS, [(Accuracy(negative="normal"), 1.0), (Format(), 0.5), (Recitation(), -0.2)]),
        (ORGANS, [(Accuracy(), 1.0), (Format(), 1.0)]),
        (GRADES, [(MultiGradeFuzzy(), 1.0), (Format(), 1.0)]),
        (GRADES, [(MultiGradeFuzzy(kernel="linear"), 1.0), (Accuracy(), 1.0), (Format(), 1.0)]),
        (BOXES, [(BoxIou(), 1.0), (Format(), 1.0)]),
        (BOXES, [(BoxIou(score="giou"), 1.0), (Format(), 1.0)]),
        (BOXES, [(BoxIou(score="f1"), 1.0), (Format(), 1.0)]),
    ],
)
def test_our_rewards_pass(rows: list[dict[str, Any]], terms: list[tuple[Any, float]]) -> None:
    assert audit(rows, *terms).faults == ()


@pytest.mark.parametrize("form", ["tags", "thinking", "reasoning", "boxed", "line", "any"])
def test_our_rewards_pass_in_every_form_and_with_a_confidence(form: Any) -> None:
    terms = {
        "accuracy": (Accuracy(negative="normal", form=form), 1.0),
        "calibration": (Calibration(negative="normal", form=form), 0.5),
        "format": (Format(form=form, confidence=True, strict=form != "line"), 0.5),
    }
    found = audit_rows("test", X_RAYS, terms, form=form, confidence=0.9)
    assert found.faults == ()
    assert found.earned[RIGHT]["accuracy"] == 1.0
    assert found.earned[RIGHT]["calibration"] == pytest.approx(0.5 * (0.5 + 0.5 * 0.99))


def test_rewarding_recitation_pays_for_copying() -> None:
    assert "copied-knowledge" in kinds_at_fault(audit(X_RAYS, (Accuracy(), 1.0), (Format(), 1.0), (Recitation(), 0.5)))


def test_the_figures_are_what_was_paid() -> None:
    found = audit(GRADES, (MultiGradeFuzzy(), 2.0), (Format(), 0.5))
    wrong = 2 * sum(0.25**d for d in (4, 3, 2, 3, 4)) / 5
    assert found.rewards == ("r0", "r1", "sum")
    assert found.earned[RIGHT] == {"r0": 2.0, "r1": 0.5, "sum": 2.5}
    assert found.earned[SPELLED]["sum"] == 2.5
    assert found.earned[WRONG]["sum"] == pytest.approx(wrong + 0.5)
    assert found.excess["empty"]["r0"] == pytest.approx(-wrong)
    assert found.table()[0] == [RIGHT, "2.00", "0.50", "2.50"]
    assert found.as_dict()["stage"] == "test"


def test_leaving_out_what_is_punished_is_no_fraud_unless_the_sum_pays_it() -> None:
    found = audit(X_RAYS, (Accuracy(), 1.0), (Recitation(similarity="token_f1"), -3.0))
    assert {fault.partition(":")[0] for fault in found.faults} == {"sum"}
    assert "empty" in kinds_at_fault(found)


def test_settings() -> None:
    for wrong in ({"samples": 0}, {"tolerance": -0.1}, {"tolerance": 1.0}):
        with pytest.raises(ConfigError, match="audit: has samples"):
            AuditSettings(**wrong)  # type: ignore[arg-type]
