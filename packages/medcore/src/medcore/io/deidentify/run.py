"""De-identify a file or a folder into a new folder."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medcore.__about__ import __version__
from medcore.atomic import atomic_directory, check_writable, write_json
from medcore.errors import ConfigError, InputError
from medcore.io.deidentify.cleaning import Cleaner, TooDeepError
from medcore.io.deidentify.codestreams import blank_comments
from medcore.io.deidentify.identity import Pseudonyms
from medcore.io.deidentify.opening import NotTakenError, is_dicom_file, open_image
from medcore.io.deidentify.options import DeidentifyOptions
from medcore.io.deidentify.report import REPORT, DeidentifyReport, Tally
from medcore.io.deidentify.risks import clear_unused_bits, embedded_overlays, flags_of, is_burned_in
from medcore.io.dicom.parsing import pydicom_errors

_MAX_FILES = 100_000


def deidentify(
    src: str | Path, dst: str | Path, options: DeidentifyOptions | None = None, *, force: bool = False, dry_run: bool = False
) -> DeidentifyReport:
    """Copy DICOM images without what identifies a person, after the Basic Application Level Confidentiality Profile (PS3.15 Annex E).

    Only attributes that are known to be harmless are copied; all private ones go. UIDs are replaced consistently. Files are called
    ``<study>/<series>/<instance>.dcm`` by their new UIDs. Pixels are copied as they are: text burned into them, and faces, stay. It is a
    careful procedure, not a guarantee.

    Parameters
    ----------
    src
        A file, or a folder with everything below. It is not changed; symbolic links are not followed.
    dst
        New folder; complete or absent. It holds the files, ``deidentification.json`` and a manifest.
    options
        What may be kept.
    force
        Whether an earlier result may be replaced.
    dry_run
        Read and clean everything, write nothing.

    Raises
    ------
    InputError
        If there is no image, a file is damaged, says that text is burned into it (without ``accept_burned_in``), or two different
        files have the same SOPInstanceUID.
    ConfigError
        If one folder lies within the other.
    OutputExistsError, OutputError, DiskFullError
        See :func:`medcore.atomic.atomic_directory`.
    """
    src, dst, options = Path(src), Path(dst), options or DeidentifyOptions()
    if not src.exists():
        raise InputError(src, "does not exist", "check the path")
    here, there = src.resolve(), dst.resolve()
    if there.is_relative_to(here) or here.is_relative_to(there):
        raise ConfigError(str(dst), "lies within the source, or the source within it", "name a folder elsewhere")
    worker = _Worker(options)
    if dry_run:
        check_writable(dst, force=force or (dst.is_dir() and not any(dst.iterdir())))
        for _ in worker.files(src):
            pass
        return worker.finish(src, dry_run=True)
    with atomic_directory(dst, force=force) as folder:
        for name, content in worker.files(src):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        report = worker.finish(src, dry_run=False)
        write_json(folder / REPORT, report.as_dict())
    return report


class _Worker:
    """One run: cleans file after file and counts."""

    def __init__(self, options: DeidentifyOptions) -> None:
        self.options, self.tally = options, Tally()
        self.cleaner = Cleaner(options, Pseudonyms(options.key))

    def files(self, src: Path) -> Iterator[tuple[str, bytes]]:
        """New names and contents."""
        for path in self._inputs(src):
            try:
                dataset = open_image(path)
            except NotTakenError as error:
                if path == src:
                    raise
                self.tally.not_taken[error.kind] += 1
                continue
            name, content = self._convert(dataset, path)
            digest = hashlib.sha256(content).digest()
            known = self.tally.files.get(name)
            if known is None:
                self.tally.files[name] = digest
                yield name, content
            elif known == digest:
                self.tally.duplicates += 1
            else:
                raise InputError(path, "has the SOPInstanceUID of another file that differs from it", "remove one of them")

    def _inputs(self, src: Path) -> Iterator[Path]:
        if not src.is_dir():
            yield src
            return
        count = 0
        for root, folders, names in os.walk(src, onerror=_unreadable):
            self.tally.links += sum(Path(root, f).is_symlink() for f in folders)
            folders.sort()
            for name in sorted(names):
                count += 1
                if count > _MAX_FILES:
                    raise InputError(src, f"holds more than {_MAX_FILES} files", "name a smaller folder")
                path = Path(root, name)
                if path.is_symlink():
                    self.tally.links += 1
                elif path.is_file() and is_dicom_file(path):
                    yield path
                else:
                    self.tally.other_files += 1

    def _convert(self, dataset: Any, path: Path) -> tuple[str, bytes]:
        with pydicom_errors(path):
            burned, flags = is_burned_in(dataset), flags_of(dataset)
        if burned and not self.options.accept_burned_in:
            raise InputError(path, "says that text is burned into its pixels, which are not cleaned", "add --accept-burned-in-text")
        with pydicom_errors(path):
            try:
                clean = self.cleaner.clean(dataset)
            except TooDeepError as error:
                raise InputError(path, "nests sequences too deeply", "get another copy of the file") from error
            self._clean_pixels(dataset, clean)
            content = _encode(clean, str(dataset.file_meta.TransferSyntaxUID))
            study, series, instance = (str(clean[k].value) for k in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"))
        self.tally.flags.update(flags)
        self.tally.subjects.add(str(clean.PatientID))
        self.tally.studies.add(study)
        self.tally.series.add(series)
        return f"{study}/{series}/{instance}.dcm", content

    def _clean_pixels(self, dataset: Any, clean: Any) -> None:
        if "PixelData" not in clean:
            return
        if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            clean["PixelData"].value, comments = blank_comments(clean["PixelData"].value)
            self.tally.comments += comments
        elif embedded_overlays(dataset) and dataset.BitsAllocated == 16:
            clean["PixelData"].value = clear_unused_bits(dataset)

    def finish(self, src: Path, *, dry_run: bool) -> DeidentifyReport:
        """The report, if there is anything to report."""
        if not self.tally.files:
            kinds = ", ".join(f"{n} {kind}" for kind, n in self.tally.not_taken.items())
            raise InputError(src, f"holds no DICOM image{f' but {kinds}' if kinds else ''}", "check the path")
        return self.tally.report(self.cleaner.counts, self.options.codes(), dry_run=dry_run)


def _unreadable(error: OSError) -> None:
    raise InputError(str(error.filename), f"cannot be read ({error.strerror})", "check its permissions") from error


def _encode(clean: Any, syntax: str) -> bytes:
    """The data set as a file: a preamble of zeros and a header of its own."""
    import pydicom
    from pydicom.dataset import FileMetaDataset

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = clean.SOPClassUID, clean.SOPInstanceUID
    meta.TransferSyntaxUID, meta.ImplementationVersionName = syntax, f"medcore {__version__}"[:16]
    clean.file_meta, clean.preamble = meta, b"\0" * 128
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, clean, enforce_file_format=True)
    return buffer.getvalue()
