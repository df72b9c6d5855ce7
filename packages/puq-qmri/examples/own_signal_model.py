"""A signal model of your own: its description and its signal; Jacobian, maps, intervals and report come by themselves."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from medcore.io import ImageSeries
from medcore.provenance import RunRecord
from puq_qmri.pipeline import fit_images
from puq_qmri.report import maps_report
from puq_qmri.results import write_result
from puq_qmri.signal_models import Parameter, SignalModel
from puq_qmri.testing import check_signal_model


# %% A decay of two parts: the short T2 is a setting, its share is estimated.
@dataclass(frozen=True, kw_only=True)
class TwoParts(SignalModel):
    """M0 (v exp(-TE/T2s) + (1 - v) exp(-TE/T2))."""

    short: float = 0.015  # seconds
    name, summary, source, times_key = "two-parts", "M0 (v exp(-TE/T2s) + (1-v) exp(-TE/T2))", "our laboratory", "te"
    parameters = (
        Parameter(name="m0", map_name="M0map", unit="a.u.", lower=0.0, upper=float("inf")),
        Parameter(name="t2", map_name="T2map", unit="s", lower=0.03, upper=2.0, typical=(0.04, 0.5)),
        Parameter(name="share", map_name="sharemap", unit="1", lower=-0.5, upper=1.0, typical=(0.0, 0.5)),
    )

    def signal(self, parameters: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        m0, t2, share = parameters[..., None].unbind(-2)
        return m0 * (share * torch.exp(-times / self.short) + (1 - share) * torch.exp(-times / t2))


# %% Check it, measure something, fit it, write maps and report.
model = TwoParts(short=0.012)
check_signal_model(model)
te = np.arange(1, 33) * 0.008
truth = torch.tensor([900.0, 0.08, 0.15], dtype=torch.float64)
signal = model.signal(truth, torch.tensor(te)).numpy()[:, None, None, None]
images = signal + 3 * np.random.default_rng(1).standard_normal((32, 1, 24, 24))
series = ImageSeries(data=images.astype(np.float32), affine=np.diag([1e-3, 1e-3, 3e-3, 1]), times={"te": te})
maps = fit_images(series, model, sigma=3.0, signal="signed")
record = RunRecord(command="example", settings=model, seed=1)
write_result(
    Path("two-parts"), record, page=lambda c: maps_report("Two parts", maps, series, c, sigma=3.0), series=series, maps=maps
)
inside = (maps.low95["share"] < 0.15) & (maps.high95["share"] > 0.15)
print(
    maps.counts(), f"median share {np.nanmedian(maps.maps['share']):.3f}, intervals hold the truth in {100 * inside.mean():.1f} %"
)
