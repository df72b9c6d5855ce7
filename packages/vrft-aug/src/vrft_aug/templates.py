"""Recipes to start from."""

from __future__ import annotations

from importlib import resources
from string import Template

from medcore.plugins import unknown_name

TEMPLATES = ("scans", "pneumonia", "grades", "boxes", "prepared")
"""Drawn scans (no data needed), PneumoniaMNIST, ordinal grades, boxes and then grades, your own data after ``vrft-aug prepare``."""
_DATA = {"scans": "", "pneumonia": "pneumoniamnist.npz", "grades": "grading", "boxes": "idrid", "prepared": "prepared"}


def template(kind: str, *, recipe: str = "recipe.yaml", data: str | None = None) -> str:
    """A commented recipe as YAML text, which begins with its own command line.

    Parameters
    ----------
    kind
        One of :data:`TEMPLATES`.
    recipe
        Name under which it will be saved, for the command line in it.
    data
        Path of the data; by default one beside the recipe.

    Raises
    ------
    ConfigError
        If there is no such recipe.
    """
    if kind not in TEMPLATES:
        raise unknown_name("recipe", kind, list(TEMPLATES))
    text = resources.files("vrft_aug").joinpath("recipes", f"{kind}.yaml").read_text(encoding="utf-8")
    path = (data or _DATA[kind]).replace("\\", "\\\\").replace('"', '\\"')
    return Template(text).substitute(recipe=recipe, data=path)
