"""The report page of a run, and the same facts as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medcore.atomic import write_json
from medcore.config import to_mapping
from medcore.report import Report
from vrft_aug.evaluation import EvaluationResult
from vrft_aug.ledger import Ledger
from vrft_aug.report.curves import add_curves
from vrft_aug.report.examples import add_completions, add_examples
from vrft_aug.report.reading import RunFacts
from vrft_aug.report.results import add_results
from vrft_aug.report.rewards import add_audit_statuses, add_rewards
from vrft_aug.report.words import change, interval, main_word

REPORT, FACTS = "report.html", "report.json"


def write_report(
    facts: RunFacts,
    *,
    train: Mapping[str, Any] | None = None,
    held_out: Mapping[str, Any] | None = None,
    output: Path | None = None,
) -> dict[str, Any]:
    """Write ``report.html`` and ``report.json``.

    Parameters
    ----------
    facts
        What the run's folder holds, see :func:`vrft_aug.report.read_run`.
    train, held_out
        Rows with images by stage; without them the page has no images.
    output
        Existing folder to write to, by default the run's.

    Returns
    -------
    dict
        The content of ``report.json``.
    """
    folder, ledger, evaluations = output or facts.folder, facts.ledger, facts.evaluations
    ends = [evaluations[end] for end in ("start", "final") if end in evaluations]
    changes = [change(a, b) for a, b in zip(*ends, strict=True)] if len(ends) == 2 else []
    summary = {
        "evaluations": {policy: [r.as_dict() for r in found] for policy, found in evaluations.items()},
        "changes": changes,
        "stages": {name: to_mapping(stage) for name, stage in ledger.stages.items()},
        "audit": dict(facts.audit),
        "recipe": ledger.recipe,
    }
    page = Report("Reinforcement fine-tuning", " → ".join(ledger.stages))
    _statuses(page, facts, changes)
    if evaluations:
        add_results(page, evaluations)
    for name, history in facts.logs.items():
        add_curves(page, name, history)
        if name in facts.tables:
            add_completions(page, facts.tables[name], (train or {}).get(name))
    add_rewards(page, ledger, facts.audit)
    _budgets(page, ledger, evaluations)
    for result in evaluations.get("final", ()):
        add_examples(page, result, (held_out or {}).get(result.name))
    _data(page, facts)
    page.provenance(facts.record)
    page.write(folder / REPORT)
    write_json(folder / FACTS, summary)
    return summary


def _statuses(page: Report, facts: RunFacts, changes: Sequence[dict[str, Any]]) -> None:
    if not facts.evaluations:
        page.status("warned", "The run is not finished: nothing has been judged on held-out images.")
    for after, found in zip(facts.evaluations.get("final", ()), changes, strict=bool(changes)):
        difference = found["difference"]
        low, high = difference["low"], difference["high"]
        shown = f"{after.name}: {main_word(after.task)} {interval(after.main)} on {len(after.predictions)} held-out images"
        if low is None or high is None or difference["value"] is None:
            page.status("info", f"{shown}.")
            continue
        verdict = "better" if low > 0 else "worse" if high < 0 else "not clearly different"
        state = {"better": "passed", "worse": "warned"}.get(verdict, "info")
        change_text = f"{difference['value']:+.3f} [{low:+.3f}, {high:+.3f}]"
        page.status(state, f"{shown}; after reinforcement learning {verdict} than before it ({change_text}).")  # type: ignore[arg-type]
    for result in facts.evaluations.get("final", ()):
        _reliance(page, result)
    unjudged = {f"{stage}, {name}": sum(r.values()) for stage, s in facts.ledger.stages.items() for name, r in s.unjudged.items()}
    for name, count in unjudged.items():
        page.status("warned", f"The reward of {name} failed on {count} completions, which did not count.")
    add_audit_statuses(page, facts.audit)


def _reliance(page: Report, result: EvaluationResult) -> None:
    """Say whether a policy needs its picture."""
    probe = result.probes.get("shuffled")
    if probe is None or probe.reliance.value is None:
        return
    found = probe.reliance
    seen = found.low is not None and found.low > 0
    said = "so that it looks at the picture" if seen else "so that it may answer without looking at the picture"
    lost = f"the policy loses {interval(found)} of its {main_word(result.task)}"
    page.status("passed" if seen else "warned", f"{result.name}: with other samples' images {lost}, {said}.")


def _budgets(page: Report, ledger: Ledger, evaluations: Mapping[str, Sequence[EvaluationResult]]) -> None:
    page.section("What it took")
    keys = ("steps", "images", "samples", "prompts", "completions", "completion_tokens")
    table: list[list[object]] = [
        [name, *(getattr(s, key) or None for key in keys), s.wall_time_s] for name, s in ledger.stages.items()
    ]
    if len(table) > 1:
        stages = ledger.stages.values()
        total = [sum(getattr(s, key) for s in stages) or None for key in keys]
        # The same images may serve several stages.
        table.append(["all", total[0], None, *total[2:], round(sum(s.wall_time_s for s in stages), 3)])
    for policy, found in evaluations.items():
        table.append([f"judging: {policy}", *[None] * len(keys), round(sum(_judging_time(r) for r in found), 3)])
    page.table(
        ["stage", "steps", "images", "answers seen", "prompts", "completions", "tokens", "time [s]"],
        table,
        "Images in the data; written answers seen in the warm start; prompts, completions and their tokens generated.",
    )


def _judging_time(result: EvaluationResult) -> float:
    return result.wall_time_s + sum(p.result.wall_time_s for p in result.probes.values() if p.result is not None)


def _data(page: Report, facts: RunFacts) -> None:
    """Fingerprints of the data and the origin of the knowledge."""
    page.section("Data and knowledge")
    page.table(["rows", "SHA-256 of everything but the pixels"], [[name, digest] for name, digest in facts.ledger.data.items()])
    origins = facts.record.get("knowledge") or {}
    if not origins:
        page.text("No knowledge was put into the prompts.")
        return
    keys = ("author", "model", "date", "licence", "reviewed_by", "apply_at", "sha256")
    page.table(
        ["stage", "author", "language model", "date", "licence", "reviewed by", "in prompts of", "SHA-256"],
        [[stage, *(origin.get(key) for key in keys)] for stage, origin in origins.items()],
        "Origin of the knowledge in the prompts.",
    )
