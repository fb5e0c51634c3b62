"""The own CA, the pin, renewal, and a whole exchange over TLS with nothing trusted but the pinned CA."""

import asyncio
import base64
import hashlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from collector.settings import CollectorSettings
from collector.tls import Authority, BadCertificate, context, names_of, pin_of, wanted_names
from tests.support.certificates import authority as other_authority
from tests.support.certificates import leaf
from tests.support.collecting import collecting

NOW = datetime(2026, 11, 21, tzinfo=UTC)
NAMES = ["phrom.example", "127.0.0.1"]


def test_the_authority_is_made_once_and_its_keys_are_for_the_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    made = Authority.open(folder, NOW)
    assert made.ensure_server(NAMES, NOW)
    assert Authority.open(folder, NOW).pin == made.pin
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {"ca.key": 0o600, "server.key": 0o600, "ca.pem": 0o644, "server.pem": 0o644}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_pin_is_the_contracts(tmp_path: Path) -> None:
    """First 128 bits of SHA-256 over the SubjectPublicKeyInfo, in base32: computed here by other means."""
    made = Authority.open(tmp_path, NOW)
    der = x509.load_pem_x509_certificate(made.pem).public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    expected = base64.b32encode(hashlib.sha256(der).digest())[:26].decode()
    assert expected[:25] == made.pin[:25] == pin_of(made.certificate)[:25]
    assert len(made.pin) == 26
    assert made.pin != Authority.open(tmp_path / "other", NOW).pin


def test_the_authority_signs_nothing_below_itself(tmp_path: Path) -> None:
    made = Authority.open(tmp_path, NOW)
    constraints = made.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    made.ensure_server(NAMES, NOW)
    server = x509.load_pem_x509_certificate((tmp_path / "server.pem").read_bytes())
    server.verify_directly_issued_by(made.certificate)
    assert not server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_the_server_certificate_is_renewed_before_its_end_and_for_a_new_name(tmp_path: Path) -> None:
    made = Authority.open(tmp_path, NOW)
    assert made.ensure_server(NAMES, NOW)
    assert not made.ensure_server(NAMES, NOW + timedelta(days=300))
    assert made.ensure_server(NAMES, NOW + timedelta(days=340))
    assert not made.ensure_server(NAMES, NOW + timedelta(days=341))
    assert made.ensure_server([*NAMES, "10.10.0.5"], NOW + timedelta(days=341))
    server = x509.load_pem_x509_certificate((tmp_path / "server.pem").read_bytes())
    assert names_of(server) == {*NAMES, "10.10.0.5"}
    assert server.not_valid_before_utc == NOW + timedelta(days=340)


def test_names_come_from_the_public_address_the_bind_and_the_settings() -> None:
    settings = CollectorSettings(bind="10.0.0.4", tls="own", public_url="https://phrom.example:8480", names=["hall"])
    assert wanted_names(settings)[:3] == ["phrom.example", "hall", "10.0.0.4"]
    assert "0.0.0.0" not in wanted_names(CollectorSettings(bind="0.0.0.0", tls="own"))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "ca.pem").unlink(), "ca.pem: not found, but its other half is there"),
        (lambda folder: (folder / "ca.key").unlink(), "ca.key: not found, but its other half is there"),
        (lambda folder: (folder / "ca.key").write_text("x"), "ca.key or ca.pem cannot be read"),
        (
            lambda folder: (folder / "ca.pem").write_bytes(other_authority().pem),
            "ca.key is not the key of ca.pem; restore both from the same backup",
        ),
    ],
)
def test_a_spoiled_authority_is_never_replaced_in_silence(tmp_path: Path, spoil: object, words: str) -> None:
    Authority.open(tmp_path, NOW)
    spoil(tmp_path)  # type: ignore[operator]
    with pytest.raises(BadCertificate, match=words):
        Authority.open(tmp_path, NOW)


def test_given_files_that_do_not_fit_are_told(tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(leaf(None, "phrom.example").pem)
    key.write_text("nothing")
    with pytest.raises(BadCertificate, match="expected a PEM certificate chain and its unencrypted key"):
        context(chain, key)


async def test_an_agent_joins_over_tls_and_trusts_the_pinned_authority_alone(tmp_path: Path) -> None:
    async with collecting(tmp_path, tls="own", bind="127.0.0.1") as collector:
        assert collector.url.startswith("https://127.0.0.1:")
        code = await collector.code()
        unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        unverified.check_hostname = False
        unverified.verify_mode = ssl.CERT_NONE
        pem = await (await collector.session.get(f"{collector.url}/api/v1/ca", ssl=unverified)).read()
        certificate = x509.load_pem_x509_certificate(pem)
        assert collector.services.authority is not None
        assert pin_of(certificate) == collector.services.authority.pin
        trusting = ssl.create_default_context(cadata=pem.decode())
        answer = await collector.session.post(
            f"{collector.url}/api/v1/join",
            json={"protocol": "1.0", "code": f"{code}.{pin_of(certificate)}"},
            headers={"Content-Type": "application/json"},
            ssl=trusting,
        )
        assert answer.status == 200  # the host name 127.0.0.1 was verified too
        foreign = ssl.create_default_context(cadata=other_authority().pem.decode())
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await collector.session.get(f"{collector.url}/healthz", ssl=foreign)


async def test_a_code_with_another_collectors_pin_is_told_so(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        code = await collector.code()
        refused = await collector.join(f"{code}.{'A' * 26}")
        assert refused.status == 403
        assert refused.problem["detail"] == "the code's part behind the dot is not this collector's key"
        assert (await collector.join(code)).status == 200  # and the code was not spent


async def test_given_certificate_files_are_served(tmp_path: Path) -> None:
    root = other_authority()
    server = leaf(root, "127.0.0.1")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    await asyncio.to_thread(chain.write_bytes, server.pem)
    await asyncio.to_thread(
        key.write_bytes,
        server.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
    async with collecting(tmp_path / "data", tls="files", certificate=str(chain), key=str(key)) as collector:
        trusting = ssl.create_default_context(cadata=root.pem.decode())
        trusting.check_hostname = False
        answer = await collector.session.get(f"{collector.url}/healthz", ssl=trusting)
        assert answer.status == 200
        assert (await collector.session.get(f"{collector.url}/api/v1/ca", ssl=trusting)).status == 404


async def test_a_renewed_certificate_is_served_without_a_restart(tmp_path: Path) -> None:
    from collector.serve import _Renew
    from collector.tls import load_chain

    folder = tmp_path / "tls"
    authority = await asyncio.to_thread(Authority.open, folder, datetime.now(UTC) - timedelta(days=380))
    await asyncio.to_thread(authority.ensure_server, ["127.0.0.1"], datetime.now(UTC) - timedelta(days=380))
    before = await asyncio.to_thread((folder / "server.pem").read_bytes)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    await asyncio.to_thread(load_chain, served, folder / "server.pem", folder / "server.key")
    async with collecting(tmp_path, tls="own") as collector:
        collector.services.authority = authority
        await asyncio.to_thread((folder / "server.pem").write_bytes, before)
        await _Renew(collector.services, served)()
        renewed = x509.load_pem_x509_certificate(await asyncio.to_thread((folder / "server.pem").read_bytes))
        assert renewed.not_valid_after_utc > datetime.now(UTC) + timedelta(days=390)
