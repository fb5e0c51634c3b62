"""Jinja2 as the board uses it: autoescaped, strict, in the reader's language."""

from functools import cache
from typing import Any

import jinja2
from aiohttp import web

from collector.catalogue import LANGUAGES, catalogue
from collector.localtime import age_text, clock_text, date_text, since_text
from wire.clock import Instant

_COOKIE = "phrom-language"


def language_of(request: web.Request) -> str:
    """``?lang=``, else the cookie, else Thai. An unknown language is Thai."""
    wanted = request.query.get("lang") or request.cookies.get(_COOKIE) or LANGUAGES[0]
    return wanted if wanted in LANGUAGES else LANGUAGES[0]


@cache
def environment(language: str) -> jinja2.Environment:
    """The environment of one language, with its catalogue and its way of writing times."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("collector.board"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    texts = catalogue(language)
    made.install_gettext_callables(  # type: ignore[attr-defined]  # added by the i18n extension
        texts.gettext, texts.ngettext, newstyle=True
    )
    made.globals["lang"] = language
    made.globals["clock"] = lambda instant, seconds=False: clock_text(instant, language, seconds=seconds)
    made.globals["date"] = lambda instant, weekday=False: date_text(instant, language, weekday=weekday)
    made.globals["since"] = lambda instant, now: since_text(instant, now, language)
    made.globals["age"] = lambda microseconds: age_text(microseconds, language)
    return made


def page(request: web.Request, template: str, now: Instant, status: int = 200, **values: Any) -> web.Response:
    """A rendered page; a language asked for in the address is remembered for a year."""
    language = language_of(request)
    text = environment(language).get_template(template).render(now=now, **values)
    response = web.Response(text=text, content_type="text/html", status=status, headers={"Cache-Control": "no-store"})
    if request.query.get("lang") in LANGUAGES:
        response.set_cookie(_COOKIE, language, max_age=365 * 86_400, httponly=True, samesite="Strict")
    return response
