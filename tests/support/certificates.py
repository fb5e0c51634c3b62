"""Certificates made for a test: authorities, intermediates and leaves with whatever is wrong with them."""

import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


class Pair(NamedTuple):
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate alone."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def der(self) -> bytes:
        """The certificate alone, as it goes over the wire."""
        return self.certificate.public_bytes(serialization.Encoding.DER)


def authority(name: str = "Test Root", above: Pair | None = None) -> Pair:
    """A root, or an intermediate below ``above``."""
    return _issue(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), above, ca=True)


def leaf(
    issuer: Pair | None,
    *names: str,
    begins: float = -1,
    ends: float = 90,
    aia: bool = False,
    organisation: str = "",
) -> Pair:
    """A server's certificate for ``names``, valid ``begins`` to ``ends`` days from now; no issuer: self-signed."""
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, names[0])]
    if organisation:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    return _issue(x509.Name(attributes), issuer, names=names, begins=begins, ends=ends, aia=aia)


def server_context(folder: Path, pair: Pair, *above: Pair) -> ssl.SSLContext:
    """A server's context that sends ``pair`` and the certificates ``above`` it; writes them into ``folder``."""
    file = folder / f"{pair.certificate.serial_number}.pem"
    key = pair.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(key + b"".join(one.pem for one in (pair, *above)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def client_context(*roots: Pair, kind: type[ssl.SSLContext] = ssl.SSLContext) -> ssl.SSLContext:
    """A client's context that trusts these roots alone."""
    context = kind(ssl.PROTOCOL_TLS_CLIENT)
    for root in roots:
        context.load_verify_locations(cadata=root.pem.decode())
    return context


def _issue(
    subject: x509.Name,
    issuer: Pair | None,
    *,
    names: tuple[str, ...] = (),
    begins: float = -10,
    ends: float = 3650,
    ca: bool = False,
    aia: bool = False,
) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins * DAY)
        .not_valid_after(now + ends * DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if ca:
        builder = builder.add_extension(_ca_usage(), critical=True)
    else:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
    if aia:
        place = x509.UniformResourceIdentifier("http://ca.example/issuer.der")
        access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, place)
        builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
    return Pair(builder.sign(signer, hashes.SHA256()), key)


def _ca_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
