"""DICOM images: a strict builder of series."""

from medcore.io.dicom.series import SeriesInfo, list_series, read_dicom

__all__ = ["SeriesInfo", "list_series", "read_dicom"]
