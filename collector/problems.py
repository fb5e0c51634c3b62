"""Refusals as problem documents (RFC 9457), made in one place."""

from html import escape

import msgspec
from aiohttp import web

from wire.settings import Problem

CONTENT_TYPE = "application/problem+json"


_THAI = {
    403: "หน้านี้เปิดได้เฉพาะที่เครื่องของระบบเท่านั้น",
    404: "ไม่พบหน้าที่ต้องการ",
    503: "ระบบยังไม่พร้อมให้บริการ กรุณาลองใหม่อีกครั้งในภายหลัง",
}


class Refused(Exception):
    """A request is refused; the words say what was found, what was expected and what to do."""

    def __init__(
        self, status: int, title: str, detail: str = "", *, field: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.problem = Problem(title=title, status=status, detail=detail, field=field)
        self.headers = headers or {}


def problem_response(
    problem: Problem, headers: dict[str, str] | None = None, *, for_person: bool = False
) -> web.Response:
    """The document as an answer that no cache keeps; a plain page where a browser asks."""
    if for_person:
        return web.Response(
            status=problem.status,
            text=_page(problem),
            content_type="text/html",
            headers={"Cache-Control": "no-store", **(headers or {})},
        )
    return web.Response(
        status=problem.status,
        body=msgspec.json.encode(problem),
        content_type=CONTENT_TYPE,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def wants_page(request: web.Request) -> bool:
    """Whether a browser asks for a page, and not a program for data."""
    return request.method in ("GET", "HEAD") and "text/html" in request.headers.get("Accept", "")


def _page(problem: Problem) -> str:
    thai = _THAI.get(problem.status, "ไม่สามารถดำเนินการตามคำขอได้")
    return (
        '<!doctype html><html lang="th"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{thai}</title>"
        '<body style="font-family:sans-serif;max-width:40em;margin:3em auto;padding:0 1em">'
        f'<h1>{thai}</h1><p lang="en">{escape(problem.title)}: {escape(problem.detail)}</p>'
        '<p><a href="/">กลับหน้าแรก / Back to the board</a></p>'
    )
