"""The anatomies: axial slabs drawn from shapes. Left of the image is the subject's right, top is anterior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from medcore.datasets.phantoms.geometry import Canvas, Waves, ellipsoid
from medcore.datasets.phantoms.tissues import VIALS

Draw = Callable[[Canvas, np.random.Generator], None]


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """An object to draw.

    Attributes
    ----------
    summary
        One sentence.
    tissues
        Names of its tissues, in :data:`medcore.datasets.phantoms.tissues.TISSUES`.
    draw
        Paints the tissues; draws the same random numbers whatever the points are, so that slices belong together.
    varies
        Relative spread of the size; rotation and shift vary with it.
    """

    summary: str
    tissues: tuple[str, ...]
    draw: Draw
    varies: float = 0.04


def draw_brain(canvas: Canvas, rng: np.random.Generator) -> None:
    """Head at the level of the lateral ventricles; half field of view 110 mm."""
    p = canvas.points
    fold, sway = Waves.draw(rng, 0.25, n=40), Waves.draw(rng, 0.5)
    skull, wide = rng.uniform(0.94, 1.06), rng.uniform(0.75, 1.35)
    side = np.abs(p.x + 0.012 * sway(0 * p.x, p.y, p.z))
    for tissue, shrink in (("scalp fat", 0.0), ("cortical bone", 0.045), ("cerebrospinal fluid", 0.045 + 0.055 * skull)):
        canvas.paint(tissue, ellipsoid(p, (0.0, 0.0), (0.70 - shrink, 0.86 - shrink, 0.95 - shrink)) < 1)
    shrink = 0.062 + 0.055 * skull
    radii = (0.70 - shrink, 0.86 - shrink, 0.95 - shrink)
    rim = ellipsoid(p, (0.0, 0.0), radii)
    brain = rim < 1
    depth = (1 - rim) * 0.68
    # Sulci are the zero lines of a field that varies little along the radius; grey matter lines both banks.
    pull = 0.45 + 0.55 / np.maximum(rim, 0.3)
    field = np.abs(fold(p.x * pull, p.y * pull, p.z))
    taper = np.clip(1 - depth / 0.27, 0, 1)
    canvas.paint("white matter", brain)
    canvas.paint("grey matter", brain & ((depth < 0.035) | (field < 1.1 * np.sqrt(taper))))
    canvas.paint("cerebrospinal fluid", brain & (field < 0.21 * taper**0.8))
    middle = brain & ((p.y < -0.34) | (p.y > 0.36))
    canvas.paint("grey matter", middle & (side < 0.048))
    canvas.paint("cerebrospinal fluid", middle & (side < 0.012))
    for s in (-1, 1):
        canvas.blob("grey matter", (0.385 * s, -0.04), (0.06, 0.17, 0.25), 0.12 * s)
        canvas.blob("cerebrospinal fluid", (0.395 * s, -0.04), (0.013, 0.145, 0.22), 0.12 * s)
        canvas.blob("deep grey matter", (0.245 * s, -0.05), (0.05, 0.155, 0.25), -0.22 * s)
        canvas.blob("deep grey matter", (0.105 * s, 0.06), (0.075, 0.115, 0.22), 0.35 * s)
        canvas.blob("deep grey matter", (0.125 * s, -0.20), (0.042 * wide, 0.085, 0.22), -0.35 * s)
        canvas.blob("cerebrospinal fluid", (0.070 * s, -0.20), (0.036 * wide, 0.135, 0.25), -0.38 * s)
        canvas.blob("cerebrospinal fluid", (0.165 * s, 0.26), (0.032 * wide, 0.135, 0.25), 0.45 * s)
    canvas.blob("cerebrospinal fluid", (0.0, 0.04), (0.013 * wide, 0.075, 0.20))
    for _ in range(int(rng.integers(3, 7))):
        s, y = rng.choice((-1, 1)), rng.uniform(-0.42, 0.45)
        size = rng.uniform(0.03, 0.075)
        canvas.blob(
            "white matter lesion",
            (s * rng.uniform(0.16, 0.36), y),
            (size, size * rng.uniform(0.6, 1.4), 0.2),
            rng.uniform(0, 3),
            "white matter",
        )


def draw_abdomen(canvas: Canvas, rng: np.random.Generator) -> None:
    """Upper abdomen at the level of the kidneys; half field of view 190 mm."""
    p = canvas.points
    ripple, vessels = Waves.draw(rng, 0.8), Waves.draw(rng, 0.16)
    bend = 0.018 * ripple(p.x, p.y, p.z)
    fat = rng.uniform(0.06, 0.13)
    outer = ellipsoid(p, (0.0, 0.0), (0.90, 0.64, 4.0)) + bend
    canvas.paint("subcutaneous fat", outer < 1)
    wall = ellipsoid(p, (0.0, 0.01), (0.90 - fat, 0.64 - fat, 4.0)) + bend
    canvas.paint("muscle", wall < 1)
    cavity = ellipsoid(p, (0.0, -0.02), (0.84 - fat, 0.57 - fat, 4.0)) + bend
    inside = cavity < 1
    canvas.paint("visceral fat", inside)
    big = rng.uniform(0.92, 1.06)
    liver = (ellipsoid(p, (-0.40, -0.06), (0.36 * big, 0.41 * big, 1.2), 0.25) + 1.2 * bend < 1) | (
        ellipsoid(p, (-0.12, -0.26), (0.34 * big, 0.17 * big, 1.0), -0.12) + 1.2 * bend < 1
    )
    canvas.paint("liver", liver & (cavity < 0.985))
    canvas.paint(
        "blood",
        canvas.has("liver") & (np.abs(vessels(p.x, p.y, p.z)) < 0.085) & (ellipsoid(p, (-0.36, -0.05), (0.27, 0.28, 1.0), 0.2) < 1),
    )
    canvas.paint("spleen", (ellipsoid(p, (0.57, 0.13), (0.155 * big, 0.25, 1.0), -0.35) + bend < 1) & (cavity < 0.985))
    canvas.blob("muscle", (0.33, -0.20), (0.24, 0.185, 1.0), 0.35)
    canvas.blob("bowel fluid", (0.33, -0.20), (0.215, 0.16, 0.9), 0.35)
    canvas.blob("bowel fluid", (-0.20, 0.035), (0.055, 0.075, 0.5), 0.5)
    for s in (-1, 1):
        centre = (s * 0.35, 0.24 + 0.015 * s)
        canvas.blob("kidney cortex", centre, (0.135, 0.17, 0.9), 0.3 * s)
        spokes = np.cos(7 * np.arctan2(p.y - centre[1], p.x - centre[0]) + 1.0)
        disc = ellipsoid(p, centre, (0.135, 0.17, 0.9), 0.3 * s)
        canvas.paint("kidney medulla", (disc > 0.42) & (disc < 0.80) & (spokes > -0.15))
        canvas.blob("visceral fat", (centre[0] - s * 0.035, centre[1] - 0.01), (0.075, 0.05, 0.7), 0.3 * s)
        canvas.blob("paravertebral muscle", (s * 0.17, 0.40), (0.125, 0.105, 4.0), 0.2 * s)
        canvas.blob("paravertebral muscle", (s * 0.135, 0.22), (0.05, 0.085, 4.0), 0.2 * s)
    canvas.blob("cortical bone", (0.0, 0.24), (0.128, 0.105, 4.0))
    canvas.blob("vertebral marrow", (0.0, 0.24), (0.118, 0.096, 4.0))
    canvas.blob("cortical bone", (0.0, 0.375), (0.085, 0.065, 4.0))
    canvas.blob("cortical bone", (0.0, 0.45), (0.022, 0.07, 4.0))
    canvas.blob("cerebrospinal fluid", (0.0, 0.365), (0.056, 0.042, 4.0))
    canvas.blob("spinal cord", (0.0, 0.368), (0.030, 0.023, 4.0))
    canvas.blob("blood", (0.045, 0.085), (0.050, 0.050, 4.0))
    canvas.blob("blood", (-0.085, 0.085), (0.062, 0.045, 4.0), 0.2)
    for _ in range(int(rng.integers(1, 4))):
        size = rng.uniform(0.03, 0.085)
        centre = (-0.40 + rng.uniform(-0.2, 0.2), -0.06 + rng.uniform(-0.22, 0.22))
        canvas.blob("liver lesion", centre, (size, size * rng.uniform(0.8, 1.25), 0.3), rng.uniform(0, 3), "liver")


def draw_knee(canvas: Canvas, rng: np.random.Generator) -> None:
    """Knee at the level of the femoral condyles and the patella; half field of view 80 mm."""
    p = canvas.points
    ripple = Waves.draw(rng, 0.9)
    bend = 0.02 * ripple(p.x, p.y, p.z)
    fat, thick = rng.uniform(0.06, 0.11), rng.uniform(0.85, 1.2)
    outer = ellipsoid(p, (0.0, 0.03), (0.82, 0.84, 4.0)) + bend
    canvas.paint("knee fat", outer < 1)
    canvas.paint("knee muscle", (ellipsoid(p, (0.0, 0.05), (0.82 - fat, 0.84 - fat, 4.0)) + bend < 1) & (p.y > 0.22))
    canvas.blob("knee fat", (0.0, 0.60), (0.19, 0.20, 4.0))
    canvas.blob("synovial fluid", (0.0, -0.33), (0.40, 0.14, 2.0))
    canvas.blob("synovial fluid", (0.0, 0.16), (0.62, 0.20, 2.0))

    def femur(extra: float) -> np.ndarray:
        lobes = [ellipsoid(p, (0.29 * s, 0.02), (0.335 + extra, 0.37 + extra, 2.0), 0.15 * s) < 1 for s in (-1, 1)]
        bridge = ellipsoid(p, (0.0, -0.12), (0.36 + extra, 0.20 + extra, 2.0)) < 1
        groove = ellipsoid(p, (0.0, -0.52), (0.17 - extra, 0.25 - extra, 4.0)) < 1
        notch = ellipsoid(p, (0.0, 0.38), (0.12 - extra, 0.30 - extra, 4.0)) < 1
        return np.asarray((lobes[0] | lobes[1] | bridge) & ~groove & ~notch)

    canvas.paint("cartilage", femur(0.045 * thick) & ((p.y < -0.20) | (p.y > 0.18)))
    canvas.paint("cortical bone", femur(0.0))
    canvas.paint("knee marrow", femur(-0.022))
    patella = ellipsoid(p, (0.0, -0.56), (0.36, 0.165, 1.5))
    canvas.paint("cartilage", (ellipsoid(p, (0.0, -0.54), (0.35, 0.165 + 0.03 * thick, 1.5)) < 1) & (p.y > -0.56))
    canvas.paint("cortical bone", patella < 1)
    canvas.paint("knee marrow", ellipsoid(p, (0.0, -0.56), (0.335, 0.142, 1.5)) < 1)
    canvas.paint("cortical bone", (ellipsoid(p, (0.0, -0.745), (0.27, 0.03, 2.0)) < 1) & (outer < 0.96))
    canvas.blob("blood", (-0.04, 0.55), (0.045, 0.045, 4.0))
    canvas.blob("blood", (0.06, 0.60), (0.055, 0.04, 4.0))
    lesion = (rng.choice((-1, 1)) * rng.uniform(0.18, 0.34), -0.33 + rng.uniform(-0.03, 0.03))
    canvas.blob("cartilage lesion", lesion, (rng.uniform(0.05, 0.09), rng.uniform(0.05, 0.09), 0.8), 0.0, "cartilage")


def draw_tubes(canvas: Canvas, rng: np.random.Generator) -> None:
    """Fourteen vials in a disc of water: ten on a ring, four inside; half field of view 110 mm."""
    p = canvas.points
    canvas.paint("water", ellipsoid(p, (0.0, 0.0), (0.90, 0.90, 4.0)) < 1)
    turn = rng.uniform(0, 2 * np.pi)
    ring = [(0.66, turn + 2 * np.pi * i / 10) for i in range(10)] + [(0.28, turn + np.pi / 4 + np.pi / 2 * i) for i in range(4)]
    for name, (radius, angle) in zip(VIALS, ring, strict=True):
        canvas.blob(name, (float(radius * np.cos(angle)), float(radius * np.sin(angle))), (0.125, 0.125, 4.0))


ANATOMIES: dict[str, Anatomy] = {
    "brain": Anatomy(
        summary="head with folded cortex, ventricles, deep nuclei and white-matter lesions",
        tissues=(
            "white matter",
            "grey matter",
            "deep grey matter",
            "cerebrospinal fluid",
            "white matter lesion",
            "scalp fat",
            "cortical bone",
        ),
        draw=draw_brain,
    ),
    "abdomen": Anatomy(
        summary="upper abdomen with liver and its vessels and lesions, spleen, stomach, kidneys and spine",
        tissues=(
            "liver",
            "liver lesion",
            "spleen",
            "kidney cortex",
            "kidney medulla",
            "bowel fluid",
            "blood",
            "muscle",
            "paravertebral muscle",
            "visceral fat",
            "subcutaneous fat",
            "vertebral marrow",
            "cerebrospinal fluid",
            "spinal cord",
            "cortical bone",
        ),
        draw=draw_abdomen,
    ),
    "knee": Anatomy(
        summary="knee with femoral condyles, patella, cartilage and a lesion in it, joint fluid and muscles",
        tissues=(
            "cartilage",
            "cartilage lesion",
            "synovial fluid",
            "knee marrow",
            "knee fat",
            "knee muscle",
            "blood",
            "cortical bone",
        ),
        draw=draw_knee,
    ),
    "tubes": Anatomy(
        summary="fourteen vials of known T1 and T2 in water, values of the NIST/ISMRM system phantom",
        tissues=(*VIALS, "water"),
        draw=draw_tubes,
        varies=0.02,
    ),
}
"""What :func:`medcore.datasets.phantoms.relaxation_phantom` can draw, by name."""
