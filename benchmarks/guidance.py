"""What deviations are worth as weights of the fit, for every reconstruction and uncertainty, on scans that nothing was chosen on.

Results of each scan are kept in ``guidance.jsonl`` beside the tables, so that it can be stopped and goes on: delete the file to begin anew.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _results import FOLDER, publish

from medcore.io.kspace import KSpace
from medcore.metrics import compare_methods, coverage, median_relative_error, nrmse, ssim_w11
from puq_qmri.demo_weights import shuffled, true_deviation
from puq_qmri.fitting import FitResult, Guidance
from puq_qmri.pipeline import PipelineSettings, fit_images, reconstruct_images
from puq_qmri.reconstruction import ReconstructionSettings
from puq_qmri.simulation import SimulationSettings, Truth, simulate

SEED = 1_200_000
SIZE, REPLICAS = 80, 16
PHANTOMS = (("knee", 40.0), ("tubes", 25.0))
"""Anatomies and signal-to-noise ratios, five subjects each."""
SUBJECTS = 5
MODELS = ("t2", "t1")
EQUAL = tuple((trajectory, f"{r:g}") for trajectory in ("cartesian", "radial") for r in (4.0, 6.0, 8.0))
UNEQUAL = (("cartesian", "2 and 8"), ("cartesian", "two noisy"), ("cartesian", "two moved"))
KINDS = (
    ("cg-sense", "pseudo-replica"),
    ("cg-sense", "learned"),
    ("subspace", "pseudo-replica"),
    ("subspace", "learned"),
    ("unrolled", "learned"),
)
WEIGHTS = ("none", "given", "misfit-aware", "auto", "oracle", "shuffled")
METRICS = ("median", "nrmse", "ssim", "coverage")
BAD = (1, 4)
"""Contrasts that are noisy or moved."""
_NOISE, _SHIFT, _MOVED_LINES = 4.0, 3.0, 0.5


def scan(model: str, trajectory: str, quality: str, anatomy: str, snr: float, seed: int) -> tuple[KSpace, Truth]:
    """One scan; its coil maps are not handed on."""
    mixed = quality == "2 and 8"
    settings = SimulationSettings(
        model=model,
        trajectory=trajectory,
        acceleration=float(quality) if quality.isdigit() else 4.0,
        accelerations=(2.0, 8.0) * 4 if mixed else (),
        anatomy=anatomy,
        size=SIZE,
        field_strength=1.5,
        coils="loops",
        snr=snr,
        seed=seed,
    )
    kspace, truth = simulate(settings)
    if quality == "two noisy":
        kspace = noisier(kspace, np.random.default_rng(seed))
    if quality == "two moved":
        kspace = moved(kspace, np.random.default_rng(seed))
    return kspace, truth


def noisier(kspace: KSpace, rng: np.random.Generator) -> KSpace:
    """Some contrasts with several times the noise, which the noise scan does not know."""
    assert kspace.noise is not None  # noqa: S101 - for the type checker
    assert kspace.mask is not None  # noqa: S101
    level = np.sqrt((_NOISE**2 - 1) * np.mean(np.abs(kspace.noise) ** 2, axis=1) / 2)[:, None, None, None]
    data = kspace.data.copy()
    for contrast in BAD:
        extra = rng.standard_normal(data[contrast].shape) + 1j * rng.standard_normal(data[contrast].shape)
        data[contrast] += (level * extra * kspace.mask[contrast]).astype(np.complex64)
    return dataclasses.replace(kspace, data=data)


def moved(kspace: KSpace, rng: np.random.Generator) -> KSpace:
    """Half of the lines of some contrasts from a place three voxels away."""
    data = kspace.data.copy()
    lines = data.shape[-2]
    phase = np.exp(-2j * np.pi * _SHIFT * (np.arange(lines) - lines // 2) / lines).astype(np.complex64)
    for contrast in BAD:
        chosen = rng.random(lines) < _MOVED_LINES
        data[contrast][..., chosen, :] *= phase[chosen, None]
    return dataclasses.replace(kspace, data=data)


def fits(kspace: KSpace, truth: Truth, method: str, uncertainty: str, seed: int) -> Iterator[tuple[str, FitResult]]:
    """The maps of one reconstruction with all kinds of weights."""
    reconstruction = ReconstructionSettings(method=method)
    settings = PipelineSettings(reconstruction=reconstruction, uncertainty=uncertainty, n_replicas=REPLICAS, seed=seed)
    images = reconstruct_images(kspace, settings)
    assert images.deviation is not None  # noqa: S101 - for the type checker
    for name in WEIGHTS:
        sigma = {"oracle": true_deviation(images, truth), "shuffled": shuffled(images.deviation, seed)}.get(name, images.deviation)
        rule = "given" if name in {"oracle", "shuffled"} else name
        yield name, fit_images(images.series, sigma=sigma, guidance=Guidance(weighting=rule))


def judge(result: FitResult, truth: Truth, key: str) -> dict[str, float]:
    """Median relative error, NRMSE and coverage over voxels of one tissue, SSIM of the whole map; no estimate counts as zero."""
    wanted, found = truth.maps[key], result.maps[key]
    filled = np.where(np.isfinite(found), found, 0.0).astype(np.float32)
    pure, there = truth.pure, truth.pure & np.isfinite(found)
    clipped = np.clip(filled, 0, float(np.nanmax(wanted)) * 2)
    whole = [np.where(np.isfinite(wanted), v, 0.0)[0] for v in (wanted, clipped)]
    low, high = np.nan_to_num(result.low95[key], nan=-1e9), np.nan_to_num(result.high95[key], nan=1e9)
    values = {
        "median": median_relative_error(wanted, filled, mask=pure),
        "nrmse": nrmse(wanted, clipped, mask=pure),
        "ssim": ssim_w11(*whole),
        "coverage": coverage(wanted, low, high, mask=there),
    }
    return {name: float("nan") if v.value is None else v.value for name, v in values.items()}


def measured(path: Path) -> list[dict[str, Any]]:
    """Results of every scan; those that are missing are measured."""
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    there = {tuple(row["scan"]) for row in done}
    subjects = [(a, snr, SEED + 100 * i + s) for s in range(SUBJECTS) for i, (a, snr) in enumerate(PHANTOMS)]
    for (anatomy, snr, seed), model, (trajectory, quality) in itertools.product(subjects, MODELS, (*UNEQUAL, *EQUAL)):
        name = (model, trajectory, quality, anatomy, seed)
        if name in there:
            continue
        kspace, truth = scan(model, trajectory, quality, anatomy, snr, seed)
        found = {
            f"{method}, {uncertainty}": {w: judge(r, truth, model) for w, r in fits(kspace, truth, method, uncertainty, seed)}
            for method, uncertainty in KINDS
        }
        done.append({"scan": name, "found": found})
        with path.open("a") as file:
            file.write(json.dumps(done[-1]) + "\n")
        print(*name, file=sys.stderr, flush=True)
    return done


def table(done: list[dict[str, Any]]) -> list[list[str]]:
    """One row a case and kind of reconstruction: means over the scans, and the change against equal weights."""
    cases: dict[tuple[str, ...], list[dict[str, dict[str, float]]]] = defaultdict(list)
    for row in done:
        for kind, by_weights in row["found"].items():
            cases[(*row["scan"][:3], kind)].append(by_weights)
    rows = []
    for (model, trajectory, quality, kind), scans in cases.items():
        scores = {w: np.array([s[w]["median"] for s in scans]) for w in WEIGHTS}
        compared = {c.name: c for c in compare_methods(scores, "none")}
        cells = [f"{100 * scores['none'].mean():.1f} %"]
        for name in WEIGHTS[1:]:
            change = 100 * (scores[name].mean() / scores["none"].mean() - 1)
            p = compared[name].p_value
            cells.append(f"{change:+.0f} %{'*' if p is not None and p < 0.05 else ''}")
        means = {m: {w: np.nanmean([s[w][m] for s in scans]) for w in ("none", "auto")} for m in METRICS[1:]}
        cells += [f"{means[m]['none']:.3f}, {means[m]['auto']:.3f}" for m in ("nrmse", "ssim")]
        cells.append(f"{100 * means['coverage']['none']:.0f}, {100 * means['coverage']['auto']:.0f} %")
        rows.append([model, f"{'lines' if trajectory == 'cartesian' else 'spokes'}, {quality}", kind, str(len(scans)), *cells])
    return rows


def main() -> None:
    """Measure what is missing and write the table."""
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    rows = table(measured(FOLDER / "guidance.jsonl"))
    objects = " and ".join(f"{a} (signal-to-noise ratio {s:g})" for a, s in PHANTOMS)
    publish(
        "guidance",
        "What deviations are worth as weights",
        ["", "sampling", "images, deviations", "scans", "none", *WEIGHTS[1:], "NRMSE none, auto", "SSIM", "95 % intervals hold"],
        rows,
        seed=SEED,
        note=f"{SUBJECTS} subjects each of {objects}, tissue values of 1.5 tesla, {SIZE} x {SIZE}, eight coils of the geometry `loops`, "
        "eight contrasts; none of these objects, coils and seeds was trained on or chosen settings with. `none`: median relative error "
        "of T2 or T1 over voxels of one tissue, all contrasts weighted the same; the others: change of it, * where the paired "
        "permutation test over scans gives p < 0.05. `oracle`: root mean square of the true errors in 5 x 5 voxels; `shuffled`: "
        "deviations of other contrasts. Two noisy: contrasts 1 and 4 with four times the noise, unknown to the noise scan. Two moved: "
        "half of the lines of these contrasts from a place three voxels away. Acceleration 4 where not said. NRMSE over voxels of one "
        "tissue, SSIM (11 x 11) of the map; intervals of `none` and `auto` by the same deviations.",
    )


if __name__ == "__main__":
    main()
