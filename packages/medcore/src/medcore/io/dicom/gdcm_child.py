"""Program that decodes JPEG pictures with GDCM for :mod:`medcore.io.dicom.gdcm_process`, so that its crashes are not those of the reader.

It reads requests from standard input and answers on standard output: a line of JSON with a length, and that many bytes. What the JPEG
library has to say about a damaged picture it prints on the error stream.
"""

from __future__ import annotations

import json
import sys


def decode(request: dict[str, int | str], stream: bytes) -> bytes:
    """Pixels of one picture in rows, little endian."""
    import gdcm  # type: ignore[import-untyped]

    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()
    piece, pieces = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
    piece.SetByteStringValue(stream)
    pieces.AddFragment(piece)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(pieces.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((request["columns"], request["rows"], 1))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(request["syntax"])))
    stored = int(request["stored"])
    image.SetPixelFormat(gdcm.PixelFormat(1, request["allocated"], stored, stored - 1, request["sign"]))
    image.SetDataElement(element)
    return bytes(image.GetBuffer().encode("utf-8", "surrogateescape"))  # GDCM hands bytes over as text


def main() -> None:
    """Answer requests until there are no more."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while line := requests.readline():
        request = json.loads(line)
        pixels = decode(request, requests.read(request["length"]))
        answers.write(json.dumps({"length": len(pixels)}).encode() + b"\n" + pixels)
        answers.flush()


if __name__ == "__main__":
    main()
