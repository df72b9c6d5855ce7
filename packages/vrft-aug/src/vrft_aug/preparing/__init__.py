"""A user's own data, checked before anything trains, and written in one form."""

from vrft_aug.preparing.faults import FAULTS, Fault
from vrft_aug.preparing.run import Checked, PrepareSettings, prepare, refuse

__all__ = ["FAULTS", "Checked", "Fault", "PrepareSettings", "prepare", "refuse"]
