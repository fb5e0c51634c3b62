"""The collector's own certificate authority, made at first start, and the TLS context to serve with.

The CA signs nothing but this collector's server certificate. Every join code carries a pin of the CA's key, so that an
agent trusts exactly this CA from its first request on. Everything here reads and writes files: call it in a thread.
"""

import base64
import hashlib
import ipaddress
import os
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from collector.settings import CollectorSettings, is_any

CA_LIFE = timedelta(days=20 * 366)
SERVER_LIFE = timedelta(days=397)
"""What browsers accept at most."""
RENEW_BEFORE = timedelta(days=60)
_BACKDATED = timedelta(days=1)
"""Certificates begin a day early, for agents whose clock is slow."""


class BadCertificate(Exception):
    """A key or certificate file cannot be used; the message says which and what to do."""


def pin_of(certificate: x509.Certificate) -> str:
    """First 128 bits of the SHA-256 over the SubjectPublicKeyInfo (DER) in base32: 26 characters."""
    key = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b32encode(hashlib.sha256(key).digest()[:16]).decode().rstrip("=")


class Authority:
    """The files ``ca.pem``, ``ca.key``, ``server.pem`` and ``server.key`` of one folder; keys are 0600."""

    def __init__(self, folder: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self.folder = folder
        self._key = key
        self.certificate = certificate

    @classmethod
    def open(cls, folder: Path, now: datetime) -> "Authority":
        """The CA kept in the folder, or a new one; raises :class:`BadCertificate`."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key_file, file = folder / "ca.key", folder / "ca.pem"
        if key_file.exists() != file.exists():
            missing = file if key_file.exists() else key_file
            raise BadCertificate(
                f"{missing}: not found, but its other half is there; restore it from the backup. Without it "
                f"every agent must join anew: move {folder} away to begin with a new CA"
            )
        if not file.exists():
            return cls._create(folder, now)
        try:
            key = serialization.load_pem_private_key(key_file.read_bytes(), None)
            certificate = x509.load_pem_x509_certificate(file.read_bytes())
        except ValueError as error:
            raise BadCertificate(f"{folder}: ca.key or ca.pem cannot be read ({error}); restore the backup") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise BadCertificate(f"{folder}: ca.key is not the key of ca.pem; restore both from the same backup")
        return cls(folder, key, certificate)

    @classmethod
    def _create(cls, folder: Path, now: datetime) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Phrom collector's own CA")])
        certificate = (
            _builder(name, name, key.public_key(), now, CA_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        _write(folder / "ca.pem", certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        _write(folder / "ca.key", _private(key), 0o600)
        return cls(folder, key, certificate)

    @property
    def pin(self) -> str:
        """See :func:`pin_of`."""
        return pin_of(self.certificate)

    @property
    def pem(self) -> bytes:
        """The CA's certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def ensure_server(self, names: list[str], now: datetime) -> bool:
        """Makes the server certificate if it is missing, near its end or lacks a name; ``True`` if a new one was
        made."""
        file, key_file = self.folder / "server.pem", self.folder / "server.key"
        if file.exists() and key_file.exists():
            held = x509.load_pem_x509_certificate(file.read_bytes())
            wanted = {str(one.value) for one in _alternatives(names)}
            if held.not_valid_after_utc - now > RENEW_BEFORE and wanted <= names_of(held):
                return False
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
        certificate = (
            _builder(subject, self.certificate.subject, key.public_key(), now, SERVER_LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(_alternatives(names)), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        _write(key_file, _private(key), 0o600)
        _write(file, certificate.public_bytes(serialization.Encoding.PEM) + self.pem, 0o644)
        return True


def names_of(certificate: x509.Certificate) -> set[str]:
    """The names and addresses that a certificate stands for."""
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(one.value) for one in extension}


def wanted_names(settings: CollectorSettings) -> list[str]:
    """Every name and address by which this collector may be reached."""
    host = urlsplit(settings.public_url).hostname if settings.public_url else None
    own = [] if is_any(settings.bind) else [settings.bind]
    found = [host or "", *settings.names, *own, socket.gethostname(), "localhost", "127.0.0.1", "::1"]
    return list(dict.fromkeys(filter(None, found)))


def context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server's context, TLS 1.2 or newer; raises :class:`BadCertificate`."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    load_chain(made, certificate, key)
    return made


def load_chain(into: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """(Re)loads the certificate that new connections are served with; raises :class:`BadCertificate`."""
    try:
        into.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise BadCertificate(
            f"{certificate}, {key}: cannot be used ({error}); expected a PEM certificate chain and its unencrypted key"
        ) from error


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(names: list[str]) -> list[x509.DNSName | x509.IPAddress]:
    found: list[x509.DNSName | x509.IPAddress] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name.encode("idna").decode()))
    return found


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(file: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, and never readable by others for a moment."""
    new = file.with_suffix(file.suffix + ".new")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)
