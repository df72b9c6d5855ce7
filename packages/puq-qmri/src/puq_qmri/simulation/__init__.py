"""Measurements with known truth: digital objects, receive coils, sampling and noise."""

from puq_qmri.simulation.coils import COILS, birdcage, coil_maps, loops, random_birdcage
from puq_qmri.simulation.measurement import (
    DEFAULT_TE,
    DEFAULT_TI,
    MODELS,
    N_NOISE,
    SHAPES,
    TRAJECTORIES,
    SimulationSettings,
    Truth,
    central_fraction,
    complex_noise,
    contrast_images,
    draw_object,
    measure,
    simulate,
)
from puq_qmri.simulation.shapes import random_shapes

__all__ = [
    "COILS",
    "DEFAULT_TE",
    "DEFAULT_TI",
    "MODELS",
    "N_NOISE",
    "SHAPES",
    "TRAJECTORIES",
    "SimulationSettings",
    "Truth",
    "birdcage",
    "central_fraction",
    "coil_maps",
    "complex_noise",
    "contrast_images",
    "draw_object",
    "loops",
    "measure",
    "random_birdcage",
    "random_shapes",
    "simulate",
]
