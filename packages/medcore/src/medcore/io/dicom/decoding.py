"""Stored pixels, decoded frame by frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Integer

from medcore.errors import InputError, MissingExtraError
from medcore.io.dicom.gdcm_process import DecoderError, GdcmProcess
from medcore.io.dicom.parsing import pydicom_errors
from medcore.io.guard import reason

# In this order, and GDCM only where no other can: see medcore.io.dicom.gdcm_process. pylibjpeg's decoder of RLE panics at damaged
# pixels instead of raising an exception, so pydicom's own comes first.
_PLUGINS = ("pydicom", "pyjpegls", "pylibjpeg")


class FrameDecoder:
    """Context that decodes frames of any number of files."""

    def __init__(self) -> None:
        self._gdcm = GdcmProcess()

    def __enter__(self) -> FrameDecoder:  # noqa: PYI034 - the run-time check of types knows no Self
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._gdcm.__exit__(kind, error, trace)

    def frames(self, dataset: Any, wanted: Iterable[int], path: Path) -> Iterator[tuple[int, Integer[np.ndarray, "y x"]]]:
        """The wanted frames of one file with their number in it, as they are stored.

        Raises
        ------
        MissingExtraError
            If no decoder is installed for the compression used.
        InputError
            If no decoder exists or it fails.
        """
        from pydicom.pixels import get_decoder

        indices = sorted(set(wanted))
        shape = (int(dataset.Rows), int(dataset.Columns))
        syntax = dataset.file_meta.TransferSyntaxUID
        try:
            decoder = get_decoder(syntax)
        except NotImplementedError as error:
            raise InputError(path, f"is compressed with {syntax.name}, for which there is no decoder", "convert it") from error
        if not decoder.is_available:
            raise MissingExtraError("pylibjpeg or gdcm", "medcore[dicom]", f"{path} ({syntax.name})")
        plugins = [name for name in _PLUGINS if name in decoder.available_plugins]
        native = not decoder.UID.is_encapsulated
        frames = (
            self._by_pydicom(dataset, indices, "" if native else plugins[0])
            if native or plugins
            else self._by_gdcm(dataset, indices)
        )
        for index in indices:
            try:
                with pydicom_errors(path, "has pixels that cannot be decoded"):
                    frame = next(frames)
            except InputError as error:
                raise InputError(
                    path, f"has pixels that cannot be decoded ({reason(error.__cause__ or error)})", "convert it"
                ) from error
            except DecoderError as error:
                raise InputError(path, f"has pixels that are damaged ({reason(error)})", "get another copy of the file") from error
            if frame.shape != shape or frame.dtype.kind not in "iu":
                raise InputError(path, f"decodes to frames of {frame.shape} {frame.dtype}, its header says {shape}", "convert it")
            yield index, frame

    @staticmethod
    def _by_pydicom(dataset: Any, indices: list[int], plugin: str) -> Iterator[Any]:
        from pydicom.pixels import iter_pixels

        yield from iter_pixels(dataset, indices=indices, decoding_plugin=plugin)

    def _by_gdcm(self, dataset: Any, indices: list[int]) -> Iterator[Any]:
        from pydicom.encaps import generate_frames

        rows, columns = int(dataset.Rows), int(dataset.Columns)
        facts = {
            "syntax": str(dataset.file_meta.TransferSyntaxUID),
            "rows": rows,
            "columns": columns,
            "allocated": int(dataset.BitsAllocated),
            "stored": int(dataset.BitsStored),
            "sign": int(dataset.PixelRepresentation),
        }
        kind = np.dtype(f"<{'ui'[dataset.PixelRepresentation]}{dataset.BitsAllocated // 8}")
        unused = dataset.BitsAllocated - dataset.BitsStored
        wanted = set(indices)
        for index, stream in enumerate(
            generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1))
        ):
            if index in wanted:
                content = self._gdcm.decode(stream, **facts)
                # What lies in the unused bits above the stored ones does not count.
                yield np.frombuffer(content, dtype=kind).reshape(rows, columns) << unused >> unused
