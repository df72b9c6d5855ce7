"""What may be kept beyond the basic profile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medcore.errors import ConfigError

MIN_KEY_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class DeidentifyOptions:
    """Options of the profile (PS3.15 E.3); by default nothing is kept.

    Attributes
    ----------
    dates
        ``"remove"`` dates and times, or ``"shift"`` dates by a whole number of days that is the same for all files of one subject
        (1 to 10 years back); times of day stay then. The birth date is removed in either case.
    keep_patient
        Keep sex, age, size and weight. Ages above 89 years become 90.
    keep_device
        Keep names and numbers of device, software, coils and pulse sequences.
    clean_descriptions
        Keep those words of the descriptions of series, study and protocol that are known technical terms (``T2 TSE TRA``).
    accept_burned_in
        Take images that say that text is burned into them. Pixels are never cleaned.
    key
        Secret of at least 16 bytes. The same key gives the same new identifiers and shifts in another run; without one every run
        makes its own and forgets it.
    """

    dates: Literal["remove", "shift"] = "remove"
    keep_patient: bool = False
    keep_device: bool = False
    clean_descriptions: bool = False
    accept_burned_in: bool = False
    key: bytes | None = None

    def __post_init__(self) -> None:
        if self.dates not in ("remove", "shift"):
            raise ConfigError("dates", f"is {self.dates!r}", "use 'remove' or 'shift'")
        if self.key is not None and len(self.key) < MIN_KEY_BYTES:
            raise ConfigError(
                "key", f"has {len(self.key)} bytes, which can be guessed", f"use at least {MIN_KEY_BYTES} random bytes"
            )

    def codes(self) -> tuple[str, ...]:
        """Keywords of the profile and its options in DICOM's dictionary (CID 7050)."""
        chosen = {
            "CleanDescriptorsOption": self.clean_descriptions,
            "RetainLongitudinalTemporalInformationModifiedDatesOption": self.dates == "shift",
            "RetainPatientCharacteristicsOption": self.keep_patient,
            "RetainDeviceIdentityOption": self.keep_device,
        }
        return ("BasicApplicationConfidentialityProfile", *(keyword for keyword, on in chosen.items() if on))
