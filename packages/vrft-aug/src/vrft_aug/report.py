"""The report page of a run, and the same facts as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medcore.atomic import write_json
from medcore.config import to_mapping
from medcore.metrics import MetricResult, compare_methods
from medcore.report import Report
from medcore.report.figures import confusion_figure, training_figure
from vrft_aug.evaluation import EvaluationResult, Prediction
from vrft_aug.ledger import WARM_START, Ledger

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LABELS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "quadratic_weighted_kappa": "weighted kappa",
    "grade_mae": "grade error",
    "mean_iou": "mean IoU",
    "format": "right format",
}
"""Metrics in words."""
_EXAMPLES = 6
_BAD, _GOOD, _TRUE = "#D55E00", "#0072B2", "#009E73"


def interval(result: MetricResult, digits: int = 3) -> str:
    """A metric as ``0.912 [0.876, 0.945]``, or the reason why there is none."""
    if result.value is None:
        return result.reason or "undefined"
    # No-break spaces keep an interval on one line of a table.
    ends = (
        ""
        if result.low is None or result.high is None
        else f"\N{NO-BREAK SPACE}[{result.low:.{digits}f},\N{NO-BREAK SPACE}{result.high:.{digits}f}]"
    )
    return f"{result.value:.{digits}f}{ends}"


def scores(result: EvaluationResult) -> list[float]:
    """One score for each image: 1 if right, else 0; for boxes the IoU (0 where there is nothing to find)."""
    key = "iou" if result.task == "localisation" else "correct"
    return [float(p[key] or 0.0) for p in result.predictions]


def change(before: EvaluationResult, after: EvaluationResult) -> dict[str, Any]:
    """The difference of two policies on the same images, paired by image, with its interval and a sign-flip test."""
    groups = [p.get("subject") or p["sample_id"] for p in after.predictions]
    level = after.main.level or 0.95
    found = compare_methods({"before": scores(before), "after": scores(after)}, "before", groups, level=level)[0]
    return {"set": after.name, "difference": found.difference.as_dict(), "p_value": found.p_value}


def write_report(
    folder: Path,
    ledger: Ledger,
    evaluations: Mapping[str, Sequence[EvaluationResult]],
    record: Mapping[str, Any],
    *,
    logs: Mapping[str, Path],
    rows: Mapping[str, Any],
) -> dict[str, Any]:
    """Write ``report.html`` and ``report.json``.

    Parameters
    ----------
    folder
        The run's folder.
    ledger
        What was done.
    evaluations
        By policy (``start``, ``final``), a result for each held-out set.
    record
        The run's provenance.
    logs
        By stage, the file with its training log.
    rows
        By held-out set, its rows with images.

    Returns
    -------
    dict
        The content of ``report.json``.
    """
    changes = [change(a, b) for a, b in zip(evaluations["start"], evaluations["final"], strict=True)]
    summary = {
        "evaluations": {policy: [r.as_dict() for r in found] for policy, found in evaluations.items()},
        "changes": changes,
        "stages": {name: to_mapping(stage) for name, stage in ledger.stages.items()},
        "recipe": ledger.recipe,
    }
    page = Report("Reinforcement fine-tuning", " → ".join(ledger.stages))
    _statuses(page, evaluations, changes, ledger)
    _results(page, evaluations)
    for name, path in logs.items():
        history = json.loads(path.read_text(encoding="utf-8"))
        _curves(page, name, history)
    _budgets(page, ledger)
    for result in evaluations["final"]:
        _examples(page, result, rows[result.name])
    page.provenance(record)
    page.write(folder / "report.html")
    write_json(folder / "report.json", summary)
    return summary


def _statuses(
    page: Report, evaluations: Mapping[str, Sequence[EvaluationResult]], changes: Sequence[dict[str, Any]], ledger: Ledger
) -> None:
    for after, found in zip(evaluations["final"], changes, strict=True):
        difference = found["difference"]
        low, high = difference["low"], difference["high"]
        what = "mean IoU" if after.task == "localisation" else "accuracy"
        shown = f"{after.name}: {what} {interval(after.main)} on {len(after.predictions)} held-out images"
        if low is None or high is None or difference["value"] is None:
            page.status("info", f"{shown}.")
            continue
        verdict = "better" if low > 0 else "worse" if high < 0 else "not clearly different"
        state = {"better": "passed", "worse": "warned"}.get(verdict, "info")
        change_text = f"{difference['value']:+.3f} [{low:+.3f}, {high:+.3f}]"
        page.status(state, f"{shown}; after reinforcement learning {verdict} than before it ({change_text}).")  # type: ignore[arg-type]
    unjudged = {f"{stage}, {name}": sum(r.values()) for stage, s in ledger.stages.items() for name, r in s.unjudged.items()}
    for name, count in unjudged.items():
        page.status("warned", f"The reward of {name} failed on {count} completions, which did not count.")


def _results(page: Report, evaluations: Mapping[str, Sequence[EvaluationResult]]) -> None:
    page.section("Held-out results")
    level = evaluations["final"][0].main.level or 0.95
    page.text(
        f"The policy answers each image once, greedily. Brackets hold {level:.0%} intervals from resampling subjects. An answer "
        "that cannot be read counts as wrong and, for grades, as the grade farthest from the truth. Weighted kappa is quadratic; grade "
        "error is the mean distance in grades."
    )
    table = []
    for before, after in zip(evaluations["start"], evaluations["final"], strict=True):
        for key, metric in after.metrics.items():
            table.append([f"{after.name}: {LABELS[key]}", interval(before.metrics[key]), interval(metric), len(after.predictions)])
    page.table(["held-out set and metric", "before reinforcement learning", "after", "images"], table)
    for result in evaluations["final"]:
        if result.confusion is None:
            continue
        matrix = np.array(result.confusion)
        names = [*result.classes, *(["unreadable"] if matrix.shape[1] > len(result.classes) else [])]
        page.figure(
            confusion_figure(matrix, names), f"{result.name}: answers of the final policy against the truth, counts of images."
        )


def _curves(page: Report, name: str, history: Sequence[Mapping[str, Any]]) -> None:
    panels = warm_start_panels(history) if name == WARM_START else reward_panels(history)
    panels = {title: curves for title, curves in panels.items() if curves}
    if not panels:
        return
    page.section(f"Training: {name}")
    steps = max(int(entry["step"]) for entry in history)
    window = max(1, steps // 10)
    pale = f" Pale lines are single steps, strong lines means over {window} steps." if window > 1 else ""
    page.figure(training_figure(panels, window=window), f"Course of the stage over {steps} steps.{pale}")


def warm_start_panels(history: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What is drawn for the warm start."""
    return {"loss": _curve(history, {"loss": "loss"}), "token accuracy": _curve(history, {"mean_token_accuracy": "token accuracy"})}


def reward_panels(history: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What is drawn for a stage of reinforcement learning."""
    names = [
        k.split("/")[1] for k in dict.fromkeys(k for e in history for k in e) if k.startswith("rewards/") and k.endswith("/mean")
    ]
    return {
        "rewards (mean)": _curve(history, {f"rewards/{n}/mean": n for n in names}),
        "total reward": _curve(history, {"reward": "total"}),
        "groups without spread (share)": _curve(history, {"frac_reward_zero_std": "share"}),
        "entropy [nats a token]": _curve(history, {"entropy": "entropy"}),
        "length [tokens]": _curve(history, {"completions/mean_length": "mean"}),
        "KL to the reference": _curve(history, {"kl": "KL"}),
    }


def _curve(history: Sequence[Mapping[str, Any]], keys: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for key, name in keys.items():
        points = [(e["step"], e[key]) for e in history if e.get(key) is not None]
        if points:
            found[name] = ([p[0] for p in points], [p[1] for p in points])
    return found


def _budgets(page: Report, ledger: Ledger) -> None:
    page.section("What it took")
    columns = ["stage", "steps", "images", "answers seen", "prompts", "completions", "tokens", "time [s]"]
    table = [
        [
            name,
            s.steps,
            s.images,
            s.samples or None,
            s.prompts or None,
            s.completions or None,
            s.completion_tokens or None,
            s.wall_time_s,
        ]
        for name, s in ledger.stages.items()
    ]
    page.table(
        columns,
        table,
        "Images in the data; written answers seen in the warm start; prompts, completions and their tokens generated.",
    )


def _examples(page: Report, result: EvaluationResult, rows: Any) -> None:
    chosen = pick(result.predictions)
    page.section(f"Examples: {result.name}")
    page.figure(
        examples_figure([rows[i]["image"] for i in chosen], [result.predictions[i] for i in chosen]),
        "Held-out images with truth and answer of the final policy, wrong ones first; true boxes green, answered boxes dashed.",
    )
    table = [[p["sample_id"], _truth(p), _answer(p), p["completion"]] for p in (result.predictions[i] for i in chosen)]
    page.table(["image", "truth", "answer", "completion"], table)


def pick(predictions: Sequence[Prediction]) -> list[int]:
    """Indices of a few examples: at most half of them wrong, each of another class as far as possible."""
    wrong = [i for i, p in enumerate(predictions) if not _right(p)]
    right = [i for i, p in enumerate(predictions) if _right(p)]
    some = _varied(wrong, predictions, _EXAMPLES // 2)
    return [*some, *_varied(right, predictions, _EXAMPLES - len(some))]


def _varied(indices: Sequence[int], predictions: Sequence[Prediction], n: int) -> list[int]:
    seen: dict[Any, list[int]] = {}
    for i in indices:
        seen.setdefault(_truth(predictions[i]) if predictions[i]["task"] != "localisation" else i, []).append(i)
    rounds = [i for level in range(n) for group in seen.values() for i in group[level : level + 1]]
    return rounds[:n]


def _right(prediction: Prediction) -> bool:
    if prediction["task"] == "localisation":
        return (prediction["iou"] is None) or prediction["iou"] >= 0.5
    return bool(prediction["correct"])


def _truth(prediction: Prediction) -> str:
    if prediction["task"] == "localisation":
        return _boxes(prediction.get("boxes") or [])
    if prediction["task"] == "grading":
        return f"grade {prediction['grade']}"
    return str(prediction["label"])


def _answer(prediction: Prediction) -> str:
    if prediction["answer"] is None:
        return "unreadable"
    if prediction["task"] == "localisation":
        return _boxes(prediction["answer"])
    return f"{'grade ' if prediction['task'] == 'grading' else ''}{prediction['answer']}"


def _boxes(boxes: Sequence[Sequence[float]]) -> str:
    return ", ".join("[" + ", ".join(f"{v:.0f}" for v in box) + "]" for box in boxes) or "none"


def examples_figure(images: Sequence[Any], predictions: Sequence[Prediction]) -> Figure:
    """Images with their truth and answer; boxes are drawn."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    columns = min(3, len(images))
    lines = -(-len(images) // columns)
    figure = Figure(figsize=(2.9 * columns, 2.9 * lines), layout="constrained")
    for i, (image, prediction) in enumerate(zip(images, predictions, strict=True)):
        axis = figure.add_subplot(lines, columns, i + 1)
        axis.imshow(image.convert("RGB"), interpolation="nearest")
        axis.set_axis_off()
        for boxes, colour, dash in ((prediction.get("boxes") or [], _TRUE, "-"), (_answered_boxes(prediction), _BAD, "--")):
            for x0, y0, x1, y1 in boxes:
                outline = Rectangle(
                    (x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linestyle=dash, linewidth=1.8
                )
                axis.add_patch(outline)
        if prediction["task"] == "localisation":
            text = "nothing there" if prediction["iou"] is None else f"IoU {prediction['iou']:.2f}"
        else:
            text = f"{_truth(prediction)}, answered {_answer(prediction)}"
        axis.set_title(text, fontsize=9, color=_GOOD if _right(prediction) else _BAD)
    return figure


def _answered_boxes(prediction: Prediction) -> Sequence[Sequence[float]]:
    return prediction["answer"] or [] if prediction["task"] == "localisation" else []
