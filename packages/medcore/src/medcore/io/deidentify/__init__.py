"""De-identification of DICOM images after the Basic Application Level Confidentiality Profile (PS3.15 Annex E)."""

from medcore.io.deidentify.options import DeidentifyOptions
from medcore.io.deidentify.report import REPORT, DeidentifyReport
from medcore.io.deidentify.run import deidentify

__all__ = ["REPORT", "DeidentifyOptions", "DeidentifyReport", "deidentify"]
