"""Reading a request's body within its limit: headers are judged before a byte is read, gzip is unpacked bounded.

aiohttp's own unpacking is switched off (:mod:`collector.serve`): it would unpack any size and answer 500 to nonsense.
"""

import asyncio
import zlib

from aiohttp import hdrs, web

from collector.problems import Refused

PATIENCE = 30.0
"""Seconds for a whole body; a link of 200 kbit/s carries a compressed envelope of the largest size in that."""
_IN_PLACE = 64 * 1024
"""Compressed bytes up to which unpacking is not worth a thread."""
_GZIP = 16 + zlib.MAX_WBITS


async def read_json_body(request: web.Request, largest: int) -> bytes:
    """The body of a JSON request, unpacked; raises :class:`Refused` 408, 411, 413, 415 or 400."""
    if request.content_type != "application/json":
        raise Refused(
            415,
            "Content type not supported",
            f"found {request.headers.get(hdrs.CONTENT_TYPE, 'none')[:100]!r}, expected application/json",
            field="Content-Type",
        )
    return await read_body(request, largest)


async def read_body(request: web.Request, largest: int, *, as_is: str = "") -> bytes:
    """The body, unpacked if it is gzip; never more than ``largest`` bytes are held, packed or unpacked.

    ``as_is`` names an encoding that the caller unpacks itself, within a bound of its own.
    """
    encoding = request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower()
    if encoding not in ("identity", "gzip", as_is):
        raise Refused(
            415,
            "Content encoding not supported",
            f"found {encoding[:40]!r}, expected gzip or none",
            field="Content-Encoding",
            headers={"Accept-Encoding": "gzip"},
        )
    declared = request.content_length
    if declared is not None and declared > largest:
        raise _too_large(f"found a body of {declared} bytes", largest)
    if request.content.is_eof():  # it came with its headers: no timer is needed
        raw = await _read_raw(request, largest)
    else:
        raw = await _read_in_time(request, largest)
    if encoding in ("identity", as_is):
        return raw
    return _gunzip(raw, largest) if len(raw) <= _IN_PLACE else await asyncio.to_thread(_gunzip, raw, largest)


async def _read_in_time(request: web.Request, largest: int) -> bytes:
    try:
        async with asyncio.timeout(PATIENCE):
            return await _read_raw(request, largest)
    except TimeoutError:
        raise Refused(408, "Body too slow", f"found no whole body within {PATIENCE:.0f} s; send it again") from None


async def _read_raw(request: web.Request, largest: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
        if size > largest:
            raise _too_large("found a longer body", largest)
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _gunzip(raw: bytes, largest: int) -> bytes:
    """One gzip member (RFC 1952), at most ``largest`` bytes unpacked; the checksum must fit."""
    unpacker = zlib.decompressobj(_GZIP)
    try:
        body = unpacker.decompress(raw, largest + 1)
    except zlib.error as error:
        raise Refused(400, "Not gzip", f"the body cannot be unpacked ({error})", field="Content-Encoding") from error
    if len(body) > largest:
        raise _too_large("found a body that unpacks to more", largest)
    if not unpacker.eof:
        raise Refused(400, "Not gzip", "the body ends before its gzip stream does", field="Content-Encoding")
    if unpacker.unused_data:
        raise Refused(400, "Not gzip", "found bytes behind the end of the gzip stream", field="Content-Encoding")
    return body


def _too_large(found: str, largest: int) -> Refused:
    return Refused(413, "Too large", f"{found}, expected at most {largest} bytes")
