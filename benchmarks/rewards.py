"""Microseconds a completion for every reward and reader, guarded and in a process of its own, beside a plain reward of trl."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from _results import publish

from vrft_aug import parsing
from vrft_aug.models import prepare
from vrft_aug.rewards import RewardSettings, build_reward
from vrft_aug.rewards.guard import GuardSettings

SEED, COMPLETIONS, BATCH, ROUNDS = 0, 16_000, 64, 3
LABELS = ("normal", "pneumonia")
GRADES = ("none", "mild", "moderate", "severe", "proliferative")
WORDS = (
    *("the", "lung", "field", "shows", "a", "white", "hazy", "patch", "in", "left", "lower", "lobe"),
    *("heart", "border", "is", "sharp", "no", "effusion", "or", "nodule", "seen", "bone", "normal"),
)


def thoughts(rng: np.random.Generator, words: int) -> list[str]:
    """Thoughts of about so many words, each another one."""
    return [" ".join(rng.choice(WORDS, rng.integers(words // 2, words * 3 // 2))) for _ in range(COMPLETIONS)]


def batches(texts: list[str], **columns: list[Any]) -> list[dict[str, Any]]:
    """Calls as trl makes them: 64 completions of one message each."""
    found = []
    for start in range(0, COMPLETIONS, BATCH):
        part = slice(start, start + BATCH)
        messages = [[{"role": "assistant", "content": text}] for text in texts[part]]
        found.append({"prompts": [""] * BATCH, "completions": messages, **{k: v[part] for k, v in columns.items()}})
    return found


def each(function: Callable[..., Any], calls: list[dict[str, Any]]) -> float:
    """Microseconds a completion: the shortest of several rounds over all batches."""
    function(**calls[0])
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for call in calls:
            function(**call)
        times.append(time.perf_counter() - start)
    return min(times) / COMPLETIONS * 1e6


def main() -> None:
    """Measure them on the same completions."""
    prepare()
    from trl.rewards import think_format_reward

    rng = np.random.default_rng(SEED)
    thought = thoughts(rng, 40)
    truth = [str(x) for x in rng.choice(LABELS, COMPLETIONS)]
    grade = [int(x) for x in rng.integers(0, 5, COMPLETIONS)]
    said = [f"<think>{t}</think><answer>{rng.choice(LABELS)}</answer>" for t in thought]
    sure = [f"{text}<confidence>{rng.integers(50, 100)} %</confidence>" for text in said]
    graded = [f"<think>{t}</think><answer>{rng.choice(GRADES)}</answer>" for t in thought]
    corners = rng.integers(0, 900, (COMPLETIONS, 2, 4))
    boxed = [
        f"<think>{t}</think><answer>{[[int(a), int(b), int(a + c / 10 + 1), int(b + d / 10 + 1)] for a, b, c, d in two]}</answer>"
        for t, two in zip(thought, corners, strict=True)
    ]
    boxes = [[[float(a), float(b), float(a + 50), float(b + 50)] for a, b, _, _ in two] for two in corners]
    know = ["normal: clear lungs and sharp borders. pneumonia: a white hazy patch in one or both lungs."] * COMPLETIONS
    classes = [list(LABELS)] * COMPLETIONS
    ranks = {"grade": grade, "classes": [list(GRADES)] * COMPLETIONS, "num_grades": [5] * COMPLETIONS}
    where = {"boxes": boxes, "image_size": [[1000, 1000]] * COMPLETIONS, "box_frame": [[1000.0, 1000.0]] * COMPLETIONS}
    cases: list[tuple[str, str, dict[str, Any], list[dict[str, Any]]]] = [
        ("format", "format", {}, batches(said)),
        ("accuracy", "accuracy", {"negative": "normal"}, batches(said, label=truth, classes=classes)),
        ("multi_grade_fuzzy", "multi_grade_fuzzy", {}, batches(graded, **ranks)),
        ("calibration", "calibration", {}, batches(sure, label=truth, classes=classes)),
        ("length", "length", {}, batches(said)),
        ("recitation, bleu", "recitation", {}, batches(said, knowledge=know)),
        ("recitation, rouge_l", "recitation", {"similarity": "rouge_l"}, batches(said, knowledge=know)),
        ("recitation, token_f1", "recitation", {"similarity": "token_f1"}, batches(said, knowledge=know)),
        ("box_iou, two boxes", "box_iou", {}, batches(boxed, **where)),
    ]
    rows: list[list[object]] = []
    for title, name, options, calls in cases:
        guarded = build_reward(RewardSettings(name=name, options=options))
        apart = build_reward(RewardSettings(name=name, options=options, guard=GuardSettings(isolate="always", workers=1)))
        times = [each(guarded.reward, calls), each(guarded, calls), each(apart, calls)]
        apart.close()
        rows.append([title, *(f"{t:.1f}" for t in times)])
    readers: dict[str, tuple[Callable[[str], Any], list[str]]] = {
        "read_label": (lambda text: parsing.read_label(text, LABELS, negative="normal"), said),
        "read_grade": (lambda text: parsing.read_grade(text, GRADES), graded),
        "read_boxes": (parsing.read_boxes, boxed),
        "has_format": (parsing.has_format, said),
    }
    for title, (reader, texts) in readers.items():
        taken = each(lambda texts, reader=reader: list(map(reader, texts)), [{"texts": texts}])
        rows.append([f"reader {title}", f"{taken:.1f}", "", ""])
    rows.append(["trl's think_format_reward", f"{each(think_format_reward, batches(said)):.1f}", "", ""])
    note = (
        f"{COMPLETIONS} completions with thoughts of 20 to 60 words, each another one, in batches of {BATCH}; microseconds a "
        f"completion, the shortest of {ROUNDS} rounds. Alone: the reward as trl would call it; guarded: in the same process; apart: in a "
        "process of its own, as rewards of others run (its start not counted)."
    )
    publish("rewards", "Cost of rewards", ["reward", "alone [us]", "guarded [us]", "apart [us]"], rows, seed=SEED, note=note)


if __name__ == "__main__":
    main()
