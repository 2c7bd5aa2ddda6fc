"""The texts that recruiters read in chats, in sheets and on the dashboard, in their language.

The English text in the code is the key. `CODE.po` in this folder is the catalogue of a language (GNU gettext). A new
file is a new language: it needs no compilation, and no other file names the languages.
"""

from __future__ import annotations

from datetime import date
from functools import cache
from gettext import GNUTranslations, NullTranslations
from importlib.resources import files
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from babel import Locale

ENGLISH = "en"
"""The language of the texts in the code."""
_LOCALES = {ENGLISH: "en_GB"}
"""Languages whose dates and numbers use the formats of a regional locale."""


def gettext_noop(text: str) -> str:
    """Marks a text of a catalogue that is translated where it is shown; returns it unchanged."""
    return text


def ngettext_noop(singular: str, plural: str) -> tuple[str, str]:
    """Marks a text with its plural that is translated where it is shown; returns both unchanged."""
    return singular, plural


class Language:
    """The texts of one language, and its formats of dates and numbers."""

    def __init__(self, code: str, translations: NullTranslations) -> None:
        self.code = code
        self.translations = translations

    def gettext(self, text: str) -> str:
        """Returns the translation of an English text, the text itself when the catalogue has none."""
        return self.translations.gettext(text) if text else ""

    def ngettext(self, singular: str, plural: str, count: int) -> str:
        """Returns the translation in the plural form for `count`."""
        return self.translations.ngettext(singular, plural, count)

    def number(self, value: float) -> str:
        """Returns a number with the separators of the language, with three decimals at most."""
        from babel.numbers import format_decimal

        return format_decimal(value, locale=self.locale)

    def day(self, day: date) -> str:
        """Returns day and month in words: 23 November."""
        return self._date("MMMMd", day)

    def full_date(self, day: date) -> str:
        """Returns a date with the month in words: 23 November 2026."""
        return self._date("yMMMMd", day)

    def short_date(self, day: date, *, with_year: bool) -> str:
        """Returns a date with the month abbreviated: 23 Nov, or 23 Nov 2026."""
        return self._date("yMMMd" if with_year else "MMMd", day)

    def _date(self, skeleton: str, day: date) -> str:
        """Returns a date in the format of the language for a skeleton of Unicode CLDR."""
        from babel.dates import format_skeleton

        return format_skeleton(skeleton, day, locale=self.locale)

    @property
    def locale(self) -> Locale:
        """The locale for the formats of dates and numbers (Unicode CLDR)."""
        from babel import Locale

        return Locale.parse(_LOCALES.get(self.code, self.code))


@cache
def languages() -> tuple[str, ...]:
    """Returns the codes of the languages: English first, then those with a catalogue."""
    catalogues = sorted(
        file.name.removesuffix(".po") for file in files(__name__).iterdir() if file.name.endswith(".po")
    )
    return (ENGLISH, *catalogues)


@cache
def language(code: str) -> Language:
    """Returns a language by its code. Raises `ValueError` when it has no catalogue."""
    if code not in languages():
        raise ValueError(f"must be one of {', '.join(languages())}")
    return Language(code, NullTranslations() if code == ENGLISH else _catalogue(code))


def _catalogue(code: str) -> NullTranslations:
    """Reads a catalogue, and converts it in memory to the format that `gettext` reads."""
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    compiled = BytesIO()
    with files(__name__).joinpath(f"{code}.po").open("rb") as file:
        write_mo(compiled, read_po(file, locale=code))
    compiled.seek(0)
    return GNUTranslations(compiled)
