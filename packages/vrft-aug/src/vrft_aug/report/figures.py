"""Images with truth and answer, and the reliability of confidences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vrft_aug.evaluation import Prediction, is_right
from vrft_aug.report.words import answer_words, truth_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_EXAMPLES = 6
_BAD, _GOOD, _TRUE = "#D55E00", "#0072B2", "#009E73"


def pick(predictions: Sequence[Prediction]) -> list[int]:
    """Indices of a few examples: at most half of them wrong, each of another class as far as possible."""
    wrong = [i for i, p in enumerate(predictions) if not is_right(p)]
    right = [i for i, p in enumerate(predictions) if is_right(p)]
    some = _varied(wrong, predictions, _EXAMPLES // 2)
    return [*some, *_varied(right, predictions, _EXAMPLES - len(some))]


def _varied(indices: Sequence[int], predictions: Sequence[Prediction], n: int) -> list[int]:
    seen: dict[Any, list[int]] = {}
    for i in indices:
        seen.setdefault(truth_words(predictions[i]) if predictions[i]["task"] != "localisation" else i, []).append(i)
    rounds = [i for level in range(n) for group in seen.values() for i in group[level : level + 1]]
    return rounds[:n]


def examples_figure(images: Sequence[Any], predictions: Sequence[Prediction]) -> Figure:
    """Images with their truth and answer; boxes are drawn."""
    figure, axes = _tiles(images)
    for axis, prediction in zip(axes, predictions, strict=True):
        outline(axis, prediction.get("boxes") or [], _TRUE, "-")
        if prediction["task"] == "localisation":
            outline(axis, prediction["answer"] or [], _BAD, "--")
            text = "nothing there" if prediction["iou"] is None else f"IoU {prediction['iou']:.2f}"
        else:
            text = f"{truth_words(prediction)}, answered {answer_words(prediction)}"
        axis.set_title(text, fontsize=9, color=_GOOD if is_right(prediction) else _BAD)
    return figure


def images_figure(images: Sequence[Any], titles: Sequence[str], boxes: Sequence[Sequence[Sequence[float]]]) -> Figure:
    """Images with a title and true boxes each."""
    figure, axes = _tiles(images)
    for axis, title, true in zip(axes, titles, boxes, strict=True):
        outline(axis, true, _TRUE, "-")
        axis.set_title(title, fontsize=9)
    return figure


def outline(axis: Any, boxes: Sequence[Sequence[float]], colour: str, dash: str) -> None:
    """Draw boxes; pixel centres are whole numbers on the axis, so that edges lie half a pixel before them."""
    from matplotlib.patches import Rectangle

    for x0, y0, x1, y1 in boxes:
        axis.add_patch(
            Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linestyle=dash, linewidth=1.8)
        )


def _tiles(images: Sequence[Any]) -> tuple[Figure, list[Any]]:
    from matplotlib.figure import Figure

    columns = min(3, len(images))
    lines = -(-len(images) // columns)
    figure = Figure(figsize=(2.9 * columns, 2.9 * lines), layout="constrained")
    axes = [figure.add_subplot(lines, columns, i + 1) for i in range(len(images))]
    for axis, image in zip(axes, images, strict=True):
        axis.imshow(image.convert("RGB"), interpolation="nearest")
        axis.set_axis_off()
    return figure, axes


def reliability_figure(bins: Sequence[Mapping[str, float]]) -> Figure:
    """Share of right answers against mean confidence in bins; the area of a point is the number of images in its bin."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 3.6), layout="constrained")
    axis = figure.add_subplot()
    axis.plot([0, 1], [0, 1], color="#8b95a1", linewidth=1, linestyle=":")
    most = max(part["n"] for part in bins)
    sure, right = [part["confidence"] for part in bins], [part["accuracy"] for part in bins]
    axis.plot(sure, right, color=_GOOD, linewidth=1)
    axis.scatter(sure, right, s=[20 + 180 * part["n"] / most for part in bins], color=_GOOD, alpha=0.7, linewidths=0)
    axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    axis.set_xlabel("mean confidence", fontsize=9)
    axis.set_ylabel("share of right answers", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.text(0.02, 0.98, "not confident enough", fontsize=8, color="#5a6675", va="top")
    axis.text(0.98, 0.02, "too confident", fontsize=8, color="#5a6675", ha="right")
    axis.spines[["top", "right"]].set_visible(False)
    return figure
