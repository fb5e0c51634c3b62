"""The product's own errors, which a command tells in plain words and without a traceback."""

from collector.credentials import BadCode, BadToken
from collector.enrolment import NoSuchSite
from collector.saving import BadBackup
from collector.serve import CannotStart
from collector.store import CannotOpen, CannotWrite
from collector.tls import BadCertificate
from collector.vantages import NoSuchVantage


def expected() -> tuple[type[Exception], ...]:
    """What a command may end with."""
    return (
        BadBackup,
        BadCertificate,
        BadCode,
        BadToken,
        CannotOpen,
        CannotStart,
        CannotWrite,
        NoSuchSite,
        NoSuchVantage,
    )
