"""Columns that hold pixels: left out wherever only the facts of rows matter, because reading them decodes every image."""

from __future__ import annotations

from typing import Any

IMAGES = ("image", "images")
"""What trl calls them."""


def without_images(rows: Any) -> Any:
    """A ``datasets.Dataset`` without its images."""
    return rows.remove_columns([c for c in IMAGES if c in rows.column_names])
