from __future__ import annotations

import pytest
import yaml

from medcore.config import from_mapping, to_mapping
from medcore.errors import ConfigError
from puq_qmri.networks import UnrolledNetwork
from puq_qmri.networks.variance import VarianceHead
from puq_qmri.training import SimulatedData, StageSettings, TrainingSettings, load_settings, presets


@pytest.mark.parametrize("name", sorted(presets()))
def test_presets_can_be_built_and_survive_yaml(name, tmp_path):
    settings = load_settings(name)
    UnrolledNetwork(settings.network)
    if settings.head is not None:
        VarianceHead(settings.head)
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(to_mapping(settings)))
    assert load_settings(path) == settings


def test_the_published_network_has_the_published_size_and_schedule():
    settings = load_settings("puq-paper")
    count = sum(p.numel() for p in UnrolledNetwork(settings.network).parameters() if p.requires_grad)
    assert round(count / 1e6, 2) == 3.14
    assert settings.simulated is not None
    assert settings.simulated.times == (0.0, 0.025, 0.035, 0.045, 0.065, 0.085, 0.105, 0.125)
    assert settings.simulated.noise_free == 1.0
    assert settings.mean.steps == 2000 * settings.data.examples // settings.mean.batch
    stage = settings.mean
    assert (stage.optimiser, stage.learning_rate, stage.batch, stage.clip) == ("adam", 0.01, 32, 0.001)
    assert (settings.network.dropout, settings.network.unrolls, settings.network.consistency) == (0.3, 5, "projection")


@pytest.mark.parametrize("name", ["shipped", "tiny"])
def test_what_evaluation_holds_out_is_in_no_recipe(name):
    data = load_settings(name).simulated
    assert data is not None
    assert not {"knee", "tubes"} & set(data.anatomies)
    assert "loops" not in data.coils


def test_overrides_and_seed():
    settings = load_settings("tiny", ["mean.steps=7", "data.simulated.sizes=[32, 40]", "head=null"], seed=5)
    assert (settings.mean.steps, settings.seed, settings.head) == (7, 5, None)
    assert list(settings.stages) == ["mean"]
    assert settings.simulated is not None
    assert settings.simulated.sizes == (32, 40)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("mean.stps=3", r"tiny.mean.stps: is unknown, .*did you mean 'steps'"),
        ("netwrk.unrolls=3", r"tiny.netwrk: is unknown, .*did you mean 'network'"),
        ("data.simulated.anatomys=[brain]", r"anatomys: is unknown, .*did you mean 'anatomies'"),
        ("mean.steps=2.5", r"tiny.mean.steps: must be a whole number, got 2.5"),
        ("mean.steps=0", "training stage: has steps=0"),
        ("mean.learning_rate=0", "learning_rate=0"),
        ("mean.ema=1", "ema=1"),
        ("mean.schedule=cosin", r"tiny.mean.schedule: must be 'cosine' or .*got 'cosin'"),
        ("data.simulated.anatomies=[brian]", r"anatomy 'brian': is not one of .*did you mean 'brain'"),
        ("data.simulated.anatomies=[]", "anatomy: is an empty list"),
        ("data.simulated.snr=[50, 10]", r"snr: is \[50, 10\]; give two numbers"),
        ("data.simulated.first_te=[0.0, 0.1]", "last_te: begins at 0.08, first_te ends at 0.1"),
        ("data.simulated.mixed=2", "mixed: is 2; give a part"),
        ("data.simulated.sizes=[8]", r"has sizes \[8\]"),
        ("data.simulated.acceleration=[2, 9]", "acceleration 9 for images of 32 voxels, 4 lines of which 4 are central"),
        ("data.examples=0", "examples=0"),
        ("data.measured.folder=x", "data: names simulated and measured"),
        ("log_every=0", "log_every: is 0"),
        ("threads=-1", "threads: is -1"),
        ("beta=2", "beta: is 2"),
    ],
)
def test_wrong_keys_and_values(assignment, message):
    with pytest.raises(ConfigError, match=message):
        load_settings("tiny", [assignment])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("tny", r"recipe 'tny': is not one of .*did you mean 'tiny'"),
        ("own.yaml", r"own.yaml: does not exist; give a YAML file, or one of"),
    ],
)
def test_no_such_recipe(config, message):
    with pytest.raises(ConfigError, match=message):
        load_settings(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop": 8}, "crop: is 8"),
        ({"acceleration": [4, 2]}, r"acceleration \[4.0, 2.0\]"),
        ({"snr": [10]}, r"snr: is \[10.0\]"),
        ({"held_out": 0}, "held_out: is 0"),
        ({"te": [0.1], "ti": [0.1]}, "names te and ti"),
    ],
)
def test_wrong_settings_of_measured_data(changes, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(TrainingSettings, {"data": {"measured": {"folder": "x", **changes}}})


def test_defaults_are_valid():
    assert TrainingSettings().simulated == SimulatedData()
    assert StageSettings().steps > 0
