"""Why a certificate was refused, read from the chain that the server sent. Pure; imports cryptography, so it is
imported only after a refusal (about 10 MB that a healthy agent never pays).

Heuristics, in their order:

* *inspected*: the issuer carries the name of a product that opens TLS on its way (:mod:`agent.probes.tls.inspection`);
* *chain incomplete*: the leaf names an issuer that the server did not send and tells where to fetch it (AIA caIssuers,
  RFC 5280, section 4.2.2.1), which private CAs seldom do: browsers fetch it and hide the fault, other programs fail;
* otherwise what OpenSSL said, with every further fault in the fact ``also``.
"""

import datetime
import ipaddress
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import AuthorityInformationAccessOID

from agent.probes.tls.inspection import product
from wire.reasons import Reason

UNREADABLE = (
    ValueError,
    TypeError,
    IndexError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What cryptography raises for bytes that are no proper certificate; found by damaging every byte of one."""


class Explained(NamedTuple):
    """The reason in our vocabulary, the issuer as one line, and facts for people."""

    reason: Reason
    issuer: str
    facts: dict[str, str]
    expires: float | None
    """When the leaf ends, UTC seconds."""


def explain(chain: list[bytes], host: str, now: float, verdict: Reason) -> Explained:
    """Judges the chain (DER, leaf first) of ``host`` at ``now`` (UTC s); ``verdict`` is what OpenSSL said."""
    try:
        certificates = [x509.load_der_x509_certificate(one) for one in chain]
        leaf = certificates[0]
        issuer, subject = leaf.issuer.rfc4514_string(), leaf.subject.rfc4514_string()
        problems = _problems(leaf, certificates[1:], host, now)
        facts = {
            "issuer": issuer[:300],
            "subject": subject[:300],
            "fingerprint": leaf.fingerprint(SHA256()).hex(),
            "not_before": _text(leaf.not_valid_before_utc),
            "not_after": _text(leaf.not_valid_after_utc),
            "sent": f"{len(chain)} certificates",
        }
    except UNREADABLE as problem:
        return Explained(verdict, "", {"detail": f"unreadable certificate: {problem}"[:200]}, None)
    reason = verdict
    found = product(issuer)
    if verdict in (Reason.TLS_UNTRUSTED, Reason.TLS_SELF_SIGNED) and found:
        reason = Reason.TLS_INSPECTED
        facts["inspection"] = found
    elif verdict is Reason.TLS_UNTRUSTED and Reason.TLS_CHAIN_INCOMPLETE in problems:
        reason = Reason.TLS_CHAIN_INCOMPLETE
    if verdict in (Reason.TLS_EXPIRED, Reason.TLS_NOT_YET_VALID) and verdict not in problems:
        facts["which"] = "not the server's own certificate but one above it"
    also = [str(one) for one in problems if one not in (reason, verdict)]
    if also:
        facts["also"] = " ".join(also)
    return Explained(reason, issuer, facts, leaf.not_valid_after_utc.timestamp())


def names_of(leaf: x509.Certificate) -> tuple[list[str], list[str]]:
    """The host names and the IP addresses that a certificate stands for (subjectAltName; the common name is dead)."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return [], []
    return names.get_values_for_type(x509.DNSName), [str(ip) for ip in names.get_values_for_type(x509.IPAddress)]


def matches(host: str, names: list[str], addresses: list[str]) -> bool:
    """Whether a certificate's names cover ``host`` (RFC 9525: a wildcard is a whole leftmost label)."""
    try:
        return str(ipaddress.ip_address(host)) in addresses
    except ValueError:
        pass
    wanted = host.rstrip(".").casefold()
    parent = wanted.partition(".")[2]
    return any(name == wanted or (parent and name == f"*.{parent}") for name in (one.casefold() for one in names))


def _problems(leaf: x509.Certificate, sent: list[x509.Certificate], host: str, now: float) -> list[Reason]:
    found: list[Reason] = []
    if now > leaf.not_valid_after_utc.timestamp():
        found.append(Reason.TLS_EXPIRED)
    if now < leaf.not_valid_before_utc.timestamp():
        found.append(Reason.TLS_NOT_YET_VALID)
    if not matches(host, *names_of(leaf)):
        found.append(Reason.TLS_WRONG_NAME)
    if leaf.issuer == leaf.subject:
        found.append(Reason.TLS_SELF_SIGNED)
    elif all(one.subject != leaf.issuer for one in sent) and _says_where_its_issuer_is(leaf):
        found.append(Reason.TLS_CHAIN_INCOMPLETE)
    return found


def _says_where_its_issuer_is(leaf: x509.Certificate) -> bool:
    try:
        access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return False
    return any(one.access_method == AuthorityInformationAccessOID.CA_ISSUERS for one in access)


def _text(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
