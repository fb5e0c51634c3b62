"""gettext catalogues, compiled in memory from the ``.po`` files when first used: no build step, nothing to forget.

The source text is English; Thai is the catalogue every page is shown in unless somebody asks for English.
"""

import gettext
import io
from functools import cache
from importlib import resources

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

LANGUAGES = ("th", "en")
"""The first one is the default."""


@cache
def catalogue(language: str) -> gettext.NullTranslations:
    """The catalogue of ``th``; any other language reads the source text."""
    if language != "th":
        return gettext.NullTranslations()
    path = resources.files("collector") / "locale" / "th" / "LC_MESSAGES" / "phrom.po"
    with path.open("rb") as file:
        messages = read_po(file, locale="th")
    compiled = io.BytesIO()
    write_mo(compiled, messages)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def translate(text: str, language: str) -> str:
    """``text`` in ``language``, or as it stands where the catalogue lacks it."""
    return catalogue(language).gettext(text)
