"""The protocol version and the compatibility rule.

The major number is the path (``/api/v1``); two majors do not talk. Within a major:

* a reader ignores fields it does not know and fills missing ones with their defaults;
* fields are only ever added, each with a default, and never change their meaning or unit;
* a record of a kind the reader does not know is kept (its batch's bytes) and counted ``not understood``;
* a reason the reader does not know reads as ``unrecognised`` if the writer's minor number is newer, and is a
  refusal otherwise, because then it is a mistake and not news;
* a refusal or the status of an order that the reader does not know reads as ``unrecognised``, the status of a batch as
  ``deferred``: what is not understood is never deleted;
* an order of an unknown kind is reported back as ``unknown`` and is never fatal.

``tests/wire/golden`` keeps one batch per release, and a test reads every one of them.
"""

MAJOR = 1
MINOR = 1
"""1 since release 0.2.0: leases, throughput and call tests, link states and slots."""
PROTOCOL = f"{MAJOR}.{MINOR}"


class UnknownProtocol(ValueError):
    """The peer speaks a protocol that this release cannot read."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"protocol: found {found!r}, expected {MAJOR}.x such as {PROTOCOL}; update the older of the two sides"
        )


def minor_of(protocol: str) -> int:
    """The minor number of ``"major.minor"``; raises :class:`UnknownProtocol` for another major or no version."""
    major, dot, minor = protocol.partition(".")
    if not dot or not (major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit()):
        raise UnknownProtocol(protocol)
    if int(major) != MAJOR or len(minor) > 6:
        raise UnknownProtocol(protocol)
    return int(minor)
