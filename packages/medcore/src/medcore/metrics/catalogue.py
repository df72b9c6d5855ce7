"""The metrics as a list for people and machines."""

from __future__ import annotations

from collections.abc import Sequence

from medcore.metrics.base import get_metric, registered

FIELDS = ("id", "variant", "version", "kind", "unit", "direction", "definition", "source", "referee")
KIND_TITLES = {
    "image": "Images",
    "maps": "Maps and measurements",
    "mask": "Masks",
    "uncertainty": "Predicted uncertainty",
    "classification": "Labels and grades",
    "probability": "Scores and probabilities",
    "detection": "Boxes",
    "text": "Texts",
}


def entries(names: Sequence[str] = ()) -> list[dict[str, str]]:
    """The fields of each metric (:class:`medcore.metrics.base.Metric`) and its identity, of all or of those called `names`.

    Raises
    ------
    ConfigError
        If a name is unknown.
    """
    chosen = [get_metric(name) for name in names] or list(registered().values())
    return [{"metric": m.identity, **{field: str(getattr(m, field)) for field in FIELDS}} for m in chosen]


def markdown() -> str:
    """Tables of all metrics, one for each kind, as Markdown."""
    parts = []
    for kind, title in KIND_TITLES.items():
        rows = [entry for entry in entries() if entry["kind"] == kind]
        head = "| metric | unit | better | definition | source | compared with |\n|---|---|---|---|---|---|"
        body = "\n".join(
            "| "
            + " | ".join(
                [f"`{e['metric']}`", e["unit"], e["direction"], *(_escaped(e[f]) for f in ("definition", "source", "referee"))]
            )
            + " |"
            for e in rows
        )
        parts.append(f"### {title}\n\n{head}\n{body}\n")
    return "\n".join(parts)


def _escaped(text: str) -> str:
    for mark in "\\|*_<>$":
        text = text.replace(mark, f"\\{mark}")
    return text
