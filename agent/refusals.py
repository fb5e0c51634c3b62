"""Why an exchange with the collector failed, each cause with what the uplink may do about it."""

from wire.lease import NoLease


class ExchangeFailed(Exception):
    """No receipt. What was sent stays in the spool."""

    wait: float | None = None
    """Seconds the collector asked to wait, if it did."""


class Unreachable(ExchangeFailed):
    """No answer: no route, no listener, a certificate that is not trusted, a server that hangs."""


class ConnectionLost(Unreachable):
    """The connection broke before an answer came."""


class NotACollector(ExchangeFailed):
    """Something answered that is not our collector: a captive portal, a proxy, a wrong address."""


class Busy(ExchangeFailed):
    """429 or 503."""

    def __init__(self, words: str, wait: float | None) -> None:
        super().__init__(words)
        self.wait = wait


class TokenRefused(ExchangeFailed):
    """401 or 403: the token was revoked, or the agent retired. Only a person can mend that."""


class TooLarge(ExchangeFailed):
    """413: less must be sent at once."""


class Rejected(ExchangeFailed):
    """The collector itself, by a problem document, will not take this body as it is."""


class LeaseDenied(ExchangeFailed):
    """409 to a request for a lease: the collector's answer is no, for the reason ``why``."""

    def __init__(self, words: str, why: NoLease, wait: float | None) -> None:
        super().__init__(words)
        self.why = why
        self.wait = wait


class SettingsUnreadable(ExchangeFailed):
    """The settings that were fetched cannot be read by this release."""
