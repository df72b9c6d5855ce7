"""Rows as the trainer gives them to rewards, without images, for the audit's tests."""

from __future__ import annotations

from typing import Any

KNOWLEDGE = "normal: clear lungs and sharp borders. pneumonia: white patches or hazy areas in one or both lungs."


def classification(label: str = "pneumonia", classes: tuple[str, ...] = ("normal", "pneumonia"), **changes: Any) -> dict[str, Any]:
    return _row(
        "classification", f"What does the image show? {' or '.join(classes)}", label=label, classes=list(classes), **changes
    )


def grading(grade: int = 2, **changes: Any) -> dict[str, Any]:
    return _row("grading", "Which grade? 0, 1, 2, 3 or 4", grade=grade, num_grades=5, **changes)


def localisation(*boxes: tuple[float, float, float, float], size: tuple[int, int] = (200, 100)) -> dict[str, Any]:
    found = [list(map(float, b)) for b in boxes]
    return _row("localisation", "Where?", boxes=found, image_size=list(size), box_frame=[1000.0, 1000.0])


def _row(task: str, question: str, **changes: Any) -> dict[str, Any]:
    names = ("label", "classes", "grade", "num_grades", "boxes", "image_size", "box_frame", "knowledge")
    prompt = [{"role": "user", "content": question}]
    return {"sample_id": "1", "subject": "1", "task": task, "prompt": prompt, **dict.fromkeys(names), **changes}
