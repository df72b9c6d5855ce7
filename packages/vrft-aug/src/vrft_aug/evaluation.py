"""Judging a policy on held-out images: greedy answers, the task's metrics with intervals over subjects, every prediction kept."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medcore.atomic import write_json, write_text
from medcore.config import to_mapping
from medcore.errors import InputError
from medcore.metrics import MetricResult, cluster_interval, confusion_matrix, grade_mae, mean_iou, quadratic_weighted_kappa
from vrft_aug import coordinates, parsing
from vrft_aug.recipe import EvaluationSettings

Prediction = dict[str, Any]
MEASURES = {
    "localisation": ("mean_iou", "format"),
    "classification": ("accuracy", "balanced_accuracy", "format"),
    "grading": ("accuracy", "balanced_accuracy", "quadratic_weighted_kappa", "grade_mae", "format"),
}
"""Metrics of each task, the main one first."""


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """What one policy did on one held-out set.

    Attributes
    ----------
    name, task
        The data's stage and task.
    metrics
        By name, with intervals that resample subjects.
    predictions
        One for each image, in the order of the rows: truth, completion, what was read from it, and whether it is right.
    classes, confusion
        Names and counts of (true, answered) classes; a last column counts unreadable answers. None for boxes.
    wall_time_s
        Seconds of generation.
    """

    name: str
    task: str
    metrics: dict[str, MetricResult]
    predictions: list[Prediction] = field(repr=False)
    classes: tuple[str, ...] = ()
    confusion: list[list[int]] | None = None
    wall_time_s: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Everything but the predictions, JSON-ready."""
        return {
            "name": self.name,
            "task": self.task,
            "n": len(self.predictions),
            "metrics": {name: result.as_dict() for name, result in self.metrics.items()},
            "classes": list(self.classes),
            "confusion": self.confusion,
            "wall_time_s": round(self.wall_time_s, 3),
        }

    @property
    def main(self) -> MetricResult:
        """The task's main metric: accuracy, or mean IoU for boxes."""
        return self.metrics[MEASURES[self.task][0]]


def evaluate_policy(
    model: Any, processor: Any, rows: Any, settings: EvaluationSettings, *, name: str = "held-out"
) -> EvaluationResult:
    """Let a policy answer held-out rows greedily and measure the answers.

    Parameters
    ----------
    model, processor
        The policy.
    rows
        Rows of one task, see :func:`vrft_aug.data.load_rows`.
    settings
        Batch size, length, level and number of resamples.
    name
        Name of the result.

    Raises
    ------
    InputError
        If there are no rows or they mix tasks.
    """
    tasks = sorted(set(rows["task"])) if len(rows) else []
    if len(tasks) != 1:
        raise InputError(
            f"evaluation of {name}", f"has {len(rows)} rows of the tasks {', '.join(tasks) or 'none'}", "give rows of one task"
        )
    started = time.perf_counter()
    completions = generate(model, processor, rows, settings)
    took = time.perf_counter() - started
    facts = rows.remove_columns([c for c in ("image", "images") if c in rows.column_names])
    predictions = [judge(facts[i], text) for i, text in enumerate(completions)]
    return measure(predictions, tasks[0], _names(facts), settings, name=name, wall_time_s=took)


def generate(model: Any, processor: Any, rows: Any, settings: EvaluationSettings) -> list[str]:
    """The policy's most likely completion for each row; the policy's training mode is put back afterwards."""
    options = {"do_sample": False, "max_new_tokens": settings.max_new_tokens}
    return [made.text for made in _generate(model, processor, rows, settings.batch_size, options)]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One sampled completion.

    Attributes
    ----------
    text
        Without special tokens.
    tokens
        Its tokens, up to the end.
    truncated
        Whether it came to the longest length without an end.
    """

    text: str
    tokens: tuple[int, ...]
    truncated: bool


def sample(
    model: Any,
    processor: Any,
    rows: Any,
    *,
    n: int,
    max_new_tokens: int,
    batch_size: int = 64,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> list[list[Sample]]:
    """Several completions of each row, sampled.

    Parameters
    ----------
    model, processor
        The policy; its training mode is put back afterwards.
    rows
        Rows with ``prompt`` and ``image``.
    n
        Completions of each row.
    max_new_tokens
        Longest completion.
    batch_size
        Completions made at a time, rounded to whole rows.
    seed
        The same seed gives the same completions on the same machine; the caller's random state stays as it is.
    options
        ``temperature``, ``top_p``, ``top_k``, ``min_p``, ``repetition_penalty`` and other parameters of transformers' generation.

    Returns
    -------
    list
        For each row its `n` completions.
    """
    import torch

    wanted = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, **(options or {})}
    wanted |= {"do_sample": True, "num_return_sequences": n, "max_new_tokens": max_new_tokens}
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        found = _generate(model, processor, rows, max(1, batch_size // n), wanted)
    return [found[i : i + n] for i in range(0, len(found), n)]


def _generate(model: Any, processor: Any, rows: Any, batch_size: int, options: Mapping[str, Any]) -> list[Sample]:
    import torch
    from trl.data_utils import prepare_multimodal_messages

    training, found = model.training, []
    model.eval()
    tokenizer = processor.tokenizer
    image_token = getattr(model.config, "image_token_id", None)
    fixed = {
        "pad_token_id": tokenizer.pad_token_id,
        # A written image token would have no image behind it.
        **({} if image_token is None else {"suppress_tokens": [image_token]}),
    }
    ends = _ends(model, tokenizer)
    try:
        with torch.inference_mode():
            for start in range(0, len(rows), batch_size):
                batch = rows[start : start + batch_size]
                talks = [prepare_multimodal_messages(p, images=[i]) for p, i in zip(batch["prompt"], batch["image"], strict=True)]
                inputs = processor.apply_chat_template(
                    talks,
                    tokenize=True,
                    add_generation_prompt=True,
                    return_dict=True,
                    processor_kwargs={"return_tensors": "pt", "padding": True},
                ).to(model.device)
                tokens = model.generate(**inputs, **fixed, **options)[:, inputs["input_ids"].shape[1] :]
                texts = tokenizer.batch_decode(tokens, skip_special_tokens=True)
                found += [_sample(text, row, ends) for text, row in zip(texts, tokens.tolist(), strict=True)]
    finally:
        model.train(training)
    return found


def _ends(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end a completion."""
    ends = getattr(model.generation_config, "eos_token_id", None)
    ends = tokenizer.eos_token_id if ends is None else ends
    return frozenset(ends if isinstance(ends, (list, tuple)) else [ends])


def _sample(text: str, tokens: list[int], ends: frozenset[int]) -> Sample:
    last = next((i for i, token in enumerate(tokens) if token in ends), None)
    kept = tokens if last is None else tokens[: last + 1]
    return Sample(text=text, tokens=tuple(kept), truncated=last is None)


def judge(row: dict[str, Any], completion: str) -> Prediction:
    """Read one completion and compare it with the row's truth; an unreadable answer is wrong, never left out."""
    task = row["task"]
    kept = {
        key: row.get(key)
        for key in ("sample_id", "subject", "task", "label", "grade", "boxes", "image_size")
        if row.get(key) is not None
    }
    result: Prediction = {**kept, "completion": completion, "format": parsing.has_format(completion)}
    if task == "localisation":
        boxes = parsing.read_boxes(completion)
        result["answer"] = None if boxes is None else coordinates.convert(boxes, row["box_frame"], row["image_size"])
        result["iou"] = _iou(row["boxes"], result["answer"])
    elif task == "grading":
        result["answer"] = parsing.read_grade(completion, row.get("classes") or row["num_grades"])
        result["correct"] = result["answer"] == row["grade"]
    else:
        result["answer"] = parsing.read_label(completion, row["classes"])
        result["correct"] = result["answer"] == row["label"]
    return result


def _iou(truth: Any, answer: Any) -> float | None:
    """IoU of the best pairing; None where there is neither a true nor an answered box."""
    return mean_iou([truth], [None if answer is None else _ordered(answer)]).value


def _ordered(boxes: Sequence[Sequence[float]]) -> list[list[float]]:
    return [[min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])] for b in boxes]


def _names(rows: Any) -> tuple[str, ...]:
    """Names of all classes or grades; questions may have choices of their own."""
    known = rows["classes"] if "classes" in rows.column_names else ()
    names = dict.fromkeys(name for classes in known for name in classes or ())
    return tuple(names) or tuple(str(i) for i in range(rows[0].get("num_grades") or 0))


def measure(
    predictions: list[Prediction],
    task: str,
    classes: Sequence[str],
    settings: EvaluationSettings,
    *,
    name: str,
    wall_time_s: float = 0.0,
) -> EvaluationResult:
    """The task's metrics of judged predictions.

    Parameters
    ----------
    predictions
        See :func:`judge`; those of one task.
    task
        That task.
    classes
        Class names, or names of the grades in rising order.
    settings
        Level and resamples of the intervals.
    name, wall_time_s
        Go into the result.
    """
    groups = [p.get("subject") or p["sample_id"] for p in predictions]
    values: dict[str, tuple[Any, Callable[..., Any]]] = {"format": (np.array([float(p["format"]) for p in predictions]), np.mean)}
    confusion, kept = None, list(range(len(predictions)))
    if task == "localisation":
        kept = [i for i, p in enumerate(predictions) if p["iou"] is not None]
        values["mean_iou"] = (np.array([predictions[i]["iou"] for i in kept]), np.mean)
    else:
        truth, found = _codes(predictions, task, classes)
        confusion = confusion_matrix(truth.tolist(), found.tolist(), list(range(len(classes)))).tolist()
        values["accuracy"] = (np.equal(truth, found).astype(float), np.mean)
        values["balanced_accuracy"] = ((truth, found), _balanced)
        if task == "grading":
            worst = _worst(truth, found, len(classes))
            values["quadratic_weighted_kappa"] = ((truth, worst), quadratic_weighted_kappa)
            values["grade_mae"] = ((truth, worst), grade_mae)
    metrics = {}
    for key in MEASURES[task]:
        data, statistic = values[key]
        who = [groups[i] for i in kept] if key == "mean_iou" else groups
        if len(who):
            metrics[key] = cluster_interval(data, who, statistic, level=settings.level, n_resamples=max(100, settings.resamples))
        else:
            metrics[key] = MetricResult(value=None, reason="no image has boxes")
    return EvaluationResult(
        name=name,
        task=task,
        metrics=metrics,
        predictions=predictions,
        classes=() if task == "localisation" else tuple(classes),
        confusion=confusion,
        wall_time_s=wall_time_s,
    )


def _codes(predictions: list[Prediction], task: str, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """True and answered class numbers; -1 for an unreadable answer."""
    place = {name: i for i, name in enumerate(classes)}
    if task == "grading":
        return np.array([p["grade"] for p in predictions]), np.array(
            [-1 if p["answer"] is None else p["answer"] for p in predictions]
        )
    return np.array([place[p["label"]] for p in predictions]), np.array([place.get(p["answer"], -1) for p in predictions])


def _worst(truth: np.ndarray, found: np.ndarray, grades: int) -> np.ndarray:
    """Answers with the grade farthest from the truth in place of unreadable ones, so that silence never pays."""
    farthest = np.where(truth * 2 >= grades - 1, 0, grades - 1)
    return np.where(found < 0, farthest, found)


def _balanced(truth: np.ndarray, found: np.ndarray) -> float:
    """Mean recall over the classes that occur, as :func:`medcore.metrics.balanced_accuracy`, quick enough for thousands of resamples."""
    totals = np.bincount(truth)
    hits = np.bincount(truth[truth == found], minlength=len(totals))
    return float(np.mean(hits[totals > 0] / totals[totals > 0]))


def write_evaluation(folder: Path, results: dict[str, list[EvaluationResult]], settings: EvaluationSettings) -> dict[str, Any]:
    """Write ``evaluation.json`` and ``predictions.jsonl`` (one object a line) to `folder`.

    Parameters
    ----------
    folder
        Existing folder.
    results
        By policy (``"start"``, ``"final"``), one result for each held-out set.
    settings
        Written beside the numbers.

    Returns
    -------
    dict
        The content of ``evaluation.json``.
    """
    summary = {
        "settings": to_mapping(settings),
        "policies": {policy: [r.as_dict() for r in found] for policy, found in results.items()},
    }
    lines = [
        json.dumps({"policy": policy, "set": result.name, **prediction})
        for policy, found in results.items()
        for result in found
        for prediction in result.predictions
    ]
    write_text(folder / "predictions.jsonl", "".join(f"{line}\n" for line in lines))
    write_json(folder / "evaluation.json", summary)
    return summary
