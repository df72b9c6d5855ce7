"""DICOM parametric maps: floating-point images with a coded quantity and unit."""

from medcore.io.parametric_map.reading import is_parametric_map, is_parametric_map_file, read_parametric_map
from medcore.io.parametric_map.writing import write_parametric_map

__all__ = ["is_parametric_map", "is_parametric_map_file", "read_parametric_map", "write_parametric_map"]
