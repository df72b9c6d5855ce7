"""From simulated k-space to a judged T2 map, in Python; the command line does the same in three commands."""

# %% Measure a digital brain along radial spokes, half as many as full sampling needs.
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from medcore.provenance import RunRecord
from puq_qmri.evaluation import evaluate
from puq_qmri.pipeline import PipelineSettings, reconstruct_and_fit
from puq_qmri.report import maps_report
from puq_qmri.results import read_maps, write_result, write_truth
from puq_qmri.simulation import SimulationSettings, simulate

simulation = SimulationSettings(model="t2", trajectory="radial", acceleration=2.0, size=48, n_coils=4)
kspace, truth = simulate(simulation)
print("samples (contrast, coil, spoke, sample):", kspace.data.shape)

# %% Reconstruct, measure the noise of every image voxel, and fit with it.
settings = PipelineSettings(n_replicas=8)
images, maps = reconstruct_and_fit(kspace, settings)
print("voxels:", maps.counts())
print(f"median T2 {1e3 * np.nanmedian(maps.maps['t2'][truth.pure]):.0f} ms in voxels of one tissue")

# %% Write what the command line writes, and compare it with the truth.
with TemporaryDirectory() as folder:
    record = RunRecord(command="example", settings=settings, seed=0)
    write_truth(Path(folder, "truth"), truth, kspace, record)
    write_result(
        Path(folder, "maps"),
        record,
        page=lambda content: maps_report("Example", maps, images.series, content, sigma=images.deviation, images=images),
        series=images.series,
        maps=maps,
        images=images,
    )
    for found in evaluate(read_maps(Path(folder, "maps")), read_maps(Path(folder, "truth"))):
        print(found.map_name, found.region, {name: str(result) for name, result in found.metrics.items()})
