"""Quantities that several models estimate or are told."""

from __future__ import annotations

from puq_qmri.signal_models.base import Parameter

M0 = Parameter(name="m0", map_name="M0map", unit="a.u.", lower=0.0, upper=float("inf"))
T1 = Parameter(name="t1", map_name="T1map", unit="s", lower=1e-2, upper=10.0, typical=(0.05, 5.0))
T2 = Parameter(name="t2", map_name="T2map", unit="s", lower=1e-3, upper=5.0, typical=(0.01, 1.0))
B1 = Parameter(name="b1", map_name="TB1map", unit="1", lower=0.1, upper=3.0, typical=(0.6, 1.4))
"""Flip angle over the nominal one."""
