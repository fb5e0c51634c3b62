"""What the parts of the inventory's files are made of."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from wire.settings import SITE_PATTERN

_ID_WORDS = "a short name in lower case, digits and hyphens"
Id = Annotated[
    str, Meta(pattern=SITE_PATTERN, extra={"expected": _ID_WORDS}, examples=["na-yung"], description="Short name")
]
ShortId = Annotated[Id, Meta(max_length=39)]
"""Two of them and a dot make the name of a target, which may have 80 characters on the wire."""
Host = Annotated[
    str, Meta(max_length=253, pattern=r"^[A-Za-z0-9.:_-]*$", extra={"expected": "a host name or an IP address"})
]
Mbps = Annotated[float, Meta(gt=0, le=1_000_000, extra={"expected": "a number of megabits per second"})]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all parts share."""


class Name(Part, frozen=True, kw_only=True):
    """A name for people."""

    th: Annotated[str, Meta(min_length=1, max_length=200, description="In Thai", examples=["อำเภอนายูง"])]
    en: Annotated[str, Meta(max_length=200, description="In English", examples=["Na Yung"])] = ""

    def text(self, language: str = "th") -> str:
        """In a language; in Thai where there is no other."""
        return self.en if language == "en" and self.en else self.th
