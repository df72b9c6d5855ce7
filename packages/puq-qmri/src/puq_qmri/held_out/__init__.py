"""Scans whose truth is known, to measure calibrations on."""

from puq_qmri.held_out.judge import Judgement, calibrate_scans
from puq_qmri.held_out.scans import HeldOutSettings, held_out_scans, list_scans

__all__ = ["HeldOutSettings", "Judgement", "calibrate_scans", "held_out_scans", "list_scans"]
