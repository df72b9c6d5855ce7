"""Windows of CT by name."""

from __future__ import annotations

WINDOW_PRESETS: dict[str, tuple[float, float]] = {
    "lung": (-600.0, 1500.0),
    "mediastinum": (50.0, 350.0),
    "bone": (400.0, 1800.0),
    "brain": (40.0, 80.0),
    "abdomen": (50.0, 400.0),
    "liver": (30.0, 150.0),
}
"""Centre and width in Hounsfield units: usual values for lungs, mediastinum, bone, brain, and soft tissues and liver of the abdomen, as
Radiopaedia lists them (https://radiopaedia.org/articles/windowing-ct). Practice varies; (centre, width) states any other."""
