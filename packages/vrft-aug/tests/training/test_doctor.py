"""What doctor finds."""

from __future__ import annotations

import pytest

from vrft_aug import doctor


def test_this_machine_has_no_faults():
    facts = doctor.examine()
    assert facts["faults"] == []
    assert facts["telemetry_off"]
    assert facts["versions"]["torch"]


@pytest.mark.parametrize(
    ("state", "kind", "message"),
    [
        ("broken: RuntimeError: nms", "faults", "torchvision is broken: RuntimeError: nms"),
        ("absent", "notes", "torchvision is absent"),
    ],
)
def test_torchvision_is_judged(monkeypatch, state, kind, message):
    monkeypatch.setattr(doctor.environment, "torchvision_state", lambda: state)
    assert any(line.startswith(message) for line in doctor.examine()[kind])


def test_untested_and_missing_libraries_are_named(monkeypatch):
    found = {"trl": "1.17.0", "peft": None}
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: found.get(name, real(name)) if name in found else real(name))
    facts = doctor.examine()
    assert any(line.startswith("trl 1.17.0 is not the tested release") for line in facts["notes"])
    assert any(line.startswith("peft is not installed") for line in facts["faults"])
