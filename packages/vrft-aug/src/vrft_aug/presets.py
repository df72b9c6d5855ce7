"""Recipes for real models: settings of a method or a machine, laid over the recipe of a kind of data."""

from __future__ import annotations

import copy
from importlib import resources
from typing import Any

import yaml

from medcore.config import parse_yaml
from medcore.plugins import unknown_name
from vrft_aug.templates import template

PRESETS = ("grpo-classic", "vrft", "vrft-aug", "lora-single-gpu", "zero3-8gpu")
"""Plain GRPO, the baseline, the whole method, adapters on one GPU, all weights on eight."""
_KNOWLEDGE = {"scans": "scans", "pneumonia": "pneumonia", "grades": "grades", "boxes": "grades", "prepared": "prepared"}
_DRAWN = "drawn-scans"  # has boxes as well as classes


def preset(name: str, kind: str, *, recipe: str = "recipe.yaml", data: str | None = None, knowledge: str | None = None) -> str:
    """A recipe as YAML text: the stages of a kind of data with the settings of a preset.

    Parameters
    ----------
    name
        One of :data:`PRESETS`.
    kind, recipe, data
        See :func:`vrft_aug.templates.template`.
    knowledge
        Path of the knowledge file beside the recipe, for presets that use one.

    Raises
    ------
    ConfigError
        If there is no such preset or kind.
    """
    if name not in PRESETS:
        raise unknown_name("preset", name, list(PRESETS))
    base = template(kind, recipe=recipe, data=data)
    laid = parse_yaml(_text("presets", name), f"preset {name}")
    plain = parse_yaml(base, kind)
    missing: list[str] = []
    file = (knowledge or knowledge_name(recipe)) if laid.get("knowledge") else None
    stages = [_stage(stage, laid, file) for stage in _stages(plain["stages"], laid, missing)]
    if file is not None and not any(stage["task"] == "grading" for stage in stages):
        missing.append("fuzzy grades, as the classes of this data have no order")
    made = {"model": laid["model"], "seed": plain["seed"], "processes": laid.get("processes", 1), "stages": stages}
    return _header(base, laid["about"], recipe, name, missing) + yaml.safe_dump(made, sort_keys=False, width=110)


def uses_knowledge(name: str) -> bool:
    """Whether a preset needs a knowledge file."""
    return bool(parse_yaml(_text("presets", name), f"preset {name}").get("knowledge"))


def knowledge_text(kind: str) -> str:
    """A draft of a knowledge file for a kind of data."""
    return _text("knowledge", _KNOWLEDGE[kind])


def knowledge_name(recipe: str) -> str:
    """The name of the knowledge file of a recipe, in the same folder."""
    return recipe.replace("\\", "/").rpartition("/")[2].removesuffix(".yaml").removesuffix(".yml") + ".knowledge.yaml"


def _text(folder: str, name: str) -> str:
    return resources.files("vrft_aug").joinpath("recipes", folder, f"{name}.yaml").read_text(encoding="utf-8")


def _stages(stages: list[dict[str, Any]], laid: dict[str, Any], missing: list[str]) -> list[dict[str, Any]]:
    """Those of the data that the preset trains on; what it lacks is added to `missing`."""
    wanted = laid.get("stages", "all")
    if wanted == "last":
        return stages[-1:]
    if wanted == "perception" and stages[0]["task"] != "localisation":
        if stages[0]["data"]["kind"] != _DRAWN:
            missing.append("perception, as this data has no boxes")
            return stages
        data = {**copy.deepcopy(stages[0]["data"]), "box_name": "finding"}
        return [{"name": "perception", "task": "localisation", "data": data, "rewards": []}, *stages]
    return stages


def _stage(stage: dict[str, Any], laid: dict[str, Any], knowledge: str | None) -> dict[str, Any]:
    """One stage of the data with the preset's settings; options of a reward that both name stay those of the data."""
    own = {reward["name"]: reward["options"] for reward in stage["rewards"] if "options" in reward}
    made = {**stage, **copy.deepcopy(laid.get("stage", {})), **copy.deepcopy(laid.get("tasks", {}).get(stage["task"], {}))}
    made["rewards"] = [
        {**reward, **({"options": own[reward["name"]]} if reward["name"] in own and "options" not in reward else {})}
        for reward in made["rewards"]
    ]
    if knowledge is not None and stage["task"] != "localisation":
        made["knowledge"] = {"file": knowledge, "placement": "before", "apply_at": "both"}
    first = ("name", "task", "data", "knowledge", "prompts", "rewards", "kl_reference", "grpo")
    return {key: made[key] for key in (*first, *(k for k in made if k not in first)) if key in made}


def _header(base: str, about: str, recipe: str, name: str, missing: list[str]) -> str:
    """Comments: what the data is, what the preset is, what it has not, and the command lines."""
    title = [line for line in base.partition("\n#\n")[0].splitlines() if line.startswith("#")]
    lines = [*title, "#", *(f"# {line}" for line in about.strip().splitlines())]
    lines += [f"# Not in this recipe: {'; '.join(missing)}."] if missing else []
    commands = [f"vrft-aug plan {recipe}", f"vrft-aug dry-run {recipe}", f"vrft-aug train {recipe} -o runs/{name}"]
    return "\n".join([*lines, "#", *(f"#   {command}" for command in commands), "#"]) + (
        "\n# Paths in this file start at its own folder.\n\n"
    )
