"""A TLS handshake on a connected socket, and the certificates that came with it."""

import asyncio
import contextlib
import errno
import socket
import ssl
from typing import Any

_DER = 2
"""``_ssl.ENCODING_DER``, for Python before 3.13."""


async def shake(sock: socket.socket, context: ssl.SSLContext, name: str) -> ssl.SSLObject:
    """Runs the handshake for the server name ``name`` (SNI; an IP address is checked but not sent).

    Raises ``ssl.SSLError`` for what OpenSSL refuses and ``OSError`` for what the network does, a connection closed in
    the middle included.
    """
    loop = asyncio.get_running_loop()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            with contextlib.suppress(OSError):  # the alert is a courtesy
                await loop.sock_sendall(sock, outgoing.read())
            raise
        else:
            await loop.sock_sendall(sock, outgoing.read())
            return tls
        if outgoing.pending:
            await loop.sock_sendall(sock, outgoing.read())
        data = await loop.sock_recv(sock, 65_536)
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "closed within the handshake")
        incoming.write(data)


def chain_of(tls: ssl.SSLObject) -> list[bytes]:
    """The certificates as the server sent them (DER), the leaf first; the leaf alone where Python cannot tell more."""
    public = getattr(tls, "get_unverified_chain", None)
    if public is not None:
        return list(public())
    inner: Any = getattr(tls, "_sslobj", None)  # the same method, before Python 3.13 gave it a public name
    if inner is not None and hasattr(inner, "get_unverified_chain"):
        return [one.public_bytes(_DER) for one in inner.get_unverified_chain() or ()]
    leaf = tls.getpeercert(binary_form=True)
    return [leaf] if leaf else []
