"""The experiment of the PUQ authors' public code: one slice, eight echoes, random lines, no noise (Haozhoong/PUQ, MIT licence)."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Complex64

from medcore.io.kspace import KSpace
from medcore.metrics import nrmse
from puq_qmri.pipeline import PipelineSettings, fit_images, reconstruct_images
from puq_qmri.protocols.case import PaperCase
from puq_qmri.protocols.measurement import measure
from puq_qmri.protocols.scores import Scores, score

MODEL = "t2"
PUBLISHED = (
    ("MANTIS", 0.43567, 0.9314),
    ("DOPAMINE", 0.42169, 0.9400),
    ("DeepT1", 0.35833, 0.9624),
    ("PUQ without guidance", 0.31906, 0.9733),
    ("PUQ", 0.30266, 0.9752),
)
"""Method, NRMSE, SSIM on one in-vivo brain slice at acceleration 6, from a figure stored in the authors' notebook ``test.ipynb``."""


@dataclass(frozen=True, kw_only=True)
class MethodResult:
    """What one method made of one case.

    Attributes
    ----------
    method
        Of the reconstruction.
    scores
        Of the T2 map from a fit in which all contrasts weigh the same.
    weighted
        Of that from a fit with the method's own deviations as weights; None where it gives none.
    image_nrmse
        Root mean square of the difference of magnitudes over that of the images, in the region of interest.
    seconds, fit_seconds
        Time of reconstruction and of the fit without weights.
    """

    method: str
    scores: Scores
    weighted: Scores | None
    image_nrmse: float | None
    seconds: float
    fit_seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers: the scores beside the method, those of the weighted fit under ``weighted``."""
        return {
            "method": self.method,
            **self.scores.as_dict(),
            "weighted": None if self.weighted is None else self.weighted.as_dict(),
            "image_nrmse": self.image_nrmse,
            "seconds": round(self.seconds, 3),
            "fit_seconds": round(self.fit_seconds, 3),
        }


def run_case(
    case: PaperCase, settings: list[PipelineSettings], *, acceleration: float = 6.0, seed: int | None = None
) -> list[MethodResult]:
    """Measure a case as the protocol does and reconstruct and fit it with every method.

    Nothing but the measurement, its coil maps and its echo times reaches a method.

    Parameters
    ----------
    case
        Fully sampled images and reference.
    settings
        Of each method.
    acceleration, seed
        See :func:`puq_qmri.protocols.measurement.measure`.

    Raises
    ------
    ConfigError
        If the acceleration does not suit the matrix.
    NumericalError
        If no voxel could be fitted.
    """
    kspace = measure(case, acceleration=acceleration, seed=seed)
    return [_run(case, kspace, one) for one in settings]


def _run(case: PaperCase, kspace: KSpace, settings: PipelineSettings) -> MethodResult:
    start = time.perf_counter()
    images = reconstruct_images(kspace, dataclasses.replace(settings, model=MODEL), csm=kspace.csm)
    reconstructed = time.perf_counter()
    region = case.roi[None]
    plain = fit_images(images.series, MODEL, mask=region, device=settings.device)
    done = time.perf_counter()
    magnitudes = np.abs(images.series.data[:, 0])
    weighted = None
    if images.deviation is not None:
        fitted = fit_images(images.series, MODEL, sigma=images.deviation, mask=region, device=settings.device)
        weighted = score(case.t2, case.roi, fitted, magnitudes)
    return MethodResult(
        method=settings.reconstruction.method,
        scores=score(case.t2, case.roi, plain, magnitudes),
        weighted=weighted,
        image_nrmse=_image_error(case, images.series.data[:, 0]),
        seconds=reconstructed - start,
        fit_seconds=done - reconstructed,
    )


def _image_error(case: PaperCase, images: Complex64[np.ndarray, "contrast y x"]) -> float | None:
    return nrmse(np.abs(case.image)[:, case.roi], np.abs(images)[:, case.roi]).value
