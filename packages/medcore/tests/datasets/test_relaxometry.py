from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from medcore.datasets.relaxometry import RelaxometryFolder
from medcore.errors import InputError
from medcore.io import write_nifti

AFFINE = np.diag([1e-3, 1e-3, 2e-3, 1.0])


@pytest.fixture
def root(tmp_path):
    for subject in ("01", "02"):
        for echo in (1, 2, 3):
            path = tmp_path / f"sub-{subject}" / "anat" / f"sub-{subject}_echo-{echo}_MESE.nii.gz"
            write_nifti(path, np.full((2, 3, 4), echo, np.float32), AFFINE, sidecar={"EchoTime": 0.01 * echo})
    for inv in (1, 2):
        path = tmp_path / "sub-02" / "anat" / f"sub-02_inv-{inv}_IRT1.nii.gz"
        write_nifti(path, np.full((2, 3, 4), inv, np.float32), AFFINE, sidecar={"InversionTime": 0.5 * inv})
    (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.11.1", "License": "CC0"}))
    return tmp_path


def test_one_sample_for_each_collection_with_its_times(root):
    dataset = RelaxometryFolder(root)
    assert [s.sample_id for s in dataset] == ["sub-02_IRT1", "sub-01_MESE", "sub-02_MESE"]
    assert (dataset[-1].subject, dataset[-1].kind, dataset[-1].session) == ("02", "MESE", None)
    np.testing.assert_allclose(dataset[1].series.times["te"], [0.01, 0.02, 0.03])
    assert dataset[1].series.data[:, 0, 0, 0].tolist() == [1, 2, 3]
    card = dataset.card
    assert (card.licence, card.class_counts, card.n_samples, card.faults) == ("CC0", {"IRT1": 1, "MESE": 2}, 3, ())
    with pytest.raises(IndexError):
        dataset[3]


def test_subjects_and_kinds_are_chosen_and_workers_can_have_copies(root):
    dataset = RelaxometryFolder(root, subjects=["sub-02"], kinds=["MESE"], licence="mine")
    assert len(dataset) == 1
    assert dataset.card.licence == "mine"
    copied = copy.deepcopy(dataset)
    assert np.array_equal(copied[0].series.data, dataset[0].series.data)


def test_the_hash_changes_with_an_image(root):
    before = RelaxometryFolder(root).card.sha256
    path = root / "sub-01" / "anat" / "sub-01_echo-2_MESE.nii.gz"
    write_nifti(path, np.ones((2, 3, 4), np.float32), AFFINE, sidecar={"EchoTime": 0.02}, force=True)
    assert RelaxometryFolder(root).card.sha256 != before


def test_a_sample_does_not_wait_for_the_card_and_the_card_knows_only_what_was_chosen(root):
    damaged = root / "sub-01" / "anat" / "sub-01_echo-2_MESE.nii.gz"
    damaged.with_name("sub-01_echo-2_MESE.json").write_text("{}")
    dataset = RelaxometryFolder(root, subjects=["02"])
    damaged.unlink()
    damaged.symlink_to("nowhere")
    assert dataset[0].subject == "02"
    assert dataset.card.faults == ()
    assert dataset.card is dataset.card
    with pytest.raises(InputError, match="is a link to nothing"):
        RelaxometryFolder(root)


@pytest.mark.parametrize("licence", ["", None, 3, ["CC0"]])
def test_a_licence_that_is_no_text_is_not_stated(root, licence):
    (root / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.11.1", "License": licence}))
    assert RelaxometryFolder(root).card.licence == "not stated"


def test_a_folder_without_collections_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no collection for relaxometry"):
        RelaxometryFolder(tmp_path)
