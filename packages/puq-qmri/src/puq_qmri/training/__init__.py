"""Training of reconstruction networks: from simulated scans or from fully sampled measurements."""

from puq_qmri.training.data import Example, Scan, SimulatedExamples
from puq_qmri.training.loop import TrainingResult, train
from puq_qmri.training.ranges import SimulatedData
from puq_qmri.training.settings import DataSettings, MeasuredData, StageSettings, TrainingSettings, load_settings, presets

__all__ = [
    "DataSettings",
    "Example",
    "MeasuredData",
    "Scan",
    "SimulatedData",
    "SimulatedExamples",
    "StageSettings",
    "TrainingResult",
    "TrainingSettings",
    "load_settings",
    "presets",
    "train",
]
