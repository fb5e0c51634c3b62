"""Addresses of pages: parsed without surprises, and shown without secrets. Pure."""

from yarl import URL

SCHEMES = ("http", "https")


def place(text: str, base: URL | None = None) -> URL | None:
    """The address in ``text``, relative to ``base`` if given; ``None`` for what is none or lacks a host.

    yarl finds some faults only when a part is asked for, and some by ``IndexError``, so every part is asked for here.
    """
    try:
        url = URL(text) if base is None else base.join(URL(text))
        usable = bool(text) and (bool(url.host) and bool(url.port) if url.scheme in SCHEMES else bool(url.scheme))
        return url if usable and plain(url) else None
    except (ValueError, IndexError):
        return None


def plain(url: URL) -> str:
    """Scheme, host and path: a query may carry a room's number or a password, and so may what precedes an ``@``."""
    bare = url.with_query(None).with_fragment(None)
    return str(bare.with_user(None) if bare.host else bare)[:300]
