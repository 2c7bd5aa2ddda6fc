"""Removes dangerous and invisible characters from untrusted text. Pure functions.

Candidates and users of Hireflix type names, addresses and positions. Every sink and the logs use `clean`.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, urlsplit

LINK_MAX = 2_000
"""Characters of an address that is shown as a link."""


def _ranges(*bounds: int) -> str:
    """A part of a character class, from pairs of first and last code point."""
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in zip(bounds[::2], bounds[1::2], strict=True))


_BREAKS: Final = "\t\n\v\f\r\x85\u2028\u2029"
_BLANK: Final = "\u2800"
"""The braille pattern without dots. It looks like a space."""

_INVISIBLE: Final = _ranges(
    *(0x00, 0x08, 0x0E, 0x1F, 0x7F, 0x84, 0x86, 0x9F),  # control characters that do not break a line
    *(0xD800, 0xDFFF),  # lone surrogates: UTF-8 cannot encode them
    *(0x00AD, 0x00AD, 0x034F, 0x034F, 0x061C, 0x061C),  # soft hyphen, grapheme joiner, Arabic letter mark
    *(0x115F, 0x1160, 0x3164, 0x3164, 0xFFA0, 0xFFA0),  # Hangul fillers: letters without a shape
    *(0x17B4, 0x17B5, 0x180B, 0x180F),  # Khmer inherent vowels, Mongolian selectors
    *(0x200B, 0x200F, 0x202A, 0x202E, 0x2060, 0x206F),  # zero width characters, bidirectional controls
    *(0xFE00, 0xFE0F, 0xFEFF, 0xFEFF, 0xFFF0, 0xFFFB),  # variation selectors, byte order mark, annotations
    *(0xFDD0, 0xFDEF, 0xFFFE, 0xFFFF),  # non-characters: XML and some databases cannot store them
    *(0x13430, 0x1343F, 0x1BCA0, 0x1BCA3, 0x1D173, 0x1D17A),  # format controls of hieroglyphs, shorthand, music
    *(0xE0000, 0xE0FFF),  # tags and more variation selectors
    *(code for plane in range(1, 17) for code in (plane * 0x10000 + 0xFFFE, plane * 0x10000 + 0xFFFF)),
)
"""Characters without a glyph (Unicode Character Database: categories Cc, Cf and Cs, `Default_Ignorable_Code_Point` and
`Noncharacter_Code_Point`), except the visible format characters (`Prepended_Concatenation_Mark`).
"""

_EMOJI: Final = (
    "©®‼⁉™\u2139〰〽㊗㊙"
    + _ranges(0x2190, 0x21FF, 0x2300, 0x23FF, 0x2460, 0x24FF, 0x25A0, 0x27BF)
    + _ranges(0x2900, 0x297F, 0x2B00, 0x2BFF, 0x1F000, 0x1FAFF)
)
_TONE: Final = _ranges(0x1F3FB, 0x1F3FF)
_IDEOGRAPH: Final = _ranges(0x3400, 0x4DBF, 0x4E00, 0x9FFF, 0xF900, 0xFAFF, 0x20000, 0x2FFFD, 0x30000, 0x3FFFD)
_ARABIC: Final = _ranges(
    *(0x0620, 0x065F, 0x066E, 0x06D3, 0x06D5, 0x06DC, 0x06DF, 0x06E8, 0x06EA, 0x06EF, 0x06FA, 0x06FF),
    *(0x0710, 0x077F, 0x07CA, 0x07F5, 0x0840, 0x085B, 0x0860, 0x088F, 0x0897, 0x08E1, 0x08E3, 0x08FF),
    *(0xFB50, 0xFDCF, 0xFDF0, 0xFDFF, 0xFE70, 0xFEFC),
)
"""Letters and their marks in scripts whose letters join: Arabic, Syriac, N'Ko, Mandaic."""
_VIRAMA: Final = (
    "\u094d\u09cd\u0a4d\u0acd\u0b4d\u0bcd\u0c4d\u0ccd\u0d3b\u0d3c\u0d4d\u0dca\u0e3a\u0eba\u0f84\u1039\u103a\u1714\u1734"
    "\u17d2\u1a60\u1b44\u1baa\u1bab\u1bf2\u1bf3\u2d7f\ua806\ua82c\ua8c4\ua953\ua9c0\uaaf6\uabed"
)
"""The virama, which removes the vowel of a consonant (canonical combining class 9), in the scripts of South and
South-East Asia.
"""

_FLAGS: Final = "|".join(
    "\U0001f3f4" + "".join(chr(0xE0000 + ord(letter)) for letter in region) + "\U000e007f"
    for region in ("gbeng", "gbsct", "gbwls")
)
_NEEDED: Final = "|".join(
    (
        _FLAGS,
        rf"[{_EMOJI}][{_TONE}]?[\uFE0E\uFE0F]?(?:\u200D[{_EMOJI}][{_TONE}]?\uFE0F?)*",  # joined emoji
        r"[0-9#*]\uFE0F\u20E3",  # keycaps
        rf"[{_IDEOGRAPH}][\uFE00-\uFE0F\U000E0100-\U000E01EF]",  # the form of a name's ideograph
        r"[\u1820-\u18AA][\u180B-\u180D\u180F]",  # the form of a Mongolian letter
        rf"[{_VIRAMA}][\u200C\u200D]",
        rf"[{_ARABIC}]\u200C(?=[{_ARABIC}])",
    )
)
"""Sequences in which names and emoji need an invisible character: joiners as RFC 5892 (appendix A.1 and A.2) allows
them in domain names, variation selectors after their base character (Unicode Standard, section 23.4), and emoji
sequences (Unicode Technical Standard 51).
"""

_UNCLEAN: Final = re.compile(rf"({_NEEDED})|\r\n|([{_BREAKS}{_BLANK}])|[{_INVISIBLE}]")


def clean(text: str) -> str:
    """Returns the text in one line, without control characters and invisible characters.

    A line break or tab becomes a space. Bidirectional controls, zero width characters, fillers, tags, lone surrogates
    and non-characters are removed. A joiner or a variation selector stays where a name or an emoji needs it. The
    function is idempotent.
    """
    if text.isascii() and text.isprintable():
        return text
    return _UNCLEAN.sub(_kept, text)


def _kept(found: re.Match[str]) -> str:
    if found[1]:
        return found[1]
    return " " if found[2] or found[0] == "\r\n" else ""


_ESCAPE: Final = re.compile(r"\\u([0-9a-fA-F]{4})")


def unescaped(text: str) -> str:
    """Returns the text with the characters of its JSON escapes, so that an escaped name is recognised."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


_OUTSIDE: Final = r"\s<>()\[\]{},;:\"'|"
"""Characters that end an e-mail address, in a character class."""
_AT: Final = r"@\uFF20\uFE6B"
_EMAIL: Final = re.compile(
    rf"(?<![^{_OUTSIDE}])(?:mailto:)?[^{_OUTSIDE}{_AT}]++\s?(?:[{_AT}]|[(\[]at[)\]])\s?[^{_OUTSIDE}]++", re.IGNORECASE
)
_PHONE: Final = re.compile(r"(?<!\d)[+\uFF0B]?\d(?:[\s().\-/\u2010-\u2015\uFE0F\u20E3]{0,4}\d){6,}[\uFE0F\u20E3]*")
"""Seven or more digits, with separators of telephone numbers between them. May match other numbers too."""
_EMPTY: Final = re.compile(r"""[<(\[{"'][\s,;:/|-]*[>)\]}"']""")


def without_contacts(text: str) -> str:
    """Returns cleaned text without e-mail addresses and telephone numbers; `""` when nothing else is left.

    Used for names where contact data must not be shown. Takes linear time.
    """
    masked = _PHONE.sub(" ", _EMAIL.sub(" ", text))
    if masked == text:
        return text
    left = " ".join(_EMPTY.sub(" ", masked).split()).strip(" ,;:/|<([{-\u2013\u2014")
    return left if any(char.isalnum() for char in left) else ""


def web_link(url: str) -> str | None:
    """Returns an http or https URL, percent-encoded once, or `None` when it is not safe to show as a link.

    Blanks, quotation marks and characters outside ASCII are encoded (RFC 3986, section 2.1), except in the host.
    Existing encodings stay. URLs with control characters, invisible characters or backslashes are refused, because
    programs disagree about their host. The result has at most `LINK_MAX` characters.
    """
    url = url.strip()
    if clean(url) != url or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not host or any(char.isspace() for char in parts.netloc):
        return None
    start = len(f"{parts.scheme}://{parts.netloc}")
    encoded = url[:start] + quote(url[start:], safe=_RESERVED)
    return encoded if len(encoded) <= LINK_MAX else None


_RESERVED: Final = ":/?#[]@!$&'()*+,;=%-._~"
"""Reserved and unreserved characters of a URL (RFC 3986, section 2), and `%`."""
