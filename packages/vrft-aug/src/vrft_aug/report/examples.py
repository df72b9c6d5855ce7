"""What the policy wrote: answers to held-out images, and completions of the first and last rounds of learning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medcore.report import Report
from vrft_aug.completions import LoggedStage
from vrft_aug.evaluation import EvaluationResult
from vrft_aug.parsing import completion_text
from vrft_aug.report.figures import examples_figure, images_figure, pick
from vrft_aug.report.words import answer_words, truth_words


def add_examples(page: Report, result: EvaluationResult, rows: Any | None) -> None:
    """Add a section with a few answers of the final policy to held-out images.

    Parameters
    ----------
    page
        The page.
    result
        The final policy's result.
    rows
        The set's rows with images, None where the data are not at hand.
    """
    chosen = pick(result.predictions)
    page.section(f"Examples: {result.name}")
    if rows is None:
        page.text("The images are not shown, for the data are not at hand.")
    else:
        page.figure(
            examples_figure([rows[i]["image"] for i in chosen], [result.predictions[i] for i in chosen]),
            "Held-out images with truth and answer of the final policy, wrong ones first; true boxes green, answered boxes dashed.",
        )
    table = [[p["sample_id"], truth_words(p), answer_words(p), p["completion"]] for p in (result.predictions[i] for i in chosen)]
    page.table(["image", "truth", "answer", "completion"], table)


def add_completions(page: Report, table: LoggedStage, rows: Any | None) -> None:
    """Add what one group of the first and one of the last round of a stage wrote and earned.

    Parameters
    ----------
    page
        The page.
    table
        The stage's table of completions.
    rows
        Its training rows with images, None where the data are not at hand.
    """
    groups = sample_groups(table)
    if not groups:
        return
    page.text(
        "Of the first and of the last round, the group with the widest spread of advantages: its best and its worst completion. "
        "Rewards are the raw values, before weights and hooks."
    )
    if rows is not None:
        place = {name: i for i, name in enumerate(rows["sample_id"])}
        known = [group for group in groups if group[0]["sample_id"] in place]
        if known:
            images = [rows[place[group[0]["sample_id"]]]["image"] for group in known]
            asked = [table.rows[group[0]["row"]] for group in known]
            boxes = [(row.get("boxes") or []) if row["task"] == "localisation" else [] for row in asked]
            titles = [_title(group[0], row) for group, row in zip(known, asked, strict=True)]
            page.figure(images_figure(images, titles, boxes), "Images that were asked about, with the truth.")
    cells = []
    for group in groups:
        for entry in (group[0], group[-1]):
            rewards = ", ".join(f"{name} {_value(value)}" for name, value in entry["rewards"].items())
            text = completion_text(entry["completion"])
            cells.append([entry["step"], entry["sample_id"], text, rewards, _value(entry["advantage"])])
    page.table(["step", "image", "completion", "rewards", "advantage"], cells)


def sample_groups(table: LoggedStage) -> list[list[dict[str, Any]]]:
    """Of the first and the last round the group with the widest spread of advantages, its completions from best to worst."""
    rounds = table.rounds() if table.entries else []
    found = []
    for part in dict.fromkeys([*rounds[:1], *rounds[-1:]]):
        n = table.facts.generations
        groups = [table.entries[i : i + n] for i in range(part.start, part.stop, n)]
        widest = max(groups, key=lambda group: max(_advantage(e) for e in group) - min(_advantage(e) for e in group))
        found.append(sorted(widest, key=_advantage, reverse=True))
    return found


def _advantage(entry: Mapping[str, Any]) -> float:
    return 0.0 if entry["advantage"] is None else float(entry["advantage"])


def _title(entry: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    step = f"step {entry['step']}"
    return step if row["task"] == "localisation" else f"{step}: {truth_words(dict(row))}"


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
