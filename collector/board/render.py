"""Jinja2 as the board uses it: autoescaped, strict, in the reader's language."""

import asyncio
from functools import cache
from importlib import resources
from typing import Any

import jinja2
from aiohttp import web

from collector.catalogue import LANGUAGES, catalogue
from collector.localtime import clock_text, date_text
from wire.clock import Instant

_COOKIE = "phrom-language"
_loaded: set[str] = set()


async def language_of(request: web.Request) -> str:
    """``?lang=``, else the cookie, else Thai; an unknown language is Thai. Its files are read by then, off the loop."""
    wanted = request.query.get("lang") or request.cookies.get(_COOKIE) or LANGUAGES[0]
    language = wanted if wanted in LANGUAGES else LANGUAGES[0]
    if language not in _loaded:
        await asyncio.to_thread(environment, language)
        _loaded.add(language)
    return language


@cache
def environment(language: str) -> jinja2.Environment:
    """The environment of one language, with its catalogue, its way of writing times, and every template read."""
    folder = resources.files("collector.board") / "templates"
    texts = catalogue(language)
    made = jinja2.Environment(
        loader=jinja2.DictLoader({one.name: one.read_text("utf-8") for one in folder.iterdir()}),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        auto_reload=False,
        extensions=["jinja2.ext.i18n"],
    )
    made.install_gettext_callables(  # type: ignore[attr-defined]  # added by the i18n extension
        texts.gettext, texts.ngettext, newstyle=True
    )
    made.globals["lang"] = language
    made.globals["clock"] = lambda instant, seconds=False: clock_text(instant, language, seconds=seconds)
    made.globals["date"] = lambda instant, weekday=False: date_text(instant, language, weekday=weekday)
    return made


def page(
    request: web.Request, template: str, language: str, now: Instant, status: int = 200, **values: Any
) -> web.Response:
    """A rendered page; a language asked for in the address is remembered for a year."""
    text = environment(language).get_template(template).render(now=now, **values)
    response = web.Response(text=text, content_type="text/html", status=status, headers={"Cache-Control": "no-store"})
    if request.query.get("lang") in LANGUAGES:
        response.set_cookie(_COOKIE, language, max_age=365 * 86_400, httponly=True, samesite="Strict")
    return response
