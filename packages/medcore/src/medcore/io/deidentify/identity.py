"""New identifiers in place of old ones: a keyed hash, so that equal becomes equal and nobody without the key can tell from what."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any

_STANDARD = "1.2.840.10008."


class Pseudonyms:
    """New UIDs, subject labels and shifts of dates, all from one secret key.

    Parameters
    ----------
    key
        The secret; a random one if None.
    """

    def __init__(self, key: bytes | None) -> None:
        self._key = secrets.token_bytes(32) if key is None else key

    def _number(self, role: str, text: str, n_bytes: int) -> int:
        digest = hmac.new(self._key, f"{role}\0{text}".encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
        return int.from_bytes(digest[:n_bytes], "big")

    def uid(self, old: str) -> str:
        """A UID of the 2.25 branch (PS3.5 B.2); UIDs that the standard itself defines stay."""
        from pydicom.uid import UID_dictionary

        if old.startswith(_STANDARD) and old in UID_dictionary:
            return old
        return f"2.25.{self._number('uid', old, 16)}"

    def subject(self, identity: str) -> str:
        """Label of a person; empty where nothing says who it is."""
        return f"anon-{self._number('subject', identity, 8):016X}" if identity else ""

    def shift_days(self, identity: str) -> int:
        """How many days to add to every date of a person: between one and ten years back."""
        return -(365 + self._number("shift", identity, 8) % 3287)

    def small_label(self, text: str) -> str:
        """A number of six digits in place of a short label."""
        return f"{self._number('label', text, 8) % 1_000_000:06d}"


def identity_of(dataset: Any) -> str:
    """What tells the persons of a data set apart: identifier and issuer, or else name and birth date."""
    number, issuer, name, born = (
        str(dataset.get(k) or "").strip() for k in ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate")
    )
    if number:
        return f"{number}\0{issuer}"
    return f"\0\0{name}\0{born}" if name or born else ""
