"""Stages on real images whose rewards are audited, by the tests and by the benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

KNOWLEDGE = {
    "task": "Chest X-rays of children.",
    "classes": {
        "normal": "Clear lungs with sharp borders of heart and diaphragm.",
        "pneumonia": "White patches or hazy areas in one or both lungs, at times with an air bronchogram.",
    },
    "provenance": {
        "author": "the tests",
        "model": "none",
        "date": "2026-11-30",
        "licence": "CC0-1.0",
        "source": "general knowledge",
    },
}
FORMAT = {"name": "format", "weight": 0.5}
LENGTH = {"name": "length", "weight": 0.2, "options": {"low": 8, "high": 80}}


def _stage(name: str, task: str, data: dict[str, Any], *rewards: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "task": task, "data": data, "rewards": [*rewards], **more}


def stages(root: Path, knowledge: Path) -> dict[str, dict[str, Any]]:
    """Recipes of one stage, by title: every built-in reward on every kind of data; the knowledge is written to the file `knowledge`."""
    known = {name: KNOWLEDGE[name] for name in KNOWLEDGE}
    knowledge.write_text(json.dumps(known), encoding="utf-8")
    x_rays = {
        "kind": "medmnist",
        "path": str(root / "pneumoniamnist" / "pneumoniamnist_train_val.npz"),
        "train": 64,
        "held_out": 16,
    }
    retina = {"kind": "grades", "path": str(root / "idrid-fundus" / "grading")}
    names = ["no retinopathy", "mild", "moderate", "severe", "proliferative"]
    discs = {"kind": "masks", "path": str(root / "idrid-fundus" / "segmentation"), "box_class": "OD"}
    cells = {"kind": "voc", "path": str(root / "bccd-boxes"), "train": 64, "held_out": 8}
    negative = {"options": {"negative": "normal"}}
    found = {
        "PneumoniaMNIST": _stage(
            "x-rays",
            "classification",
            x_rays,
            {"name": "accuracy", **negative},
            {"name": "calibration", "weight": 0.5, **negative},
            {"name": "recitation", "weight": -0.2},
            {**FORMAT, "options": {"confidence": True}},
            LENGTH,
            knowledge={"file": str(knowledge)},
        ),
        "IDRiD grades": _stage("grades", "grading", retina, {"name": "multi_grade_fuzzy"}, {"name": "accuracy"}, FORMAT, LENGTH),
        "IDRiD grades by name": _stage(
            "names",
            "grading",
            {**retina, "classes": names},
            {"name": "multi_grade_fuzzy", "options": {"kernel": "gaussian", "under": 0.5}},
            {"name": "calibration", "weight": 0.5},
            {**FORMAT, "options": {"confidence": True}},
        ),
        "IDRiD optic discs": _stage("discs", "localisation", discs, {"name": "box_iou"}, FORMAT),
        **{
            f"blood cells, {score}": _stage(
                "cells", "localisation", {**cells, "box_class": kind}, {"name": "box_iou", "options": {"score": score}}, FORMAT
            )
            for score, kind in (("iou", "WBC"), ("giou", "WBC"), ("f1", "RBC"))
        },
    }
    return {title: {"stages": [stage]} for title, stage in found.items()}


def known_bad(root: Path, knowledge: Path) -> dict[str, dict[str, Any]]:
    """The broken rewards of :mod:`vrft_aug.rewards.known_bad`, each in the place of the right one."""
    good = stages(root, knowledge)
    places = {
        "substring": "PneumoniaMNIST",
        "one_letter": "PneumoniaMNIST",
        "label_list": "PneumoniaMNIST",
        "format_only": "PneumoniaMNIST",
        "any_number": "IDRiD grades",
        "covered": "blood cells, iou",
    }
    found = {}
    for name, title in places.items():
        stage = good[title]["stages"][0]
        found[f"{name} ({title})"] = {"stages": [{**stage, "rewards": [{"name": f"vrft_aug.rewards.known_bad:{name}"}, FORMAT]}]}
    return found
