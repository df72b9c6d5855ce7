"""The pixelwise network: what it learns, against the least-squares fit and repeated measurements; what it refuses."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from medcore.config import to_mapping
from medcore.errors import ConfigError, InputError
from medcore.io import write_nifti
from puq_qmri.fitting import Guidance, Status, fit, guided_fit, mlp_fit
from puq_qmri.fitting.mlp import PAPER_TIMES, MlpSettings, PixelMlp
from puq_qmri.fitting.mlp_files import load_mlp, save_mlp
from puq_qmri.signal_models import get_model
from puq_qmri.training.mlp import MlpTraining, load_mlp_training, train_mlp, train_to_folder

TE = np.array(PAPER_TIMES)
T2 = get_model("t2")
NARROW = ["drawn={t2: [0.03, 0.3]}", "snr=[20, 100]"]
"""A range that is learnt fast."""


@pytest.fixture(scope="module")
def guided():
    return train_mlp(load_mlp_training("puq-paper", [*NARROW, "steps=1200", "batch=512"]))


@pytest.fixture(scope="module")
def unguided():
    return train_mlp(load_mlp_training("puq-paper-unguided", [*NARROW, "steps=700", "batch=256"]))


def voxels(rng, n, deviation, t2=None):
    """True T2 and noisy images (contrast, 1, 1, voxel) of unit amplitude."""
    truth = np.exp(rng.uniform(np.log(0.04), np.log(0.25), n)) if t2 is None else np.full(n, t2)
    clean = np.exp(-TE[:, None] / truth)
    return truth, (clean + deviation * rng.standard_normal(clean.shape))[:, None, None, :]


def median_error(result, truth):
    return float(np.nanmedian(np.abs(result.maps["t2"].ravel() / truth - 1)))


@pytest.mark.integration
def test_it_learns_t2_nearly_as_well_as_the_fit_finds_it(unguided, rng):
    truth, images = voxels(rng, 4000, 1 / 50)
    network = mlp_fit(images, TE, T2, unguided, sigma=1 / 50, signal="signed")
    least_squares = fit(images, TE, "t2", sigma=1 / 50, signal="signed")
    assert (network.status == Status.OK).all()
    assert median_error(network, truth) < 1.3 * median_error(least_squares, truth) < 0.05
    m0 = network.maps["m0"].ravel()
    assert np.median(np.abs(m0 - 1)) < 1.3 * np.median(np.abs(least_squares.maps["m0"].ravel() - 1))


@pytest.mark.integration
def test_deviations_that_differ_help_the_network_that_sees_them(guided, unguided, rng):
    deviation = 0.02 * np.exp(rng.standard_normal((8, 4000)))
    truth, images = voxels(rng, 4000, deviation)
    sigma = deviation[:, None, None, :]
    seen, unseen = (mlp_fit(images, TE, T2, m, sigma=sigma, signal="signed") for m in (guided, unguided))
    assert median_error(seen, truth) < 0.9 * median_error(unseen, truth)
    assert np.nanmedian(seen.effective_contrasts) < 5 < np.nanmedian(unseen.effective_contrasts) == 8
    shuffled = mlp_fit(images, TE, T2, guided, sigma=np.roll(sigma, 4, axis=0), signal="signed")
    assert median_error(shuffled, truth) > median_error(seen, truth)


@pytest.mark.integration
def test_deviations_are_the_spread_of_repeated_measurements(guided, unguided, rng):
    deviation = 0.01 * np.array([1, 2, 1, 0.5, 1, 2, 1, 1])[:, None]
    for mlp in (guided, unguided):
        _, images = voxels(rng, 6000, deviation, t2=0.08)
        result = mlp_fit(images, TE, T2, mlp, sigma=deviation[:, 0], signal="signed", full_covariance=True)
        pair = np.stack([result.maps["m0"].ravel(), result.maps["t2"].ravel()])
        observed = np.cov(pair.astype(np.float64))
        predicted = result.covariance.reshape(-1, 2, 2).mean(axis=0)
        assert np.sqrt(np.diag(predicted)) == pytest.approx(np.sqrt(np.diag(observed)), rel=0.1)
        assert predicted[0, 1] == pytest.approx(observed[0, 1], abs=0.1 * np.sqrt(observed[0, 0] * observed[1, 1]))
        np.testing.assert_allclose(result.high95["t2"] - result.maps["t2"], 1.96 * result.std["t2"], rtol=1e-3)


@pytest.mark.parametrize("factor", [2.0**-70, 0.5, 2.0**12])
def test_scaling_the_signal_scales_m0_alone(factor, rng):
    mlp = PixelMlp(MlpSettings())
    _, images = voxels(rng, 50, 0.02)
    one, other = (mlp_fit(f * images, TE, T2, mlp, sigma=0.02 * f, signal="signed") for f in (1.0, factor))
    np.testing.assert_array_equal(other.maps["t2"], one.maps["t2"])
    np.testing.assert_array_equal(other.maps["m0"], np.float32(factor) * one.maps["m0"])
    np.testing.assert_array_equal(other.chi2, one.chi2)
    np.testing.assert_array_equal(other.std["t2"], one.std["t2"])


def test_amplitude_residuals_and_chi2_are_those_of_the_model(rng):
    """Against weighted least squares of one coefficient, by numpy."""
    mlp = PixelMlp(MlpSettings())
    sigma = np.linspace(0.01, 0.05, 8)
    _, images = voxels(rng, 30, sigma[:, None])
    result = mlp_fit(images, TE, T2, mlp, sigma=sigma, signal="signed", residuals=True)
    y, shape = images[:, 0, 0], np.exp(-TE[:, None] / result.maps["t2"].ravel())
    m0 = [np.linalg.lstsq((s / sigma)[:, None], v / sigma, rcond=None)[0][0] for s, v in zip(shape.T, y.T, strict=True)]
    np.testing.assert_allclose(result.maps["m0"].ravel(), m0, rtol=1e-4)
    left = y - m0 * shape
    np.testing.assert_allclose(result.residuals[:, 0, 0], left, atol=1e-5)
    np.testing.assert_allclose(result.chi2.ravel(), ((left / sigma[:, None]) ** 2).sum(axis=0), rtol=1e-3)
    assert result.facts["fitter"] == "mlp"


def test_another_model_with_two_parameters_and_the_norm_as_reference(rng):
    times = np.array([0.05, 0.3, 0.8, 1.5, 3.0])
    ranges = {"t1": (0.1, 4.0), "inversion": (1.5, 2.0)}
    model = get_model("ir")
    names = [p.name for p in model.parameters if p.name != "m0"]
    settings = MlpSettings(
        model="ir", times=tuple(times), guided=False, reference="norm", ranges=dict(zip(names, ranges.values(), strict=True))
    )
    short = MlpTraining(network=settings, drawn={n: settings.ranges[n] for n in names}, steps=100, batch=256, loss="squared")
    mlp = train_mlp(short)
    t1 = rng.uniform(0.5, 2.0, 200)
    images = 100 * (1 - 1.9 * np.exp(-times[:, None] / t1))[:, None, None, :]
    result = mlp_fit(images, times, model, mlp)
    assert (result.status == Status.OK).all()
    assert np.corrcoef(result.maps[names[0]].ravel(), t1)[0, 1] > 0.9
    with pytest.raises(InputError, match="are magnitudes, and the network takes signals of ir with their sign"):
        mlp_fit(np.abs(images), times, model, mlp)


GOOD = np.exp(-TE / 0.08)
NAN = np.array([np.nan, *GOOD[1:]])


@pytest.mark.parametrize(
    ("column", "inside", "deviation", "expected"),
    [
        (GOOD, True, 0.02, Status.OK),
        (GOOD, False, 0.02, Status.OUTSIDE_MASK),
        (np.zeros(8), True, 0.02, Status.NO_SIGNAL),
        (NAN, True, 0.02, Status.NOT_FINITE),
        (GOOD, True, np.inf, Status.NOT_FINITE),
        (GOOD, True, np.nan, Status.NOT_FINITE),
        (np.array([0, *GOOD[1:]]), True, 0.02, Status.AT_BOUND),  # nothing to divide by
        (-GOOD, True, 0.02, Status.AT_BOUND),  # M0 below zero
        (1e40 * GOOD, True, 0.02, Status.AT_BOUND),  # M0 is no 32-bit number
    ],
)
def test_status_of_one_voxel_among_good_ones(column, inside, deviation, expected):
    images = np.stack([GOOD, column, GOOD], axis=-1)[:, None, None, :]
    sigma = np.full(images.shape, 0.02)
    sigma[3, 0, 0, 1] = deviation
    result = mlp_fit(images, TE, T2, PixelMlp(MlpSettings()), sigma=sigma, mask=np.array([[[True, inside, True]]]), signal="signed")
    assert result.status.ravel().tolist() == [Status.OK, expected, Status.OK]
    for field in (result.maps, result.std, result.low95, result.high95):
        assert np.isfinite(field["t2"][0, 0]).tolist() == [True, expected == Status.OK, True]


def test_without_deviations_there_are_maps_without_deviations():
    images = GOOD[:, None, None, None]
    result = mlp_fit(images, TE, T2, PixelMlp(MlpSettings(guided=False)))
    assert np.isfinite(result.maps["t2"]).all()
    assert np.isnan(result.std["t2"]).all()
    assert result.p_value is None
    with pytest.raises(InputError, match="sigma: is not known, and the network was trained with deviations"):
        mlp_fit(images, TE, T2, PixelMlp(MlpSettings()))


def test_complex_images_of_any_phase_are_those_of_the_signed_signal(rng):
    mlp = PixelMlp(MlpSettings(guided=False))
    _, images = voxels(rng, 20, 0.005)
    turned = mlp_fit(images * np.exp(2.1j), TE, T2, mlp)
    np.testing.assert_allclose(turned.maps["t2"], mlp_fit(images, TE, T2, mlp, signal="signed").maps["t2"], rtol=1e-4)


def test_training_is_deterministic_and_leaves_the_generator_alone():
    settings = load_mlp_training("puq-paper", ["steps=5", "batch=64"])
    torch.manual_seed(1)
    before = torch.rand(1)
    torch.manual_seed(1)
    one, other, third = (train_mlp(dataclasses.replace(settings, seed=s)) for s in (3, 3, 4))
    assert torch.rand(1) == before
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    assert not torch.equal(one.body[0].weight, third.body[0].weight)


def test_the_preset_is_the_network_of_the_paper():
    mlp = PixelMlp(load_mlp_training("puq-paper").network)
    shapes = [tuple(p.shape) for n, p in mlp.named_parameters() if n.endswith("weight")]
    assert shapes == [(64, 16), *[(64, 64)] * 4, (1, 64)]
    assert PixelMlp(load_mlp_training("puq-paper-unguided").network).body[0].in_features == 8
    assert (mlp.low.item(), mlp.high.item()) == (0.0, 2.0)
    signal, deviation = torch.rand(3, 8) + 0.1, torch.rand(3, 8)
    assert torch.equal(mlp.features(signal, deviation), torch.cat([signal, deviation], -1) / signal[:, :1])


def test_what_is_saved_is_what_comes_back(tmp_path, rng):
    settings = load_mlp_training("puq-paper", ["steps=3", "batch=64"])
    mlp = train_to_folder(settings, tmp_path / "mlp")
    again = load_mlp(tmp_path / "mlp")
    assert again.settings == mlp.settings
    _, images = voxels(rng, 40, 0.02)
    one, other = (mlp_fit(images, TE, T2, m, sigma=0.02, signal="signed") for m in (mlp, again))
    for field in ("maps", "std"):
        np.testing.assert_array_equal(getattr(one, field)["t2"], getattr(other, field)["t2"])
    record = json.loads((tmp_path / "mlp" / "mlp.json").read_text())
    assert record["training"] | {"network": record["network"]} == json.loads(json.dumps(to_mapping(settings)))


def spoil_bytes(folder):
    path = folder / "mlp.safetensors"
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))


def spoil_settings(folder):
    record = json.loads((folder / "mlp.json").read_text())
    record["network"]["width"] = 32
    (folder / "mlp.json").write_text(json.dumps(record))


def spoil_record(folder):
    (folder / "mlp.json").write_text('{"format": 1}')


def spoil_by_leaving_out(folder):
    (folder / "mlp.safetensors").unlink()


def spoil_with_foreign_tensors(folder):
    import hashlib

    save_file({"weight": torch.ones(3)}, folder / "mlp.safetensors")
    record = json.loads((folder / "mlp.json").read_text())
    record["sha256"] = hashlib.sha256((folder / "mlp.safetensors").read_bytes()).hexdigest()
    (folder / "mlp.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_bytes, "does not have the hash that mlp.json states"),
        (spoil_settings, "does not fit the settings in mlp.json"),
        (spoil_record, r"is of format 1 with the fields \['format'\]"),
        (spoil_by_leaving_out, "mlp.safetensors: does not exist"),
        (spoil_with_foreign_tensors, "does not fit the settings in mlp.json"),
    ],
)
def test_damaged_folders_are_refused(tmp_path, spoil, message):
    save_mlp(tmp_path / "mlp", PixelMlp(MlpSettings()))
    spoil(tmp_path / "mlp")
    with pytest.raises(InputError, match=message) as caught:
        load_mlp(tmp_path / "mlp")
    assert "\n" not in str(caught.value)


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    mlp = PixelMlp(MlpSettings())
    mlp.body[0].bias.data[0] = torch.nan
    save_mlp(tmp_path / "mlp", mlp)
    assert load_file(tmp_path / "mlp" / "mlp.safetensors")["body.0.bias"].isnan().any()
    with pytest.raises(InputError, match="holds NaN or infinity"):
        load_mlp(tmp_path / "mlp")
    with pytest.raises(InputError, match="is no folder of a pixelwise network; make one with puq-qmri train-mlp"):
        load_mlp(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("times", "model", "message"),
    [
        (TE[:7], "t2", "--mlp: was trained for 8 contrasts, and there are 7"),
        (TE + 0.01, "t2", r"--mlp: was trained for te \[0.0, 0.025.*\], and the images have \[0.01, 0.035"),
        (TE[::-1], "t2", "--mlp: was trained for te"),
        (TE, "t2star", "--mlp for model t2 : cannot fit model t2star"),
    ],
)
def test_other_times_and_models_are_refused(times, model, message):
    images = GOOD[: len(times), None, None, None]
    with pytest.raises(InputError, match=message):
        mlp_fit(images, times, get_model(model), PixelMlp(MlpSettings(guided=False)))


@pytest.mark.parametrize(
    ("guidance", "options", "message"),
    [
        (Guidance(weighting="none"), {}, "--weighting none: was asked of a network"),
        (Guidance(robust="huber"), {}, "--robust huber: was asked of a network"),
        (Guidance(noise="rician"), {}, "--noise rician: was asked of a network"),
        (Guidance(), {"fitter": "variable-projection"}, "--fitter variable-projection: was asked of a network"),
        (Guidance(), {"known": {"b1": 1.0}}, "known map 'b1': was given to a network"),
    ],
)
def test_what_a_network_cannot_take_into_account_is_refused(guidance, options, message):
    mlp = PixelMlp(MlpSettings(guided=False))
    with pytest.raises(ConfigError, match=message):
        guided_fit(GOOD[:, None, None, None], TE, T2, sigma=0.1, guidance=guidance, mlp=mlp, **options)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["network.ranges={t1: [0, 1]}"], r"network: ranges: are of \['t1'\]; give those of t2"),
        (["network.model=t2-offset"], "network for model t2-offset: cannot be, as the model has no amplitude"),
        (["network.model=epg-t2-b1", "network.model_settings={t1: 1.0, echo_spacing: 0.01}"], "takes a map of b1"),
        (["network.times=[0.1]"], r"network: times: are \[0.1\]; give at least 2 different ones"),
        (["network.width=0"], "network: has layers=5, width=0"),
        (["network.ranges={t2: [1, 0]}"], r"network: range of t2: is \[1, 0\]"),
        (["drawn={t2: [0.01, 3]}"], r"drawn: t2: is \[0.01, 3\]; give a range within \[0, 2\]"),
        (["drawn={t2: [0, 1]}"], "loss: log: was asked for t2 from 0 on"),
        (["snr=[10, 5]"], r"noise: has snr=\[10.0, 5.0\]"),
        (["steps=0"], "training: has steps=0"),
    ],
)
def test_recipes_that_cannot_be(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_mlp_training("puq-paper", overrides)


@pytest.fixture
def series(tmp_path, rng):
    """Images with deviations known, as a file."""
    _, images = voxels(rng, 64, 0.02)
    path = tmp_path / "echoes.nii.gz"
    write_nifti(path, np.abs(images.reshape(8, 1, 8, 8)).astype(np.float32), np.eye(4), sidecar={"EchoTime": TE.tolist()})
    return path


@pytest.mark.integration
def test_from_training_to_maps_on_the_command_line(puq, tmp_path, series):
    done = puq("train-mlp", "puq-paper", "-o", tmp_path / "mlp", "--set", "steps=5", "--set", "batch=64", "--seed", 2, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["training"]["seed"] == 2
    done = puq("fit", series, "-o", tmp_path / "maps", "--fitter", "mlp", "--mlp", tmp_path / "mlp", "--sigma", 0.02, "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert (facts["fitter"], facts["weighting"]["taken"], facts["status"]["ok"]) == ("mlp", "network", 64)
    sidecar = json.loads((tmp_path / "maps" / "T2map.json").read_text())
    assert "by a multilayer perceptron" in sidecar["EstimationAlgorithm"]
    assert (tmp_path / "maps" / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--fitter", "mlp"), "--fitter mlp: needs a trained network; give --mlp"),
        (("--mlp", "missing"), "missing: does not exist"),
        (("--mlp", "mlp"), "sigma: is not known, and the network was trained with deviations"),
        (("--mlp", "mlp", "--sigma", "0.02", "--te", "0.01,0.02,0.03,0.04,0.05,0.06,0.07,0.08"), "--mlp: was trained for te"),
        (("--mlp", "mlp", "--sigma", "0.02", "--fitter", "levenberg-marquardt"), "was asked of a network"),
    ],
)
def test_errors_on_the_command_line(puq, tmp_path, series, arguments, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_mlp("mlp", PixelMlp(MlpSettings()))
    done = puq("fit", series, "-o", "maps", *arguments)
    assert done.code == 2
    assert message in done.err
    assert not (tmp_path / "maps").exists()


def test_a_plan_trains_nothing(puq, tmp_path):
    done = puq("train-mlp", "puq-paper-unguided", "-o", tmp_path / "mlp", "--dry-run")
    assert done.code == 0
    assert "a network for model t2, 8 contrasts, without deviations" in done.out
    assert not (tmp_path / "mlp").exists()
    assert puq("train-mlp", "paper", "-o", tmp_path / "mlp").code == 2
