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
from puq_qmri.fitting.mlp import PixelMlp
from puq_qmri.pipeline import PipelineSettings, fit_images, reconstruct_images
from puq_qmri.protocols.case import PaperCase
from puq_qmri.protocols.measurement import measure
from puq_qmri.protocols.scores import Scores, score
from puq_qmri.signal_models import get_model

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
    mlp
        Of that from a pixelwise network; None without one, or where it needs deviations and the method gives none.
    seconds, fit_seconds, mlp_seconds
        Time of reconstruction, of the fit without weights, and of the network.
    """

    method: str
    scores: Scores
    weighted: Scores | None
    mlp: Scores | None
    image_nrmse: float | None
    seconds: float
    fit_seconds: float
    mlp_seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers: the scores beside the method, those of the weighted fit and of a network under their names."""
        return {
            "method": self.method,
            **self.scores.as_dict(),
            "weighted": None if self.weighted is None else self.weighted.as_dict(),
            "mlp": None if self.mlp is None else self.mlp.as_dict(),
            "image_nrmse": self.image_nrmse,
            "seconds": round(self.seconds, 3),
            "fit_seconds": round(self.fit_seconds, 3),
        }


def run_case(
    case: PaperCase,
    settings: list[PipelineSettings],
    *,
    acceleration: float = 6.0,
    seed: int | None = None,
    mlp: PixelMlp | None = None,
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
    mlp
        A pixelwise network for the echo times of the case, to be scored beside the fit.

    Raises
    ------
    ConfigError
        If the acceleration does not suit the matrix.
    InputError
        If the network is for other echo times.
    NumericalError
        If no voxel could be fitted.
    """
    kspace = measure(case, acceleration=acceleration, seed=seed)
    if mlp is not None:
        mlp.check(get_model(MODEL), case.te)
    return [_run(case, kspace, one, mlp) for one in settings]


def _run(case: PaperCase, kspace: KSpace, settings: PipelineSettings, mlp: PixelMlp | None) -> MethodResult:
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
    begun, network = time.perf_counter(), None
    if mlp is not None and (images.deviation is not None or not mlp.settings.guided):
        found = fit_images(images.series, MODEL, sigma=images.deviation, mask=region, mlp=mlp, device=settings.device)
        network = score(case.t2, case.roi, found, magnitudes)
    return MethodResult(
        method=settings.reconstruction.method,
        scores=score(case.t2, case.roi, plain, magnitudes),
        weighted=weighted,
        mlp=network,
        image_nrmse=_image_error(case, images.series.data[:, 0]),
        seconds=reconstructed - start,
        fit_seconds=done - reconstructed,
        mlp_seconds=time.perf_counter() - begun,
    )


def _image_error(case: PaperCase, images: Complex64[np.ndarray, "contrast y x"]) -> float | None:
    return nrmse(np.abs(case.image)[:, case.roi], np.abs(images)[:, case.roi]).value
