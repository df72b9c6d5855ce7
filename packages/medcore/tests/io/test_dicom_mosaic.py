"""Mosaics of Siemens and the private header that describes them."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_files import classic, csa_header, mosaic, save
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import InputError
from medcore.io import read_dicom
from medcore.io.dicom.csa import read_csa
from medcore.io.dicom.files import open_dicom

NORMAL = ["0.00000000", "0.00000000", "1.00000000"]


def folder_of(tmp_path, *datasets):
    for i, dataset in enumerate(datasets):
        save(dataset, tmp_path / f"{i}.dcm")
    return tmp_path


def test_a_mosaic_unfolds_round_its_centre(tmp_path):
    images = read_dicom(save(mosaic(classic(), 3), tmp_path / "m.dcm"))
    whole = 300 + np.arange(24).reshape(4, 6)  # the offset of this echo time
    assert np.array_equal(images.data[0], [whole[:2, :3], whole[:2, 3:], whole[2:, :3]])
    # The picture of 4 x 6 pixels of 2.0 x 1.5 mm and its slices of 2 x 3 pixels have one centre.
    first = np.array([-10.0 + 1.5 * 3 / 2, -20.0 + 2.0 * 2 / 2, 0.0])
    assert images.affine[:3, 3] * 1e3 == pytest.approx(first * [-1, -1, 1])
    assert images.affine[:3, 2] * 1e3 == pytest.approx([0, 0, 4])


def test_mosaics_of_several_times_become_contrasts(tmp_path):
    for name, te in (("b", 10.0), ("a", 30.0)):
        save(mosaic(classic(te=te), 4), tmp_path / f"{name}.dcm")
    images = read_dicom(tmp_path)
    assert images.data.shape == (2, 4, 2, 3)
    assert images.times["te"] == pytest.approx([0.01, 0.03])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: mosaic(d, 5), "is a mosaic of 5 slices in 4 x 6 pixels"),
        (lambda d: mosaic(d, 0), "does not say how many slices it holds"),
        (lambda d: mosaic(d, 3, SpacingBetweenSlices=-4.0), "-4.0 mm apart"),
        (lambda d: setattr(d, "ImageType", ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), "does not say how many slices it holds"),
    ],
)
def test_a_mosaic_that_does_not_fit_is_refused(change, words, tmp_path):
    dataset = classic()
    change(dataset)
    with pytest.raises(InputError, match=words):
        read_dicom(save(dataset, tmp_path / "m.dcm"))


# --- the private header


@pytest.mark.parametrize("second", [True, False])
def test_both_layouts_of_the_private_header(second):
    elements = {"First": ["a", "bc", "def"], "Empty": [], "SliceNormalVector": NORMAL, "Last": ["x"]}
    found = read_csa(csa_header(elements, second_layout=second), frozenset(elements))
    assert found == elements


@given(
    elements=st.dictionaries(
        st.text("abcXYZ_", min_size=1, max_size=60),
        st.lists(st.text("0123456789.- e", min_size=1).map(str.strip), max_size=5),
        min_size=1,
    ),
    second=st.booleans(),
)
def test_any_private_header_comes_back_without_empty_items(elements, second):
    found = read_csa(csa_header(elements, second_layout=second), frozenset(elements))
    assert found == {name: [item for item in items if item] for name, items in elements.items()}


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:The DICOM readers are highly experimental")
def test_private_headers_of_real_files_agree_with_nibabel(data_root):
    from nibabel.nicom import csareader

    for name in ("dicom-transfer-syntaxes/1.dcm", "siemens-mese-dicom/csa_test.dcm"):
        header = open_dicom(data_root / name).private_block(0x29, "SIEMENS CSA HEADER")[0x10].value
        reference = csareader.read(header)["tags"]
        found = read_csa(header, frozenset(reference))
        assert set(found) == set(reference)
        for key, tag in reference.items():
            assert [type(v)(f) if tag["vr"] != "UN" else f for v, f in zip(tag["items"], found[key], strict=False)] == [
                v.strip() if isinstance(v, str) else v for v in tag["items"]
            ][: len(found[key])]


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("second", [True, False])
def test_the_slice_normal_gives_the_direction_of_a_mosaic(direction, second, tmp_path):
    """Slices lie where the private header says, and come in rising order along the normal of the picture."""
    csa = csa_header({"NumberOfImagesInMosaic": ["3"], "SliceNormalVector": ["0", "0", str(direction)]}, second_layout=second)
    images = read_dicom(save(mosaic(classic(), csa=csa), tmp_path / "a.dcm"))
    picture = np.arange(24).reshape(4, 6) + 300
    tiles = [picture[:2, :3], picture[:2, 3:], picture[2:, :3]]
    assert np.array_equal(images.data[0], tiles[::direction])
    assert (images.affine @ [0, 0, 0, 1])[2] == pytest.approx(0.0 if direction == 1 else -0.008)
    assert (images.affine @ [0, 0, 2, 1])[2] == pytest.approx(0.008 if direction == 1 else 0.0)


@pytest.mark.parametrize(
    ("elements", "word"),
    [
        ({"NumberOfImagesInMosaic": ["2"], "SliceNormalVector": NORMAL}, "mosaic of 2 or 3 slices: its private elements differ"),
        ({"SliceNormalVector": ["1", "0", "0"]}, "slice normal is not that of its orientation"),
        ({"SliceNormalVector": ["0", "1"]}, "slice normal that is not three numbers"),
        ({"SliceNormalVector": ["0", "0", "nan"]}, "slice normal that is not three numbers"),
        ({"SliceNormalVector": ["0", "0", "x"]}, "private header of Siemens that is damaged"),
        ({"NumberOfImagesInMosaic": ["three"]}, "private header of Siemens that is damaged"),
    ],
)
def test_a_mosaic_that_contradicts_itself_is_refused(elements, word, tmp_path):
    with pytest.raises(InputError, match=word):
        read_dicom(save(mosaic(classic(), 3, csa=csa_header(elements)), tmp_path / "a.dcm"))


def test_several_mosaics_are_contrasts_in_order_of_their_acquisition(tmp_path):
    place = folder_of(
        tmp_path, *(mosaic(classic(te=30.0, AcquisitionNumber=n, InstanceNumber=n, RescaleSlope=n), 4) for n in (3, 1, 2))
    )
    images = read_dicom(place)
    assert images.data.shape == (3, 4, 2, 3)
    assert images.data[:, 0, 0, 0].tolist() == [900.0, 1800.0, 2700.0]
