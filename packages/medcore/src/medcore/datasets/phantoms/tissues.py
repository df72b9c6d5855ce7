"""Relaxation times and proton densities of tissues at 1.5 T and 3 T, with their sources.

Times are means of small groups or of samples; individuals differ by several percent, which :func:`tissue_values` draws. `m0` is the
density of protons that a spin echo of some milliseconds can see, water = 1. Cortical bone has none of them (T2 below 1 ms), so its
density is 0 and its times only fill the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from medcore.errors import ConfigError

FIELD_STRENGTHS = (1.5, 3.0)
STANISZ = "Stanisz et al. 2005, doi 10.1002/mrm.20605 (tissue samples, 37 C)"
BAZELAIRE = "de Bazelaire et al. 2004, doi 10.1148/radiol.2303021331 (in vivo)"
GOLD = "Gold et al. 2004, doi 10.2214/ajr.183.2.1830343 (in vivo)"
CSF = "subarachnoid fluid at 3 T, PMC10696635 (in vivo); taken for 1.5 T too"
STUPIC = "Stupic et al. 2021, doi 10.1002/mrm.28779, NiCl2 array at 20 C"
NIST_2 = "NIST/ISMRM system phantom, T1 plate, serial 43 and later, 3 T; T2 by the T2/T1 ratios of " + STUPIC
OURS = "our choice between the tissues around it, no measurement"
DEEP = f"{OURS}; T1 at 3 T near putamen and caudate of Wright et al. 2008, doi 10.1007/s10334-008-0104-8"
BRAINWEB = "density: BrainWeb tissue parameters"


@dataclass(frozen=True, kw_only=True)
class Tissue:
    """Times in seconds at 1.5 T and 3 T, relative proton density, where they come from, and how much individuals differ.

    Attributes
    ----------
    t1, t2
        (at 1.5 T, at 3 T) in seconds.
    m0
        Relative density of visible protons, water = 1; rounded, good to 0.1.
    source
        Origin of the times.
    spread
        Standard deviation between subjects, relative.
    """

    t1: tuple[float, float]
    t2: tuple[float, float]
    m0: float
    source: str
    spread: float = 0.04


TISSUES: dict[str, Tissue] = {
    "white matter": Tissue(t1=(0.884, 1.084), t2=(0.072, 0.069), m0=0.77, source=f"{STANISZ}; {BRAINWEB}"),
    "grey matter": Tissue(t1=(1.124, 1.820), t2=(0.095, 0.099), m0=0.86, source=f"{STANISZ}; {BRAINWEB}"),
    "deep grey matter": Tissue(t1=(1.020, 1.400), t2=(0.083, 0.080), m0=0.83, source=DEEP),
    "cerebrospinal fluid": Tissue(t1=(4.309, 4.309), t2=(1.886, 1.886), m0=1.0, source=CSF),
    "white matter lesion": Tissue(t1=(1.250, 1.550), t2=(0.140, 0.135), m0=0.88, source=OURS),
    "scalp fat": Tissue(t1=(0.343, 0.382), t2=(0.058, 0.068), m0=0.90, source=BAZELAIRE),
    "subcutaneous fat": Tissue(t1=(0.343, 0.382), t2=(0.058, 0.068), m0=0.90, source=BAZELAIRE),
    "visceral fat": Tissue(t1=(0.343, 0.382), t2=(0.058, 0.068), m0=0.90, source=f"{BAZELAIRE}, taken from subcutaneous fat"),
    "muscle": Tissue(t1=(1.008, 1.412), t2=(0.044, 0.050), m0=0.79, source=STANISZ),
    "paravertebral muscle": Tissue(t1=(0.856, 0.898), t2=(0.027, 0.029), m0=0.79, source=BAZELAIRE),
    "liver": Tissue(t1=(0.586, 0.809), t2=(0.046, 0.034), m0=0.74, source=BAZELAIRE),
    "liver lesion": Tissue(t1=(1.000, 1.300), t2=(0.095, 0.085), m0=0.85, source=OURS),
    "spleen": Tissue(t1=(1.057, 1.328), t2=(0.079, 0.061), m0=0.79, source=BAZELAIRE),
    "kidney cortex": Tissue(t1=(0.966, 1.142), t2=(0.087, 0.076), m0=0.80, source=BAZELAIRE),
    "kidney medulla": Tissue(t1=(1.412, 1.545), t2=(0.085, 0.081), m0=0.84, source=BAZELAIRE),
    "vertebral marrow": Tissue(t1=(0.549, 0.586), t2=(0.049, 0.049), m0=0.65, source=BAZELAIRE),
    "spinal cord": Tissue(t1=(0.745, 0.993), t2=(0.074, 0.078), m0=0.75, source=STANISZ),
    "blood": Tissue(t1=(1.441, 1.932), t2=(0.290, 0.275), m0=0.83, source=STANISZ),
    "bowel fluid": Tissue(t1=(2.500, 2.800), t2=(0.500, 0.450), m0=0.95, source=OURS),
    "knee muscle": Tissue(t1=(1.130, 1.420), t2=(0.0353, 0.0317), m0=0.79, source=GOLD),
    "cartilage": Tissue(t1=(1.060, 1.240), t2=(0.0421, 0.0369), m0=0.72, source=GOLD),
    "cartilage lesion": Tissue(t1=(1.250, 1.480), t2=(0.070, 0.062), m0=0.80, source=OURS),
    "synovial fluid": Tissue(t1=(2.850, 3.620), t2=(1.210, 0.767), m0=0.97, source=GOLD),
    "knee fat": Tissue(t1=(0.288, 0.371), t2=(0.165, 0.133), m0=0.90, source=GOLD),
    "knee marrow": Tissue(t1=(0.288, 0.365), t2=(0.165, 0.133), m0=0.85, source=GOLD),
    "cortical bone": Tissue(t1=(0.200, 0.200), t2=(0.0004, 0.0004), m0=0.0, source="no signal in spin echoes of some milliseconds"),
    "water": Tissue(t1=(2.750, 2.750), t2=(2.000, 2.000), m0=1.0, source="pure water at 20 C, rounded", spread=0.0),
}
"""Tissues by name; the vials of the tube phantom are added below."""

# T1 in milliseconds at 1.5 T (Stupic), at 3 T (serial 43 and later); T2 at 1.5 T; T2/T1 at 3 T (Stupic).
_VIALS = (
    (2033.0, 1883.97, 1669.0, 1465 / 1989),
    (1489.0, 1330.16, 1244.0, 1077 / 1454),
    (1012.0, 987.27, 859.3, 717.9 / 984.1),
    (730.8, 690.08, 628.5, 510.1 / 706.0),
    (514.1, 484.97, 446.3, 359.6 / 496.7),
    (367.9, 341.58, 321.2, 255.5 / 351.5),
    (260.1, 240.86, 227.7, 180.8 / 247.13),
    (184.6, 174.95, 161.9, 127.3 / 175.3),
    (132.7, 121.08, 117.1, 90.3 / 125.9),
    (92.70, 85.75, 81.9, 64.3 / 89.0),
    (65.40, 60.21, 57.7, 45.7 / 62.7),
    (46.32, 42.89, 41.0, 31.86 / 44.53),
    (32.45, 30.40, 28.7, 22.38 / 30.84),
    (22.859, 21.44, 20.2, 15.83 / 21.719),
)
VIALS = tuple(f"vial {i}" for i in range(1, len(_VIALS) + 1))
"""Vials of the tube phantom, longest T1 first."""
for _name, (_low, _high, _t2, _ratio) in zip(VIALS, _VIALS, strict=True):
    TISSUES[_name] = Tissue(
        t1=(_low / 1e3, _high / 1e3),
        t2=(_t2 / 1e3, _ratio * _high / 1e3),
        m0=0.98,
        source=f"3 T: {NIST_2}; 1.5 T: {STUPIC}",
        spread=0.0,
    )


def tissue_values(
    names: Sequence[str], field_strength: float, generator: np.random.Generator
) -> tuple[Float[np.ndarray, " tissue"], Float[np.ndarray, " tissue"], Float[np.ndarray, " tissue"]]:
    """Density, T1 and T2 (seconds) of one subject: the table's values, each varied by its tissue's spread.

    The logarithms of T1 and T2 vary independently with the tissue's spread, that of the density with half of it, all clipped at
    2.5 standard deviations. A density stays at most 1, and T2 at most T1.

    Raises
    ------
    ConfigError
        If there are no values for this field strength.
    """
    if field_strength not in FIELD_STRENGTHS:
        known = " and ".join(f"{b:g} T" for b in FIELD_STRENGTHS)
        raise ConfigError("field_strength", f"is {field_strength:g} T, tissue values exist for {known}", "choose one of them")
    column = FIELD_STRENGTHS.index(field_strength)
    table = np.array([(TISSUES[n].m0, TISSUES[n].t1[column], TISSUES[n].t2[column]) for n in names])
    spread = np.array([TISSUES[n].spread for n in names])[:, None] * np.array([0.5, 1.0, 1.0])
    varied = table * np.exp(spread * np.clip(generator.standard_normal(table.shape), -2.5, 2.5))
    m0, t1, t2 = varied.T
    return np.minimum(m0, 1.0), t1.copy(), np.minimum(t2, t1)
