"""DICOM parametric maps: lossless round trips, pydicom as the referee of what the file says, refusals."""

from __future__ import annotations

import datetime as dt
import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom.dataset import Dataset

import medcore.io
import medcore.opening
from medcore.convert import Options, convert
from medcore.errors import ConfigError, DiskFullError, InputError, MedcoreError, OutputExistsError
from medcore.io import ImageSeries
from medcore.io.parametric_map import is_parametric_map, is_parametric_map_file, read_parametric_map, write_parametric_map

WHEN = dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.UTC)
SHEAR = np.eye(4) + 0.2 * np.eye(4, k=1) * [[1], [0], [0], [0]]


def _affine(rng: np.random.Generator, voxel: tuple[float, float, float] = (1.1e-3, 2.3e-3, 5e-3), flip: bool = False) -> np.ndarray:
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    if (np.linalg.det(rotation) < 0) != flip:
        rotation[:, 2] *= -1
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.array(voxel)
    affine[:3, 3] = rng.uniform(-0.2, 0.2, 3)
    return affine


@pytest.fixture
def t1_and_adc(rng: np.random.Generator) -> ImageSeries:
    data = rng.uniform(0.1, 3, (2, 4, 5, 6)).astype(np.float32)
    data[1] *= 1e-9
    return ImageSeries(data=data, affine=_affine(rng))


def _write(path: Path, series: ImageSeries, **options: Any) -> Path:
    given = {"quantity": ["T1", "ADC"], "unit": ["s", "m2/s"], "when": WHEN} | options
    write_parametric_map(path, series, **given)
    return path


def test_the_file_says_in_dicom_words_what_it_holds(t1_and_adc: ImageSeries, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(_write(tmp_path / "map.dcm", t1_and_adc))
    assert dataset.SOPClassUID.name == "Parametric Map Storage"
    assert dataset.preamble == b"\0" * 128
    stored = np.frombuffer(dataset.FloatPixelData, "<f4").reshape(8, 5, 6)
    origin = np.diag([-1e3, -1e3, 1e3]) @ t1_and_adc.affine[:3, 3]
    seen = set()
    for frame, pixels in zip(dataset.PerFrameFunctionalGroupsSequence, stored, strict=True):
        mapping = frame.RealWorldValueMappingSequence[0]
        code = mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue
        contrast = {"113063": 0, "113041": 1}[code]
        unit = mapping.MeasurementUnitsCodeSequence[0]
        assert (unit.CodeValue, unit.CodingSchemeDesignator) == (("ms", "mm2/s")[contrast], "UCUM")
        step = np.linalg.norm(np.array(frame.PlanePositionSequence[0].ImagePositionPatient) - origin) / 5
        z = round(float(step))
        assert step == pytest.approx(z, abs=1e-6)
        shown = pixels * mapping.RealWorldValueSlope + mapping.RealWorldValueIntercept
        np.testing.assert_allclose(shown, t1_and_adc.data[contrast, z] * (1e3, 1e6)[contrast], rtol=1e-6)
        low, high = mapping.DoubleFloatRealWorldValueFirstValueMapped, mapping.DoubleFloatRealWorldValueLastValueMapped
        assert low == t1_and_adc.data[contrast].min()
        assert high == t1_and_adc.data[contrast].max()
        seen.add((contrast, z))
    assert len(seen) == 8
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    np.testing.assert_allclose([*measures.PixelSpacing, measures.SpacingBetweenSlices], [2.3, 1.1, 5.0])


def test_without_a_source_the_map_belongs_to_nobody(t1_and_adc: ImageSeries, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(_write(tmp_path / "map.dcm", t1_and_adc))
    people = [e for e in dataset if e.tag.group == 0x10 or e.VR == "PN"]
    assert people
    assert all(not e.value for e in people)
    assert "ReferencedSeriesSequence" not in dataset
    assert not any("DerivationImageSequence" in g for g in dataset.PerFrameFunctionalGroupsSequence)


def test_highdicom_itself_reads_the_map(t1_and_adc: ImageSeries, tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    path = _write(tmp_path / "map.dcm", t1_and_adc.select([0]), quantity="T1", unit="s")
    # Its own transforms fail on floating-point pixels with a window (AttributeError in 0.28.2), so the mapping is applied here.
    off = dict.fromkeys(("real_world", "modality", "voi"), False)
    volume = highdicom.imread(path).get_volume(**{f"apply_{key}_transform": value for key, value in off.items()})
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine  # LPS+ mm of (slice, row, column)
    for index in np.ndindex(volume.array.shape):
        place = (affine @ np.array([*index, 1.0]))[:3] / 1000
        x, y, z = np.round(np.linalg.solve(t1_and_adc.affine, [*place, 1.0])[:3]).astype(int)
        assert volume.array[index] == t1_and_adc.data[0, z, y, x]


@settings(max_examples=40)
@given(data=st.data())
def test_round_trip_is_lossless(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, n) for n in (2, 4, 3, 5)]))
    finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
    values = data.draw(arrays(np.float32, shape, elements=finite | st.just(float("nan")), fill=st.nothing()))
    voxel = tuple(data.draw(st.floats(1e-4, 2e-2)) for _ in range(3))
    flip = data.draw(st.booleans())
    affine = _affine(np.random.default_rng(data.draw(st.integers(0, 2**32))), voxel, flip)
    lowest = np.finfo(np.float32).min
    if np.isnan(values).any() and (values == 0).any() and (values == lowest).any():
        values[values == lowest] = 1
    path = tmp_path_factory.mktemp("maps") / "map.dcm"
    names = ["PD", "FractionalAnisotropy"][: shape[0]]
    write_parametric_map(path, ImageSeries(data=values, affine=affine), quantity=names, unit="1", nan="pad")
    back = read_parametric_map(path)
    np.testing.assert_array_equal(
        back.data.view(np.uint32) | np.isnan(back.data) * 0xFFFFFFFF, values.view(np.uint32) | np.isnan(values) * 0xFFFFFFFF
    )
    if shape[1] == 1 and flip:  # one slice has no direction
        affine[:3, 2] *= -1
    np.testing.assert_allclose(back.affine, affine, atol=1e-10)
    assert back.repairs == ()


@pytest.mark.parametrize(
    ("unit", "quantity", "scale", "back"),
    [("s", "T2*", 1, "s"), ("ms", "T2", 1e-3, "s"), ("1/s", "R2", 1, "1/s"), ("/s", "R1", 1, "1/s"), ("m2/s", "ADC", 1, "m2/s"),
     ("mm2/s", "ADC", 1e-6, "m2/s"), ("um2/ms", "ADC", 1e-9, "m2/s"), ("%", "FF", 1, "%"), ("1", "M0", 1, "1"), ("ppm", "QSM", 1, "ppm")],
)  # fmt: skip
def test_units_come_back_in_si(unit: str, quantity: str, scale: float, back: str, tmp_path: Path) -> None:
    values = np.linspace(0.5, 4, 24, dtype=np.float32).reshape(1, 2, 3, 4)
    write_parametric_map(
        tmp_path / "m.dcm", ImageSeries(data=values, affine=np.diag([1e-3, 1e-3, 2e-3, 1])), quantity=quantity, unit=unit
    )
    found = read_parametric_map(tmp_path / "m.dcm")
    assert found.meta["units"] == back
    if scale == 1:
        np.testing.assert_array_equal(found.data, values)
    np.testing.assert_allclose(found.data, values * scale, rtol=1e-6)


def test_same_input_and_time_give_the_same_bytes(t1_and_adc: ImageSeries, tmp_path: Path) -> None:
    first, second = (_write(tmp_path / name, t1_and_adc).read_bytes() for name in ("a.dcm", "b.dcm"))
    assert first == second
    later = _write(tmp_path / "c.dcm", t1_and_adc, when=WHEN + dt.timedelta(days=1))
    assert pydicom.dcmread(later).SOPInstanceUID != pydicom.dcmread(tmp_path / "a.dcm").SOPInstanceUID


def test_a_source_gives_patient_and_references(
    t1_and_adc: ImageSeries, tmp_path: Path, classic_dicom: Callable[..., Any], save_dicom: Callable[..., Path]
) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    for z in range(3):
        save_dicom(classic_dicom(z=5.0 * z, PatientComments="likes cats", PatientSex="F"), folder / f"{z}.dcm")
    before = {p: p.read_bytes() for p in folder.iterdir()}
    dataset = pydicom.dcmread(_write(tmp_path / "map.dcm", t1_and_adc, source=folder))
    assert (dataset.PatientID, dataset.PatientSex, dataset.StudyInstanceUID) == ("secret-17", "F", "1.2.3")
    assert dataset.FrameOfReferenceUID == "1.2.3.5"
    assert dataset.SeriesInstanceUID != "1.2.3.4"
    assert "PatientComments" not in dataset
    named = {i.ReferencedSOPInstanceUID for i in dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert named == {pydicom.dcmread(p).SOPInstanceUID for p in folder.iterdir()}
    assert {p: p.read_bytes() for p in folder.iterdir()} == before
    save_dicom(classic_dicom(z=15.0, PatientID="other"), folder / "3.dcm")
    with pytest.raises(InputError, match="mixes 2 patients") as caught:
        _write(tmp_path / "mixed.dcm", t1_and_adc, source=folder)
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "mixed.dcm").exists()


def _changed(series: ImageSeries, value: float) -> ImageSeries:
    data = series.data.copy()
    data[0, 1, 2, 3] = value
    return ImageSeries(data=data, affine=series.affine)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda s: _changed(s, np.nan), {}, "1 voxels that are no numbers; mark them"),
        (lambda s: _changed(s, np.inf), {"nan": "pad"}, "1 infinite values"),
        (lambda s: ImageSeries(data=s.data.astype(np.complex64), affine=s.affine), {}, "complex values"),
        (lambda s: ImageSeries(data=s.data * 1000, affine=s.affine), {}, "looks like milliseconds; name the unit ms"),
        (lambda s: ImageSeries(data=s.data, affine=s.affine @ SHEAR), {}, "right angles"),
        (lambda s: s, {"quantity": ["T1", "banana"]}, "'banana'.*is not one of"),
        (lambda s: s, {"quantity": ["T1", "T1"], "unit": "s"}, "same for several contrasts"),
        (lambda s: s, {"quantity": "T1"}, "names 1 for 2 contrasts"),
        (lambda s: s, {"unit": ["mm2/s", "m2/s"]}, "no unit of T1"),
        (lambda s: s, {"quantity": ["T1", "PD"], "unit": ["s", "parsec"]}, "'parsec'.*is not one of"),
        (lambda s: s, {"source": "absent.dcm"}, "does not exist"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_map_is_refused_and_nothing_written(
    t1_and_adc: ImageSeries, tmp_path: Path, change: Callable[[ImageSeries], ImageSeries], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        _write(tmp_path / "out" / "map.dcm", change(t1_and_adc), **options)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept_unless_forced(t1_and_adc: ImageSeries, tmp_path: Path) -> None:
    path = _write(tmp_path / "map.dcm", t1_and_adc)
    before = path.read_bytes()
    with pytest.raises(OutputExistsError):
        _write(path, _changed(t1_and_adc, 1.5))
    assert path.read_bytes() == before
    _write(path, _changed(t1_and_adc, 1.5), force=True)
    assert read_parametric_map(path).data[0, 1, 2, 3] == np.float32(1.5)


def test_a_full_disk_leaves_the_previous_map(t1_and_adc: ImageSeries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource
    import signal

    path = _write(tmp_path / "map.dcm", t1_and_adc)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        with pytest.raises(DiskFullError):
            _write(path, _changed(t1_and_adc, 1.5), force=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["map.dcm"]


def _edited(path: Path, edit: Callable[[Dataset], None]) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path)
        edit(dataset)
        target = path.with_name("edited.dcm")
        dataset.save_as(target)
    return target


def _group(dataset: Dataset, index: int = 0) -> Dataset:
    group: Dataset = dataset.PerFrameFunctionalGroupsSequence[index]
    return group


def _mapping(dataset: Dataset) -> Dataset:
    mapping: Dataset = _group(dataset).RealWorldValueMappingSequence[0]
    return mapping


def _orientation(dataset: Dataset) -> Dataset:
    item: Dataset = dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    return item


def _set(keyword: str, value: Any, where: Callable[[Dataset], Dataset] = lambda d: d) -> Callable[[Dataset], None]:
    return lambda d: setattr(where(d), keyword, value)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_set("SOPClassUID", "1.2.840.10008.5.1.4.1.1.4"), "no parametric map"),
        (_set("NumberOfFrames", 7), "describes 8 frames and claims 7"),
        (_set("Rows", 50), "240|bytes of pixels where its header says"),
        (_set("FloatPixelData", b"\0" * 100), "100 bytes of pixels where"),
        (lambda d: d.__delattr__("FloatPixelData"), "0 kinds of pixels"),
        (_set("RealWorldValueSlope", 0.0, _mapping), "RealWorldValueSlope 0"),
        (_set("RealWorldValueSlope", float("nan"), _mapping), "RealWorldValueSlope that is not 1 number"),
        (_set("MeasurementUnitsCodeSequence", [], _mapping), "without MeasurementUnitsCodeSequence"),
        (_set("RealWorldValueLUTData", [1.0, 2.0], _mapping), "by a table"),
        (lambda d: _group(d).__delattr__("RealWorldValueMappingSequence"), "no real-world value mapping for frame 1"),
        (lambda d: _group(d).__delattr__("PlanePositionSequence"), "ImagePositionPatient that is not 3 numbers"),
        (_set("ImagePositionPatient", [900, 0, 0], lambda d: _group(d).PlanePositionSequence[0]), "same places|apart|shifted"),
        (lambda d: setattr(d, "PerFrameFunctionalGroupsSequence", []), "describes no frames"),
        (_set("ImageOrientationPatient", [1, 0, 0, 1, 0, 0], _orientation), "orthogonal unit"),
    ],
)  # fmt: skip
def test_files_that_contradict_themselves_are_refused(
    t1_and_adc: ImageSeries, tmp_path: Path, edit: Callable[[Dataset], None], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_parametric_map(_edited(_write(tmp_path / "map.dcm", t1_and_adc), edit))


def test_frames_are_placed_by_position_whatever_their_order(t1_and_adc: ImageSeries, tmp_path: Path) -> None:
    def shuffle(dataset: Dataset) -> None:
        order = [5, 0, 3, 7, 1, 6, 2, 4]
        groups = list(dataset.PerFrameFunctionalGroupsSequence)
        pixels = np.frombuffer(dataset.FloatPixelData, "<f4").reshape(8, -1)
        dataset.PerFrameFunctionalGroupsSequence = [groups[i] for i in order]
        dataset.FloatPixelData = pixels[order].tobytes()

    path = _write(tmp_path / "map.dcm", t1_and_adc)
    wanted, found = read_parametric_map(path), read_parametric_map(_edited(path, shuffle))
    where = [found.meta["quantity"].index(q) for q in wanted.meta["quantity"]]
    np.testing.assert_array_equal(found.data[where], wanted.data)
    np.testing.assert_array_equal(wanted.data, t1_and_adc.data)
    np.testing.assert_allclose(found.affine, wanted.affine)


def test_maps_of_16_bit_integers_and_of_64_bit_numbers_are_read(t1_and_adc: ImageSeries, tmp_path: Path) -> None:
    stored = np.arange(240, dtype="<u2")

    def integers(dataset: Dataset) -> None:
        del dataset.FloatPixelData
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation, dataset.PixelData = 15, 0, stored.tobytes()
        dataset["PixelData"].VR = "OW"
        for group in dataset.PerFrameFunctionalGroupsSequence:
            group.RealWorldValueMappingSequence[0].RealWorldValueSlope = 2.0
            group.RealWorldValueMappingSequence[0].RealWorldValueIntercept = 10.0

    def doubles(dataset: Dataset) -> None:
        pixels = np.frombuffer(dataset.FloatPixelData, "<f4").astype("<f8")
        del dataset.FloatPixelData
        pixels[7] = 1 / 3
        dataset.BitsAllocated, dataset.DoubleFloatPixelData = 64, pixels.tobytes()

    path = _write(tmp_path / "map.dcm", t1_and_adc)
    found = read_parametric_map(_edited(path, integers))
    assert sorted(np.round(found.data[0].ravel() * 1e3).astype(int)) == sorted(2 * stored[:120].astype(int) + 10)
    assert any("outside the range" in note for note in found.repairs)
    found = read_parametric_map(_edited(path, doubles))
    assert "1 values of 64 bits were rounded to 32" in found.repairs


def test_detectors(
    t1_and_adc: ImageSeries, tmp_path: Path, classic_dicom: Callable[..., Any], save_dicom: Callable[..., Path]
) -> None:
    path = _write(tmp_path / "map.dcm", t1_and_adc)
    assert is_parametric_map_file(path)
    assert is_parametric_map(pydicom.dcmread(path))
    assert not is_parametric_map(classic_dicom())
    other = save_dicom(classic_dicom(), tmp_path / "mr.dcm")
    (tmp_path / "text.dcm").write_text("x" * 300)
    (tmp_path / "cut.dcm").write_bytes(path.read_bytes()[:140])
    for name in (other, tmp_path / "text.dcm", tmp_path / "cut.dcm", tmp_path / "absent"):
        assert not is_parametric_map_file(name)


def test_cut_and_mutated_files_are_refused_or_read_but_never_crash(t1_and_adc: ImageSeries, tmp_path: Path) -> None:
    small = ImageSeries(data=t1_and_adc.data[:, :2, :2, :2].copy(), affine=t1_and_adc.affine)
    content = _write(tmp_path / "map.dcm", small).read_bytes()
    target = tmp_path / "bad.dcm"
    for end in range(0, len(content), 16):
        target.write_bytes(content[:end])
        with pytest.raises(InputError):
            read_parametric_map(target)
    rng = np.random.default_rng(5)
    survived = 0
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            damaged[place] = rng.integers(0, 256)
        target.write_bytes(damaged)
        digest = hashlib.sha256(damaged).digest()
        try:
            read_parametric_map(target)
            survived += 1
        except MedcoreError:
            continue
        finally:
            assert hashlib.sha256(target.read_bytes()).digest() == digest
    assert survived < 300


def test_an_unknown_quantity_suggests_the_nearest(t1_and_adc: ImageSeries, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'T2\\*'"):
        _write(tmp_path / "m.dcm", t1_and_adc, quantity=["T1", "T2**"])


def test_maps_are_recognised_opened_and_converted(t1_and_adc: ImageSeries, tmp_path: Path) -> None:
    source = _write(tmp_path / "map.dcm", _changed(t1_and_adc, float("nan")), nan="pad")
    assert medcore.io.recognise(source) == "parametric-map"
    options = Options(quantity="T1,ADC")
    convert(source, tmp_path / "again.dcm", options=options)
    first, again = medcore.open(source), medcore.open(tmp_path / "again.dcm")
    np.testing.assert_array_equal(first.data, again.data)
    assert first.meta == again.meta
    with pytest.raises(ConfigError, match="--quantity T2 --unit s"):
        convert(source, tmp_path / "third.dcm")
    facts = medcore.opening.describe(source)
    assert (facts["format"], facts["not_finite"]) == ("parametric-map", 1)
