"""The course of training, from the log of each stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medcore.report import Report
from medcore.report.figures import training_figure
from vrft_aug.ledger import WARM_START

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Log = Sequence[Mapping[str, Any]]
_SPREAD = "rewards (spread)"


def add_curves(page: Report, name: str, history: Log) -> None:
    """Add the section of one stage's training, if its log has anything to draw."""
    panels = warm_start_panels(history) if name == WARM_START else reward_panels(history)
    panels = {title: curves for title, curves in panels.items() if curves}
    if not panels:
        return
    page.section(f"Training: {name}")
    steps = max(int(entry["step"]) for entry in history)
    window = max(1, steps // 10)
    pale = f" Pale lines are single steps, strong lines means over {window} steps." if window > 1 else ""
    page.figure(_figure(panels, window), f"Course of the stage over {steps} steps.{pale}")
    if name != WARM_START:
        page.table(["quantity", "first tenth", "last tenth"], _ends(history, window), "Means over the first and last steps.")


def _figure(panels: Mapping[str, Mapping[str, Any]], window: int) -> Figure:
    from matplotlib.ticker import MaxNLocator

    figure = training_figure(panels, window=window)
    for axis, title in zip(figure.axes, panels, strict=True):
        axis.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
        if title.endswith("(share)"):
            axis.set_ylim(-0.03, 1.03)
        if title == _SPREAD and (legend := axis.get_legend()):
            legend.remove()  # the same rewards in the same colours as in the panel before
    return figure


def warm_start_panels(history: Log) -> dict[str, dict[str, Any]]:
    """What is drawn for the warm start."""
    return {"loss": _curve(history, {"loss": "loss"}), "token accuracy": _curve(history, {"mean_token_accuracy": "token accuracy"})}


def reward_panels(history: Log) -> dict[str, dict[str, Any]]:
    """What is drawn for a stage of reinforcement learning."""
    names = reward_names(history)
    lengths = {"completions/mean_length": "mean", "completions/min_length": "least", "completions/max_length": "most"}
    return {
        "rewards (mean)": _curve(history, {f"rewards/{n}/mean": n for n in names}),
        _SPREAD: _curve(history, {f"rewards/{n}/std": n for n in names}),
        "total reward": _curve(history, {"reward": "total"}),
        "spread of the total reward": _curve(history, {"reward_std": "spread"}),
        "groups without spread (share)": _curve(history, {"frac_reward_zero_std": "share"}),
        "entropy [nats a token]": _curve(history, {"entropy": "entropy"}),
        "length [tokens]": _curve(history, lengths),
        "cut off (share)": _curve(history, {"completions/clipped_ratio": "share"}),
        "KL to the reference": _curve(history, {"kl": "KL"}),
    }


def reward_names(history: Log) -> list[str]:
    """The rewards of a log, in its order."""
    return [
        k.split("/")[1] for k in dict.fromkeys(k for e in history for k in e) if k.startswith("rewards/") and k.endswith("/mean")
    ]


def _curve(history: Log, keys: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for key, name in keys.items():
        points = [(e["step"], e[key]) for e in history if e.get(key) is not None]
        if points:
            found[name] = ([p[0] for p in points], [p[1] for p in points])
    return found


def _ends(history: Log, window: int) -> list[list[object]]:
    """Means over the first and the last `window` steps of each quantity."""
    rows: list[list[object]] = []
    for title, curves in reward_panels(history).items():
        for name, (_, values) in curves.items():
            first, last = values[:window], values[-window:]
            shown = f"{title}: {name}" if len(curves) > 1 or title.startswith("rewards") else title
            rows.append([shown, f"{sum(first) / len(first):.3f}", f"{sum(last) / len(last):.3f}"])
    return rows
