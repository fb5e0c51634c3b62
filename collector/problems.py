"""Refusals as problem documents (RFC 9457), made in one place."""

import msgspec
from aiohttp import web

from wire.settings import Problem

CONTENT_TYPE = "application/problem+json"


class Refused(Exception):
    """A request is refused; the words say what was found, what was expected and what to do."""

    def __init__(
        self, status: int, title: str, detail: str = "", *, field: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.problem = Problem(title=title, status=status, detail=detail, field=field)
        self.headers = headers or {}


def problem_response(problem: Problem, headers: dict[str, str] | None = None) -> web.Response:
    """The document as an answer that no cache keeps."""
    return web.Response(
        status=problem.status,
        body=msgspec.json.encode(problem),
        content_type=CONTENT_TYPE,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
