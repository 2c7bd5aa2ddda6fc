"""The catalogues of languages: complete, with the placeholders of the code, and without texts that no code uses."""

from __future__ import annotations

import ast
import re
import tomllib
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Formatter

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from connector.languages import language, languages

ROOT = Path(__file__).parents[1]
KEYWORDS = {"gettext": None, "ngettext": (1, 2), "gettext_noop": None, "ngettext_noop": (1, 2)}
TRANSLATED = [code for code in languages() if code != "en"]


@cache
def texts():
    """Every text of the code and the templates: the singular, or singular and plural."""
    mappings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["babel"]["mappings"]
    methods = [(each["pattern"], each["method"]) for each in mappings]
    options = {each["pattern"]: each for each in mappings}
    found = extract_from_dir(str(ROOT), methods, options, keywords=KEYWORDS, directory_filter=_is_ours)
    return {message for _, _, message, _, _ in found}


def _is_ours(folder):
    path = Path(folder).relative_to(ROOT)
    return path.parts[0] in {"connector", "sinks"}


def in_code():
    """The literal texts of the calls in the code, as the syntax tree shows them."""
    for package in ("connector", "sinks"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in KEYWORDS:
                    literals = [each.value for each in node.args[:2] if isinstance(each, ast.Constant)]
                    words = tuple(each for each in literals if isinstance(each, str))
                    if words:
                        yield words if len(words) > 1 else words[0]


def catalogue(code):
    with files("connector.languages").joinpath(f"{code}.po").open("rb") as file:
        return read_po(file, locale=code)


def messages(code):
    return {message.id: message for message in catalogue(code) if message.id}


def forms(message):
    return message.string if isinstance(message.string, tuple) else (message.string,)


def placeholders(text):
    """The named fields of a text, of `str.format` or of a template."""
    named = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
    return named | set(_Names.of(text))


class _Names(dict):
    """Collects the names of `%(name)s`."""

    @classmethod
    def of(cls, text):
        names = cls()
        try:
            text % names
        except (TypeError, ValueError):
            return {}
        return names

    def __missing__(self, name):
        self[name] = ""
        return ""


def test_every_text_of_the_code_is_found():
    """A text in an f-string is not found: write it outside of it."""
    assert set(in_code()) <= texts()


@pytest.mark.parametrize("code", TRANSLATED)
def test_a_catalogue_has_every_text_and_no_other(code):
    ids = {id_ if isinstance(id_, str) else tuple(id_) for id_ in messages(code)}
    assert texts() - ids == set(), "run `make texts` and translate"
    assert ids - texts() == set(), "run `make texts`"
    assert not catalogue(code).obsolete


@pytest.mark.parametrize("code", TRANSLATED)
def test_every_text_is_translated_in_all_plural_forms(code):
    for id_, message in messages(code).items():
        expected = 1 if isinstance(id_, str) else catalogue(code).num_plurals
        assert (len(forms(message)), all(forms(message)), message.fuzzy) == (expected, True, False), id_


@pytest.mark.parametrize("code", TRANSLATED)
def test_every_translation_has_the_placeholders_of_the_text(code):
    """A singular form may leave out the number, as the text of the code may."""
    for id_, message in messages(code).items():
        known = [placeholders(text) for text in ([id_] if isinstance(id_, str) else id_)]
        shown = [placeholders(form) for form in forms(message)]
        assert all(each in known for each in shown), id_
        assert shown[-1] == known[-1], id_


def test_english_shows_the_texts_of_the_code():
    english = language("en")
    assert english.gettext("To evaluate") == "To evaluate"
    assert english.ngettext("{count} day", "{count} days", 1) == "{count} day"
    assert (english.day(date(2026, 11, 23)), english.number(1234.5)) == ("23 November", "1,234.5")


def test_spanish_shows_its_words_plural_forms_dates_and_numbers():
    spanish = language("es")
    assert spanish.gettext("To evaluate") == "Por evaluar"
    assert spanish.ngettext("{count} business day", "{count} business days", 2) == "{count} días laborables"
    assert (spanish.day(date(2026, 11, 23)), spanish.number(12345.5)) == ("23 de noviembre", "12.345,5")


def test_a_text_without_translation_and_an_empty_text_are_shown_as_they_are():
    spanish = language("es")
    assert (spanish.gettext("In review"), spanish.gettext("")) == ("In review", "")


def test_a_language_without_a_catalogue_is_refused_with_the_ones_that_there_are():
    with pytest.raises(ValueError, match="must be one of en, es"):
        language("xx")


@pytest.mark.parametrize("code", TRANSLATED)
def test_a_translation_has_no_markup(code):
    """Pages show it without escaping."""
    shown = [form for message in messages(code).values() for form in forms(message)]
    assert [form for form in shown if "<" in form or "&" in form] == []


def test_the_templates_of_pages_have_no_text_outside_of_the_catalogue():
    known = {"Hireflix", "HTTP", "– connector", "hireflix-connector"}
    found = set()
    for file in (ROOT / "connector" / "web" / "dashboard" / "templates").glob("*.html"):
        page = re.sub(
            r"<code>.*?</code>|<script.*?</script>|<meta[^>]*>|{{.*?}}|{%.*?%}", " ", file.read_text(), flags=re.DOTALL
        )
        found |= {text.strip() for text in re.findall(r">([^<>]*[A-Za-z][^<>]*)<", page)}
        literals = re.findall(
            r"(?:{{|\belse|\bor)\s+([\"'])([A-Z].*?|\w+ .*?)\1", re.sub(r"<meta[^>]*>", "", file.read_text())
        )
        found |= {text for _, text in literals}
        found |= set(re.findall(r"""{{ "([^"]+)" if""", file.read_text()))
    assert found - known == set()
