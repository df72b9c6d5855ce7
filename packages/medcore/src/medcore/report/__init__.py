"""Report pages: one self-contained HTML file with figures, tables and provenance; figures in the field's colours."""

from medcore.report.page import PAGE_LIMIT, Report

__all__ = ["PAGE_LIMIT", "Report"]
