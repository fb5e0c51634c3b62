"""Joining: a code turns into a token. With a pin in the code the collector's own CA is fetched and checked first.

>>> identity = await join("https://collector.example:8480", "ABCD-EFGH-IJKL-MNOP.QRST…", clock, machine="box-1")
"""

import asyncio
import base64
import hashlib
import hmac
import socket
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import aiohttp
import msgspec
import structlog

from agent.clock import Clock
from agent.connection import Connection, UnsafeAddress, checked_address
from agent.refusals import ExchangeFailed, Rejected, TokenRefused
from agent.state import Identity, State, replace_file
from wire.settings import JoinRequest
from wire.version import PROTOCOL

SECRET_LENGTH = 16
PIN_LENGTH = 26
PATIENCE = 20.0
_LARGEST_CA = 64 * 1024
_ALPHABET = set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
_MISREAD = str.maketrans({"0": "O", "1": "I", "8": "B"})
"""Base32 (RFC 4648) has none of these three digits, so whoever read one meant the letter."""
log = structlog.get_logger(__name__)


class BadCode(ValueError):
    """What was typed is no join code. The message never repeats it."""


class JoinFailed(Exception):
    """The collector cannot be reached, is not the one the code was made by, or refused the code."""


class JoinRefused(JoinFailed):
    """The collector refused the code: unknown, used, expired or revoked."""


class JoinCode(NamedTuple):
    """A code taken apart."""

    secret: str
    """16 characters in groups of four."""
    pin: str
    """26 characters, or empty."""


def parse_code(text: str) -> JoinCode:
    """A code as people type it: in any case, with spaces or without dashes. Raises :class:`BadCode`."""
    secret, dot, pin = "".join(text.upper().split()).replace("-", "").translate(_MISREAD).partition(".")
    if len(secret) != SECRET_LENGTH or not set(secret) <= _ALPHABET:
        raise BadCode(
            f"code: found {len(secret)} characters before the dot, expected {SECRET_LENGTH} letters A-Z and digits 2-7 "
            "such as ABCD-EFGH-IJKL-MNOP"
        )
    if dot and (len(pin) != PIN_LENGTH or not set(pin) <= _ALPHABET):
        raise BadCode(
            f"code: found {len(pin)} characters behind the dot, expected {PIN_LENGTH} letters A-Z and digits 2-7; "
            "copy the whole code"
        )
    return JoinCode("-".join(secret[at : at + 4] for at in range(0, SECRET_LENGTH, 4)), pin)


async def join(
    url: str,
    code: str,
    clock: Clock,
    *,
    machine: str = "",
    vantage: Mapping[str, str] | None = None,
    patience: float = PATIENCE,
) -> Identity:
    """Enrols this machine. Raises :class:`BadCode`, :class:`agent.connection.UnsafeAddress`, :class:`JoinRefused` and
    :class:`JoinFailed`; no message holds the code."""
    taken = parse_code(code)
    base = checked_address(url)
    if taken.pin and not base.startswith("https:"):
        raise UnsafeAddress(f"collector: found {url!r}, expected https, because the code carries the collector's key")
    ca = await _pinned_ca(base, taken.pin, patience) if taken.pin else ""
    sent = JoinRequest(
        protocol=PROTOCOL,
        code=taken.secret + ("." + taken.pin if taken.pin else ""),
        machine=(machine or socket.gethostname())[:80],
        vantage=dict(vantage or {}),
    )
    async with Connection(base, clock, ca=ca, patience=patience) as connection:
        try:
            answer = await connection.join(sent)
        except (TokenRefused, Rejected) as error:
            raise JoinRefused(str(error)) from error
        except ExchangeFailed as error:
            raise JoinFailed(str(error)) from error
    return Identity.of(base, ca, answer)


async def _pinned_ca(base: str, pin: str, patience: float) -> str:
    """The collector's CA as PEM, once its key was found to be the pinned one. Raises :class:`JoinFailed`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing secret is sent by it, and what it fetches is checked against the pin
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context), timeout=aiohttp.ClientTimeout(total=patience)
            ) as session,
            session.get(f"{base}/api/v1/ca", allow_redirects=False) as response,
        ):
            found = await response.content.read(_LARGEST_CA)
            status = response.status
    except TimeoutError as error:
        raise JoinFailed(f"{base}: no answer within {patience:g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise JoinFailed(f"{base}: {str(error) or type(error).__name__}") from error
    if status != 200:
        raise JoinFailed(f"{base} answered {status} when asked for its certificate authority")
    return await asyncio.to_thread(checked_ca, found, pin, base)


def checked_ca(pem: bytes, pin: str, where: str) -> str:
    """The one certificate of ``pem``, re-encoded, if its key's SHA-256 begins with ``pin``. Raises
    :class:`JoinFailed`."""
    from cryptography import x509  # here: only joining needs it, and it costs memory
    from cryptography.hazmat.primitives import serialization

    try:
        certificate = x509.load_pem_x509_certificate(pem)
        key = certificate.public_key()
    except (ValueError, TypeError) as error:
        raise JoinFailed(f"{where}: found no certificate where its authority was expected") from error
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    found = base64.b32encode(hashlib.sha256(der).digest()[:16]).decode().rstrip("=")
    if not hmac.compare_digest(found, pin):
        raise JoinFailed(
            f"{where}: its key is not the one this code was made for. Either the code belongs to another collector, or "
            "something between here and there reads along: do not join from this network"
        )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


class JoinFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A prepared file on a stick or card: ``url`` and ``code``, as ``phrom-collector enrol --file`` writes it."""

    url: Annotated[
        str, msgspec.Meta(description="Address of the collector", examples=["https://collector.example:8480"])
    ]
    code: Annotated[str, msgspec.Meta(description="The join code", examples=["ABCD-EFGH-IJKL-MNOP"])]


async def join_by_file(paths: Sequence[Path], state: State, clock: Clock) -> Identity | None:
    """Joins by the first join file that exists and was not used yet; ``None`` where there is none.

    The new identity is on disk before the file is consumed. Raises as :func:`join` does, and
    :class:`wire.yaml_settings.SettingsError`, :class:`agent.state.StateUnusable`.
    """
    for path in paths:
        content = await asyncio.to_thread(_content, path)
        if content is None:
            continue
        digest = hashlib.sha256(content).hexdigest()
        if digest in await asyncio.to_thread(state.used_join_files):
            continue
        file = await asyncio.to_thread(_parsed, content, path)
        identity = await join(file.url, file.code, clock)
        await asyncio.to_thread(state.keep_identity, identity)
        await asyncio.to_thread(state.keep_used_join_file, digest)
        await asyncio.to_thread(_consume, path)
        log.info("joined by file", file=str(path), site=identity.site, collector=identity.url)
        return identity
    return None


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.is_file() else None
    except OSError as error:
        log.warning("join file cannot be read", file=str(path), cause=str(error))
        return None


def _parsed(content: bytes, path: Path) -> JoinFile:
    from wire import yaml_settings

    return yaml_settings.parse(content.decode("utf-8", "replace"), str(path), JoinFile)


def _consume(path: Path) -> None:
    """Takes the code off the card. A card that cannot be written is remembered by its digest instead."""
    try:
        replace_file(path, b"# This file was used to join and holds no code any more.\n")
        path.replace(path.with_name(path.name + ".used"))
    except OSError as error:
        log.warning("join file not removed", file=str(path), cause=str(error))
