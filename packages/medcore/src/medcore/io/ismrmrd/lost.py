"""Which readouts are absent though the header promises them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from medcore.io.ismrmrd.header import Limit

_NAMED = 8
STEP_1, STEP_2 = "kspace_encoding_step_1", "kspace_encoding_step_2"


@dataclass(frozen=True, kw_only=True)
class Lost:
    """Absent readouts as (contrast, step 2, step 1), by the counters of the file."""

    places: tuple[tuple[int, int, int], ...] = ()
    planes: bool = False

    def __bool__(self) -> bool:
        return bool(self.places)

    def sentence(self) -> str:
        """How many there are, and the first few by name."""
        names = [f"contrast {c} line {y}" + (f" partition {z}" if self.planes else "") for c, z, y in self.places[:_NAMED]]
        more = ", ..." if len(self.places) > _NAMED else ""
        n = len(self.places)
        many = f"{n} readouts that the header promises are" if n > 1 else "1 readout that the header promises is"
        return f"{many} absent: {', '.join(names)}{more}"


def lost_lines(
    measured: Bool[np.ndarray, "contrast z y"], limits: Mapping[str, Limit], acceleration: tuple[int, int] | None
) -> Lost:
    """Lines of a grid that the header's limits and acceleration promise and no readout holds.

    Nothing is promised where the header states no acceleration. With an acceleration, the lines of one remainder are promised, that
    which most of the measured lines have; others (calibration) may be there or not.

    Parameters
    ----------
    measured
        Which lines were measured, by the counters of the file.
    limits
        Ranges of the counters; the whole of `measured` where absent.
    acceleration
        Along z and y.
    """
    if acceleration is None:
        return Lost()
    _, n_z, n_y = measured.shape
    z_range, y_range = _range(limits.get(STEP_2), n_z), _range(limits.get(STEP_1), n_y)
    places = []
    for contrast, lines in enumerate(measured):
        for z in _promised(lines.any(axis=1), z_range, acceleration[0]):
            there = lines[z] if lines[z].any() else lines.any(axis=0)  # a whole plane is lost: its lines are those of the others
            places += [(contrast, int(z), int(y)) for y in _promised(there, y_range, acceleration[1]) if not lines[z, y]]
    return Lost(places=tuple(places), planes=n_z > 1)


def _range(limit: Limit | None, n: int) -> range:
    return range(n) if limit is None else range(limit.minimum, min(limit.maximum, n - 1) + 1)


def _promised(there: Bool[np.ndarray, "n"], within: range, step: int) -> Int[np.ndarray, "promised"]:
    """Every `step`-th index of `within`, with the remainder that most indices of `there` have."""
    inside = np.array([i for i in within if there[i]], dtype=np.int64)
    if len(inside) == 0:
        return inside
    remainder = int(np.bincount(inside % step).argmax())
    return np.array([i for i in within if i % step == remainder], dtype=np.int64)


def lost_spokes(
    counter: Int[np.ndarray, "readout"],
    contrast: Int[np.ndarray, "readout"],
    limits: Mapping[str, Limit],
    acceleration: tuple[int, int] | None,
) -> Lost:
    """Readouts along a trajectory that the range of their counter promises and that are absent.

    Nothing is said where the counter does not number the readouts of a contrast, or an acceleration is stated.
    """
    limit = limits.get(STEP_1)
    if limit is None or acceleration not in (None, (1, 1)):
        return Lost()
    places = []
    for c in range(int(contrast.max()) + 1):
        own = counter[contrast == c]
        if len(np.unique(own)) < len(own):
            return Lost()
        places += [(c, 0, int(y)) for y in np.setdiff1d(np.arange(limit.minimum, limit.maximum + 1), own)]
    return Lost(places=tuple(places))
