"""How near maps come to a reference, and whether their intervals keep their promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from medcore.errors import InputError
from medcore.io.geometry import same_place
from medcore.metrics import (
    MetricResult,
    bias,
    ccc,
    coverage,
    loa_high,
    loa_low,
    median_relative_error,
    nrmse,
    z_score_rms,
)
from puq_qmri.results import MapFolder

REGIONS = {"all": "all voxels of the reference", "pure": "voxels of one tissue"}
_AGREEMENT: dict[str, Callable[..., MetricResult]] = {
    "median_relative_error": median_relative_error,
    "bias": bias,
    "nrmse": nrmse,
    "loa_low": loa_low,
    "loa_high": loa_high,
    "ccc": ccc,
}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Agreement of one map with its reference in one region.

    Attributes
    ----------
    map_name, region
        For example ``T2map`` and ``all`` or ``pure``.
    voxels
        Number of voxels of the region with a reference value.
    missing
        How many of them have no estimate; the metrics are about the others.
    metrics
        By name; ``coverage`` and ``z_score_rms`` only where intervals and deviations are known.
    """

    map_name: str
    region: str
    voxels: int
    missing: int
    metrics: dict[str, MetricResult]

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers: each metric by name (None where it has no value), its interval under ``<name>_interval``."""
        found: dict[str, Any] = {"voxels": self.voxels, "missing": self.missing}
        for name, result in self.metrics.items():
            found[name] = result.value
            if result.low is not None:
                found[f"{name}_interval"] = [result.low, result.high]
        return found


def evaluate(maps: MapFolder, reference: MapFolder, *, mask: Bool[np.ndarray, "z y x"] | None = None) -> list[Evaluation]:
    """Compare every map that both folders hold.

    Parameters
    ----------
    maps
        Estimates, with deviations and intervals where known.
    reference
        True values, NaN where there is none; if it marks voxels of one tissue, these are evaluated on their own as well, because
        a mixed voxel has no single relaxation time.
    mask
        Voxels that count.

    Raises
    ------
    InputError
        If no map is in both, they differ in shape, place or unit, or no voxel is left.
    """
    shared = [name for name in reference.maps if name in maps.maps]
    if not shared:
        raise InputError(
            maps.source,
            f"holds {', '.join(maps.maps)}, the reference {', '.join(reference.maps)}",
            "give folders with a common map",
        )
    found = []
    for name in shared:
        _check_alike(maps, reference, name, mask)
        inside = np.isfinite(reference.maps[name]) & (reference.maps[name] != 0)
        if mask is not None:
            inside &= mask
        if not inside.any():
            raise InputError(reference.source, f"has no value of {name} that counts", "give another mask")
        found.append(_compare(maps, reference, name, "all", inside))
        if reference.pure is not None and (inside & reference.pure).any():
            found.append(_compare(maps, reference, name, "pure", inside & reference.pure))
    return found


def _compare(maps: MapFolder, reference: MapFolder, name: str, region: str, inside: Bool[np.ndarray, "z y x"]) -> Evaluation:
    truth, estimate = reference.maps[name], maps.maps[name]
    there = inside & np.isfinite(estimate)
    metrics = {key: function(truth, estimate, mask=there) for key, function in _AGREEMENT.items()}
    if name in maps.low95 and name in maps.high95:
        low, high = _ends(maps.low95[name], maps.high95[name])
        metrics["coverage"] = coverage(truth, low, high, mask=there & np.isfinite(low) & np.isfinite(high))
    if name in maps.std:
        std = maps.std[name]
        metrics["z_score_rms"] = z_score_rms(truth, estimate, std, mask=there & np.isfinite(std))
    return Evaluation(map_name=name, region=region, voxels=int(inside.sum()), missing=int((inside & ~there).sum()), metrics=metrics)


def _ends(
    low: Float[np.ndarray, "z y x"], high: Float[np.ndarray, "z y x"]
) -> tuple[Float[np.ndarray, "z y x"], Float[np.ndarray, "z y x"]]:
    """Limits of intervals; one that is NaN beside a number is that of an open interval."""
    far = np.finfo(np.float32).max
    return np.where(np.isnan(low) & np.isfinite(high), -far, low), np.where(np.isnan(high) & np.isfinite(low), far, high)


def _check_alike(maps: MapFolder, reference: MapFolder, name: str, mask: np.ndarray | None) -> None:
    shape, wanted = maps.maps[name].shape, reference.maps[name].shape
    if shape != wanted:
        raise InputError(maps.source, f"has {name} of shape {shape}, the reference {wanted}", "resample one of them")
    if mask is not None and mask.shape != wanted:
        raise InputError("mask", f"has shape {mask.shape}, the maps {wanted}", "give a mask of the maps' shape")
    if not same_place(maps.affine, reference.affine, wanted):
        raise InputError(maps.source, f"lies elsewhere in space than {reference.source}", "resample one of them")
    units = {folder.units[name] for folder in (maps, reference) if name in folder.units}
    if len(units) > 1:
        raise InputError(
            maps.source, f"and {reference.source} state {name} in {' and '.join(sorted(units))}", "convert one of them"
        )


def errors(maps: MapFolder, reference: MapFolder, name: str) -> Float[np.ndarray, "z y x"]:
    """Estimate minus reference, NaN where either is missing."""
    difference: Float[np.ndarray, "z y x"] = np.where(reference.maps[name] != 0, maps.maps[name] - reference.maps[name], np.nan)
    return difference
