"""The rewards of a run: on which completions they failed, and whether they pay for what they should not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medcore.atomic import write_json
from medcore.errors import MedcoreError
from medcore.report import Report
from vrft_aug.audit import AuditSettings, StageAudit, audit_stage
from vrft_aug.ledger import Ledger
from vrft_aug.recipe import Recipe
from vrft_aug.report.reading import AUDIT


def write_audit(folder: Path, recipe: Recipe, train: Mapping[str, Any]) -> dict[str, Any]:
    """Attack the rewards of a run and write ``audit.json``; a reward that cannot be attacked is no reason to lose a run's report.

    Parameters
    ----------
    folder
        The run's folder.
    recipe
        Its recipe; ``evaluation.audit_samples`` says how many images are used.
    train
        Training rows by stage.

    Returns
    -------
    dict
        ``stages`` as :meth:`vrft_aug.audit.StageAudit.as_dict` gives them, or the ``reason`` why there are none.
    """
    settings = AuditSettings(samples=recipe.evaluation.audit_samples, seed=recipe.evaluation.seed)
    found: dict[str, Any]
    try:
        found = {"stages": [audit_stage(stage, train[stage.name], settings).as_dict() for stage in recipe.stages]}
    except MedcoreError as error:
        found = {"stages": [], "reason": str(error)}
    write_json(folder / AUDIT, found)
    return found


def add_rewards(page: Report, ledger: Ledger, audit: Mapping[str, Any]) -> None:
    """Add the section on the rewards."""
    failures = [
        [stage, name, reason, count]
        for stage, record in ledger.stages.items()
        for name, reasons in record.unjudged.items()
        for reason, count in reasons.items()
    ]
    if not failures and not audit:
        return
    page.section("Rewards")
    if failures:
        page.table(["stage", "reward", "failed by", "completions"], failures, "Completions that a reward failed on.")
    else:
        page.text("No reward failed on any completion.")
    if audit.get("reason"):
        page.text(f"The rewards could not be attacked: {audit['reason']}.")
    for facts in audit.get("stages", ()):
        found = StageAudit.from_dict(facts)
        page.table(
            ["completion", *found.rewards],
            found.table(),
            f"{found.name}: what honest answers and attacks earn on {found.samples} training images, times the weight; in brackets what "
            "an attack earns more than it deserves.",
        )
        page.text("\n\n".join(found.faults) or "No attack earns more than it deserves.")


def add_audit_statuses(page: Report, audit: Mapping[str, Any]) -> None:
    """Add a line on each stage's audit to the top of the page."""
    for facts in audit.get("stages", ()):
        faults = len(facts["faults"])
        if faults:
            page.status("warned", f"{facts['stage']}: {faults} attacks or faults of the rewards, see Rewards.")
        else:
            page.status("passed", f"{facts['stage']}: no attack on the rewards earns more than it deserves.")
