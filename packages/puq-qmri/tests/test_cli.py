"""The command line: what it writes, says and returns, and how it fails; most calls run in this process, faults in their own."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medcore.atomic import verify_directory
from medcore.io import read_ismrmrd, read_nifti, write_nifti
from puq_qmri.results import read_maps
from puq_qmri.simulation import SimulationSettings, simulate

Call = Callable[..., SimpleNamespace]
PROGRAM = [sys.executable, "-c", "from puq_qmri.cli import main; main()"]
Run = Callable[..., subprocess.CompletedProcess[str]]
TE = (0.01, 0.03, 0.06, 0.1)
SMALL = ("--size", 24, "--coils", 2, "--acceleration", 2)


@pytest.fixture
def echoes(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A 4-D series of spin echoes with T2 of 80 ms and a NaN voxel."""
    te = np.array(TE)[:, None, None, None]
    data = (100 * np.exp(-te / 0.08) + rng.normal(0, 1, (4, 1, 8, 9))).astype(np.float32)
    data[2, 0, 3, 3] = np.nan
    write_nifti(tmp_path / "echoes.nii.gz", data, np.diag([1e-3, 1e-3, 5e-3, 1]), sidecar={"EchoTime": list(TE)})
    return tmp_path / "echoes.nii.gz"


def digest(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        found.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return found.hexdigest()


def test_simulate_run_evaluate_go_together(puq: Call, tmp_path: Path) -> None:
    scan, maps = tmp_path / "scan.h5", tmp_path / "maps"
    made = puq("simulate", "-o", scan, *SMALL, "--json")
    assert made.code == 0
    facts = json.loads(made.out)
    assert facts["truth"] == str(tmp_path / "scan_truth")
    assert read_ismrmrd(scan).times["te"].tolist() == facts["times"]["te"]
    done = puq("run", scan, "-o", maps, "--replicas", 4, "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert (facts["model"], facts["signal"], facts["sigma_known"]) == ("t2", "complex", True)
    assert sum(facts["status"].values()) == 24 * 24
    verify_directory(maps)
    assert (maps / "images" / "part-mag_images.nii.gz").is_file()
    judged = puq("evaluate", maps, tmp_path / "scan_truth", "--json")
    results = json.loads(judged.out)["results"]["T2map"]
    assert results["pure"]["voxels"] < results["all"]["voxels"]
    # One number recomputed from the files.
    estimate, truth = read_maps(maps), read_maps(tmp_path / "scan_truth")
    there = np.isfinite(truth.maps["T2map"]) & np.isfinite(estimate.maps["T2map"])
    error = np.abs(estimate.maps["T2map"] - truth.maps["T2map"])[there] / truth.maps["T2map"][there]
    assert results["all"]["median_relative_error"] == pytest.approx(np.median(error), rel=1e-5)


def test_what_recon_writes_is_what_fit_takes(puq: Call, tmp_path: Path) -> None:
    scan = tmp_path / "scan.h5"
    assert puq("simulate", "-o", scan, *SMALL, "--model", "t1", "-q").code == 0
    assert puq("recon", scan, "-o", tmp_path / "images", "--replicas", 4, "-q").code == 0
    assert puq("run", scan, "-o", tmp_path / "once", "--replicas", 4, "-q").code == 0
    done = puq("fit", tmp_path / "images", "-o", tmp_path / "twice", "--json")
    facts = json.loads(done.out)
    assert (facts["model"], facts["signal"], facts["sigma_known"]) == ("ir", "complex", True)
    once, twice = (read_maps(tmp_path / name).maps["T1map"] for name in ("once", "twice"))
    both = np.isfinite(once) & np.isfinite(twice)
    assert both.sum() > 0.99 * np.isfinite(once).sum()
    np.testing.assert_allclose(np.median(np.abs(once - twice)[both] / once[both]), 0, atol=1e-4)
    unknown = puq("fit", tmp_path / "images", "-o", tmp_path / "third", "--sigma", "none", "--json")
    assert json.loads(unknown.out)["sigma_known"] is False


def test_fit_writes_maps_in_seconds_and_names_its_input(puq: Call, echoes: Path) -> None:
    before = digest(echoes.parent)
    output = echoes.parent / "out" / "maps"
    done = puq("fit", echoes, "-o", output, "--model", "t2", "--sigma", "1")
    assert done.code == 0, done.err
    assert "t2: median " in done.out
    assert " ms (quartiles" in done.out
    values = read_nifti(output / "T2map.nii.gz").data
    assert np.nanmedian(values) == pytest.approx(0.08, rel=0.02)
    assert np.isnan(values[0, 0, 3, 3])
    run = json.loads((output / "run.json").read_text())
    assert run["inputs"] == {str(echoes): hashlib.sha256(echoes.read_bytes()).hexdigest()}
    assert run["settings"]["sigma"] == "1"
    shutil.rmtree(output.parent)
    assert digest(echoes.parent) == before


def test_fit_records_the_kind_of_its_intervals(puq: Call, echoes: Path) -> None:
    width = {}
    for kind in ("normal", "profile"):
        maps = echoes.parent / kind
        done = puq("fit", echoes, "-o", maps, "--sigma", 20, "--intervals", kind, "--json")
        assert done.code == 0, done.err
        facts = json.loads((maps / "run.json").read_text())
        assert (facts["settings"]["intervals"], facts["intervals"]["kind"]) == (kind, kind)
        assert (facts["intervals"]["profiled"]["t2"] > 60) == (kind == "profile")
        found = read_maps(maps)
        up, down = (abs(limit["T2map"] - found.maps["T2map"]) for limit in (found.high95, found.low95))
        width[kind] = float(np.nanmedian(up / down))
    assert width["normal"] == pytest.approx(1, abs=1e-3)
    assert width["profile"] > 1.3
    refused = puq("fit", echoes, "-o", echoes.parent / "no", "--intervals", "profile", "--robust", "huber")
    assert refused.code != 0
    assert "--robust huber" in refused.err


def test_fit_takes_a_mask_a_sigma_image_and_times(puq: Call, echoes: Path) -> None:
    folder = echoes.parent
    image = read_nifti(echoes)
    mask = np.zeros(image.shape, np.float32)
    mask[0, :4] = 1
    write_nifti(folder / "mask.nii.gz", mask, image.affine)
    write_nifti(folder / "sigma.nii.gz", np.ones(image.data.shape, np.float32), image.affine)
    words = ("--mask", folder / "mask.nii.gz", "--sigma", folder / "sigma.nii.gz", "--te", "0.02 0.06 0.12 0.2")
    done = puq("fit", echoes, "-o", folder / "maps", *words, "--json")
    facts = json.loads(done.out)
    assert facts["status"]["outside-mask"] == 4 * 9
    assert facts["times"] == [0.02, 0.06, 0.12, 0.2]
    assert facts["maps"]["t2"]["median"] == pytest.approx(0.16, rel=0.02)
    inputs = json.loads((folder / "maps" / "run.json").read_text())["inputs"]
    assert set(inputs) == {str(echoes), str(folder / "mask.nii.gz"), str(folder / "sigma.nii.gz")}


def cut(path: Path) -> Path:
    target = path.with_name("cut.nii.gz")
    target.write_bytes(path.read_bytes()[:200])
    return target


BAD = {
    "missing": (lambda p: ["fit", p.parent / "absent.nii", "-o", p.parent / "x"], 2, r"absent.nii: does not exist"),
    "cut": (lambda p: ["fit", cut(p), "-o", p.parent / "x"], 2, r"cut.nii.gz: "),
    "times": (lambda p: ["fit", p, "-o", p.parent / "x", "--te", "0.01,0.02"], 2, r"has 2 echo times for 4 contrasts"),
    "milliseconds": (
        lambda p: ["fit", p, "-o", p.parent / "x", "--te", "10,30,60,100"],
        2,
        r"looks like milliseconds; .*perhaps 0.1",
    ),
    "words": (lambda p: ["fit", p, "-o", p.parent / "x", "--te", "soon"], 2, r"--te: is 'soon', which are not numbers"),
    "model": (lambda p: ["fit", p, "-o", p.parent / "x", "--model", "t2str"], 2, r"did you mean 't2star'\?"),
    "other times": (
        lambda p: ["fit", p, "-o", p.parent / "x", "--model", "ir"],
        2,
        r"states no ti, which model ir needs; give --ti",
    ),
    "sigma": (lambda p: ["fit", p, "-o", p.parent / "x", "--sigma", "-1"], 2, r"sigma: has a value of -1"),
    "signal": (lambda p: ["fit", p, "-o", p.parent / "x", "--signal", "complex"], 2, r"--signal complex: was asked of float32"),
    "mask": (lambda p: ["fit", p, "-o", p.parent / "x", "--mask", p], 2, r"holds 4 images"),
    "images to run": (lambda p: ["run", p, "-o", p.parent / "x"], 2, r"holds images, not k-space; .*puq-qmri fit"),
    "option": (lambda p: ["fit", p, "-o", p.parent / "x", "--modle", "t2"], 2, r"No such option.*--modle.*--model"),
    "maps": (lambda p: ["evaluate", p.parent, p.parent], 2, r"holds no maps"),
    "device": (lambda p: ["fit", p, "-o", p.parent / "x", "--device", "abacus"], 2, r"--device: 'abacus' cannot be used"),
    "exists": (lambda p: ["fit", p, "-o", p], 3, r"exists already; choose another output or add --force"),
    "foreign": (lambda p: ["fit", p, "-o", p.parent, "--force"], 3, r"was not written by this program"),
    "file as folder": (lambda p: ["fit", p, "-o", p / "maps"], 3, r"cannot be written"),
    "snr": (lambda p: ["simulate", "-o", p.parent / "s.h5", "--snr", "0"], 2, r"positive snr"),
    "anatomy": (lambda p: ["simulate", "-o", p.parent / "s.h5", "--anatomy", "brian"], 2, r"did you mean 'brain'"),
    "wrong kind of times": (
        lambda p: ["simulate", "-o", p.parent / "s.h5", "--ti", "0.1,0.2"],
        2,
        r"--ti: was given for",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_leaves_no_trace(puq: Call, echoes: Path, name: str) -> None:
    words, code, match = BAD[name]
    arguments = words(echoes)
    before = digest(echoes.parent)
    done = puq(*arguments)
    assert done.code == code, done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert re.search(match, done.err), done.err
    assert digest(echoes.parent) == before
    assert not list(echoes.parent.glob(".*"))


def test_an_array_of_one_contrast_is_reconstructed_but_not_fitted(puq: Call, tmp_path: Path, rng: np.random.Generator) -> None:
    import torch

    from puq_qmri.operators.fft import centred_fft
    from puq_qmri.simulation import birdcage

    image = np.zeros((1, 32, 32), np.complex64)
    image[0, 8:24, 8:24] = 1
    data = centred_fft(torch.from_numpy(image * birdcage(4, 32))).numpy()[:, 0]
    np.save(tmp_path / "k.npy", data + rng.normal(0, 1e-3, data.shape).astype(np.complex64))
    done = puq("recon", tmp_path / "k.npy", "-o", tmp_path / "images", "--replicas", 2, "--json")
    assert done.code == 0, done.err
    found = read_nifti(tmp_path / "images" / "part-mag_images.nii.gz").data[0, 0]
    assert np.corrcoef(found.ravel(), np.abs(image).ravel())[0, 1] > 0.99
    assert "no header in the file" in json.loads(done.out)["repairs"][0]
    refused = puq("run", tmp_path / "k.npy", "-o", tmp_path / "maps")
    assert refused.code == 2
    assert "states no echo or inversion times that differ; give --te or --ti in seconds" in refused.err
    refused = puq("run", tmp_path / "k.npy", "-o", tmp_path / "maps", "--te", "0.01", "--model", "t2")
    assert "has 1 different te, and model t2 estimates 2 parameters" in refused.err


@pytest.mark.parametrize("command", ["simulate", "recon", "fit", "run", "evaluate", "demo"])
def test_dry_runs_say_what_would_happen_and_write_nothing(puq: Call, echoes: Path, command: str) -> None:
    folder = echoes.parent
    assert puq("simulate", "-o", folder / "scan.h5", *SMALL, "-q").code == 0
    before = digest(folder)
    words = {
        "simulate": ["-o", folder / "new.h5"],
        "recon": [folder / "scan.h5", "-o", folder / "new"],
        "run": [folder / "scan.h5", "-o", folder / "new"],
        "fit": [echoes, "-o", folder / "new"],
        "evaluate": [folder / "scan_truth", folder / "scan_truth", "-o", folder / "new"],
        "demo": ["-o", folder / "new"],
    }[command]
    done = puq(command, *words, "--dry-run", "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert facts["dry_run"]
    assert facts["writes"][0].startswith(str(folder / "new"))
    assert digest(folder) == before


def test_settings_come_from_a_file_and_are_overridden(puq: Call, echoes: Path) -> None:
    config = echoes.parent / "fit.yaml"
    config.write_text("model: t2-offset\nsigma: '1'\n")
    done = puq("fit", echoes, "-o", echoes.parent / "maps", "--config", config, "--set", "model=t2star", "--json")
    facts = json.loads(done.out)
    assert (facts["model"], facts["sigma_known"]) == ("t2star", True)
    config.write_text("modell: t2\n")
    refused = puq("fit", echoes, "-o", echoes.parent / "other", "--config", config)
    assert refused.code == 2
    assert "did you mean 'model'?" in refused.err


def test_models_and_doctor_are_json_and_complete(puq: Call) -> None:
    models = {m["name"]: m for m in json.loads(puq("models", "--json").out)["models"]}
    assert {"t2", "t2-offset", "t2star", "ir", "ir2"} <= set(models)
    assert [(p["name"], p["map"], p["unit"]) for p in models["ir"]["parameters"]][:2] == [
        ("m0", "M0map", "a.u."),
        ("t1", "T1map", "s"),
    ]
    assert all(m["formula"] and m["source"] for m in models.values())
    facts = json.loads(puq("doctor", "--json").out)
    assert facts["nufft"]["finufft"] == "works"
    assert {"torch", "puq-qmri", "medcore"} <= set(facts["versions"])
    assert "torchvision" in facts


def test_equal_seeds_give_equal_files_and_other_seeds_others(puq: Call, tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert puq("simulate", "-o", tmp_path / f"{name}.h5", *SMALL, "--seed", seed, "-q").code == 0
    a, b, c = (read_ismrmrd(tmp_path / f"{n}.h5").data for n in "abc")
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


class TestSimulateOptions:
    def test_every_setting_of_the_simulation_is_reached(self, puq: Call, tmp_path: Path) -> None:
        words = (
            "--trajectory",
            "jittered",
            "--anatomy",
            "shapes",
            "--coil-geometry",
            "loops",
            "--te",
            "0.01,0.03,0.06",
            "--snr",
            "inf",
        )
        done = puq("simulate", "-o", tmp_path / "scan.h5", *SMALL, *words, "--accelerations", "1.5 2,3", "--json")
        assert done.code == 0, done.err
        found = read_ismrmrd(tmp_path / "scan.h5")
        expected, truth = simulate(
            SimulationSettings(
                size=24,
                n_coils=2,
                trajectory="jittered",
                anatomy="shapes",
                coils="loops",
                times=(0.01, 0.03, 0.06),
                snr=float("inf"),
                accelerations=(1.5, 2.0, 3.0),
            )
        )
        np.testing.assert_array_equal(found.mask, expected.mask)
        np.testing.assert_allclose(found.data, expected.data, atol=1e-6)
        assert found.noise is None
        np.testing.assert_allclose(found.mask.mean(axis=(1, 2, 3)), [1 / 1.5, 1 / 2, 1 / 3], rtol=0.01)
        np.testing.assert_array_equal(read_maps(tmp_path / "scan_truth").maps["T2map"], truth.maps["t2"])
        settings = json.loads((tmp_path / "scan_truth" / "run.json").read_text())["settings"]
        assert (settings["coils"], settings["accelerations"], settings["snr"]) == ("loops", [1.5, 2.0, 3.0], "inf")

    @pytest.mark.parametrize(
        ("words", "match"),
        [
            (("--accelerations", "2,x"), r"--accelerations: is '2,x', which are not numbers; give one number for each contrast"),
            (("--accelerations", "2,3"), r"accelerations of the contrasts: are \[2.0, 3.0\] for 8 contrasts"),
            (
                ("--accelerations", "2,2", "--te", "0.01,0.1", "--trajectory", "radial"),
                r"for radial sampling; give one acceleration",
            ),
            (("--coil-geometry", "loop"), r"'loop' is not one of 'birdcage', 'random-birdcage', 'loops'"),
        ],
        ids=str,
    )
    def test_bad_options_are_one_line(self, puq: Call, tmp_path: Path, words: tuple[str, ...], match: str) -> None:
        done = puq("simulate", "-o", tmp_path / "scan.h5", *words)
        assert done.code == 2
        assert done.err.count("\n") == 1
        assert re.search(match, done.err), done.err
        assert not list(tmp_path.iterdir())


class TestDensityAndBackEnd:
    @pytest.fixture
    def scan(self, puq: Call, tmp_path: Path) -> Path:
        words = ("--size", 48, "--coils", 4, "--acceleration", 1, "--te", "0.01,0.05,0.1", "--trajectory", "radial")
        assert puq("simulate", "-o", tmp_path / "scan.h5", *words, "-q").code == 0
        return tmp_path / "scan.h5"

    def test_the_kind_is_used_and_recorded(self, puq: Call, scan: Path) -> None:
        images = {}
        for kind in ("pipe-menon", "voronoi", "radial"):
            output = scan.parent / kind
            done = puq("recon", scan, "-o", output, "--density", kind, "--method", "adjoint", "--uncertainty", "none", "-q")
            assert done.code == 0, done.err
            assert json.loads((output / "run.json").read_text())["settings"]["reconstruction"]["density"] == kind
            images[kind] = read_nifti(output / "part-mag_images.nii.gz").data
        inside = np.isfinite(read_maps(scan.parent / "scan_truth").maps["T2map"])
        first = images["pipe-menon"][:, inside]
        for kind in ("voronoi", "radial"):
            assert 1e-3 < np.linalg.norm(images[kind][:, inside] - first) / np.linalg.norm(first) < 0.15

    @pytest.mark.parametrize("command", ["recon", "run"])
    def test_what_does_not_fit_is_one_line(self, puq: Call, scan: Path, command: str) -> None:
        assert puq("simulate", "-o", scan.parent / "lines.h5", *SMALL, "-q").code == 0
        cases = [
            (scan, ("--backend", "cufinufft"), r"NUFFT back end cufinufft: got a trajectory on cpu; use a CUDA device"),
            (scan, ("--density", "wheel"), r"'wheel' is not one of 'pipe-menon', 'voronoi', 'radial'"),
            (scan, ("--density", "radial", "--method", "unrolled"), r"--density radial: is not for method unrolled"),
            (scan.parent / "lines.h5", ("--density", "radial"), r"lies on a grid, density compensation radial is for trajectories"),
        ]
        for file, words, match in cases:
            method = () if "--method" in words else ("--method", "cg-sense")
            done = puq(command, file, "-o", scan.parent / "out", *words, *method)
            assert done.code == 2
            assert re.search(match, done.err), done.err
            assert not (scan.parent / "out").exists()


def test_every_back_end_is_offered() -> None:
    from typing import get_args

    from puq_qmri import choices, options
    from puq_qmri.operators.nufft import BACKENDS

    assert get_args(get_args(options.Backend)[0]) == BACKENDS == choices.BACKENDS


# Processes of their own, real files.


def test_help_loads_no_heavy_library() -> None:
    code = "import sys, puq_qmri.cli; print([m for m in ('torch', 'sigpy', 'matplotlib', 'scipy', 'nibabel') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.integration
@pytest.mark.parametrize("name", ["TERM", "KILL"])
def test_a_stopped_run_leaves_no_result_and_no_obstacle(run_cli: Run, tmp_path: Path, name: str) -> None:
    scan = tmp_path / "scan.h5"
    assert run_cli("simulate", "-o", scan, "--size", 64, "--coils", 4, "-q").returncode == 0
    before = digest(tmp_path)
    program = [
        *PROGRAM,
        "run",
        str(scan),
        "-o",
        str(tmp_path / "maps"),
        "--method",
        "cg-sense",
        "--uncertainty",
        "pseudo-replica",
        "--replicas",
        "2000",
    ]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(8)
        assert process.poll() is None, "the run was over before it could be stopped"
        process.send_signal(getattr(signal, f"SIG{name}"))
        _, err = process.communicate(timeout=60)
    assert process.returncode == (143 if name == "TERM" else -signal.SIGKILL)
    assert not (tmp_path / "maps").exists()
    assert digest(tmp_path) == before
    if name == "TERM":
        assert err.startswith("error: interrupted: ")
    assert run_cli("run", scan, "-o", tmp_path / "maps", "--replicas", 2).returncode == 0
    verify_directory(tmp_path / "maps")


@pytest.mark.integration
def test_killing_the_writer_at_any_moment_leaves_a_whole_result_or_none(echoes: Path) -> None:
    output = echoes.parent / "maps"
    program = [
        *PROGRAM,
        "fit",
        str(echoes),
        "-o",
        str(output),
        "--force",
        "-q",
    ]
    start = time.monotonic()
    subprocess.run(program, check=True)
    whole = time.monotonic() - start
    for part in (0.5, 0.8, 0.9, 0.95, 1.0):
        process = subprocess.Popen(program, stderr=subprocess.DEVNULL)
        time.sleep(whole * part)
        process.kill()
        process.wait()
        verify_directory(output)
    subprocess.run(program, check=True)
    assert not list(echoes.parent.glob(".maps*")), "leftovers of killed writers were not swept"


@pytest.mark.integration
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_exit_code_3(run_cli: Run, echoes: Path) -> None:
    locked = echoes.parent / "locked"
    locked.mkdir(mode=0o555)
    done = run_cli("fit", echoes, "-o", locked / "maps")
    assert done.returncode == 3
    assert "cannot be written" in done.stderr


@pytest.mark.integration
@pytest.mark.parametrize("trajectory", ["cartesian", "radial", "spiral"])
def test_every_trajectory_goes_from_scan_to_judged_maps(run_cli: Run, tmp_path: Path, trajectory: str) -> None:
    scan = tmp_path / "scan.h5"
    assert run_cli("simulate", "-o", scan, "--trajectory", trajectory, "--size", 64, "--acceleration", 2, "-q").returncode == 0
    done = run_cli("run", scan, "-o", tmp_path / "maps", "--replicas", 8, "-q")
    assert done.returncode == 0, done.stderr
    judged = json.loads(run_cli("evaluate", tmp_path / "maps", tmp_path / "scan_truth", "--json").stdout)["results"]["T2map"][
        "pure"
    ]
    assert judged["missing"] < 0.1 * judged["voxels"]
    # Twice undersampled at SNR 50 the Cramer-Rao bound of T2 is about 6 %; the median absolute error of that is 4 %.
    assert judged["median_relative_error"] < 0.2


@pytest.mark.integration
class TestRealData:
    """Fits of measured series through the command line as a user calls it."""

    def test_prostate_echoes_agree_with_the_published_map(self, run_cli: Run, data_root: Path, tmp_path: Path) -> None:
        source = data_root / "prostate-t2" / "invivo_000198.nii.gz"
        te = ",".join(f"{0.0264 + 0.0132 * k:.4f}" for k in range(10))
        done = run_cli("fit", source, "-o", tmp_path / "maps", "--te", te, "--json")
        assert done.returncode == 0, done.stderr
        published = read_nifti(data_root / "prostate-t2" / "preds_000198_nlls.nii.gz", times={}).data[1] * 0.1452
        found = read_nifti(tmp_path / "maps" / "T2map.nii.gz").data[0]
        bright = np.abs(read_nifti(source, times={}).data[0]) > 100
        ratio = (found / published)[bright & np.isfinite(found)]
        np.testing.assert_allclose(np.percentile(ratio, (5, 50, 95)), 1, atol=2e-4)

    @pytest.mark.parametrize(
        ("file", "option", "times", "name", "median"),
        [
            ("t2dataset.npy", "--te", "0.01,0.025,0.05,0.09,0.15,0.25", "t2", 0.064),
            ("t1dataset.npy", "--ti", "0.05,0.1,0.2,0.5,2,4", "t1", 1.197),
        ],
    )
    def test_a_brain_has_the_usual_times(
        self,
        run_cli: Run,
        data_root: Path,
        tmp_path: Path,
        file: str,
        option: str,
        times: str,
        name: str,
        median: float,
    ) -> None:
        done = run_cli("fit", data_root / "fsantini-t1t2" / file, "-o", tmp_path / "maps", option, times, "--json")
        assert done.returncode == 0, done.stderr
        facts = json.loads(done.stdout)
        assert facts["maps"][name]["median"] == pytest.approx(median, rel=0.1)
        assert any("no geometry" in repair for repair in facts["repairs"])

    def test_an_incomplete_dicom_series_is_refused_or_cut_as_asked(self, run_cli: Run, data_root: Path, tmp_path: Path) -> None:
        source = sorted((data_root / "siemens-mese-dicom").glob("TE_*.dcm"))
        refused = run_cli("fit", *source, "-o", tmp_path / "maps")
        assert refused.returncode == 2
        assert "is incomplete" in refused.stderr
        done = run_cli("fit", *source, "-o", tmp_path / "maps", "--incomplete", "drop", "--json")
        assert done.returncode == 0, done.stderr
        facts = json.loads(done.stdout)
        assert facts["times"] == pytest.approx([0.02, 0.04, 0.06])
        assert any("dropped the slices" in repair for repair in facts["repairs"])
        mixed = run_cli("fit", data_root / "siemens-mese-dicom", "-o", tmp_path / "other", "--incomplete", "drop")
        assert mixed.returncode == 2
        assert "choose one with series" in mixed.stderr

    def test_an_enhanced_file_with_one_echo_time_cannot_be_fitted(self, run_cli: Run, data_root: Path, tmp_path: Path) -> None:
        done = run_cli("fit", data_root / "philips-enhanced-mr" / "DICOM" / "T2_.dcm", "-o", tmp_path / "maps")
        assert done.returncode == 2
        assert "states no echo or inversion times that differ" in done.stderr
        assert not (tmp_path / "maps").exists()

    def test_measured_brain_kspace_becomes_a_brain(self, run_cli: Run, data_root: Path, tmp_path: Path) -> None:
        source = data_root / "sigpy-brain-kspace" / "cartesian_ksp.npy"
        done = run_cli("recon", source, "-o", tmp_path / "images", "--replicas", 4, "--json")
        assert done.returncode == 0, done.stderr
        # One sample in eight was measured, densely in the centre: zero-filled coil images are a blurred brain.
        kspace = np.load(source)
        coils = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))
        blurred = np.sqrt((np.abs(coils) ** 2).sum(axis=0))
        found = read_nifti(tmp_path / "images" / "part-mag_images.nii.gz").data[0, 0]
        bright = blurred > 0.1 * blurred.max()
        assert np.corrcoef(found[bright], blurred[bright])[0, 1] > 0.9
        edges = [np.mean(np.abs(np.diff(image, axis=0))) / np.mean(image) for image in (found, blurred)]
        assert edges[0] > 1.5 * edges[1]
        assert json.loads(done.stdout)["noise_source"] == "outer k-space, an upper bound"
