"""Text from outside: one rule for all sinks and the logs."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.text import clean, web_link, without_contacts

CASES = Path(__file__).parent / "samples" / "cases"
SHAPELESS = {"Cc", "Cf", "Cs", "Zl", "Zp"}
VISIBLE_FORMAT_CHARACTERS = {0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x600, 0x606)}
"""Unicode Character Database, `Prepended_Concatenation_Mark`."""
AWKWARD = "\u200b\u200c\u200d\u202e\u2066\ufe0f\ufe0e\U000e0100\U000e0067\u00ad\u034f\u3164\u180b\ufeff\t\r\n\u2028\x00"
PEOPLE = "aÉ1#\u0627\u06cc\u0dca\u0dbb\u845b\u1820\u20e3👩🚀❤🏴\U0001f3fd "

hostile = st.text(max_size=40) | st.text(st.sampled_from(AWKWARD + PEOPLE), max_size=20)


def test_the_reported_name_and_address_are_without_bidirectional_and_invisible_characters():
    candidate = json.loads((CASES / "invisible.json").read_bytes())["data"]["candidate"]
    assert clean(candidate["name"]) == "Anna gnp.exe"
    assert clean(candidate["email"]) == "ann@example.com"


def test_no_character_without_a_shape_is_kept_on_its_own():
    kept = {
        code
        for code in range(0x110000)
        if unicodedata.category(chr(code)) in SHAPELESS and clean(f"a{chr(code)}b") not in {"ab", "a b"}
    }
    assert kept == VISIBLE_FORMAT_CHARACTERS


@pytest.mark.parametrize("char", ["\u3164", "\u115f", "\uffa0", "\u17b4", "\u034f", "\U000e0100", "\ufe0f", "\ufffe"])
def test_a_letter_or_mark_without_a_shape_is_removed(char):
    assert clean(f"Ann{char}a") == "Anna"


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\tb", "a\u2028b", "a\x85b", "a\u2800b"])
def test_a_break_is_one_space(text):
    assert clean(text) == "a b"


@pytest.mark.parametrize(
    "name",
    [
        "Zoë O’Brien-Núñez",
        "Лев Толстой",
        "محمد عبد الله",
        "می\u200cخواهم",  # Persian: the joiner parts two letters that would join
        "ශ\u0dca\u200dරී",  # Sinhala: the joiner makes a ligature
        "അനില\u0d4d\u200d",  # Malayalam: the older spelling of a final consonant
        "葛\U000e0100城",  # Japanese: one of two forms of the ideograph
        "ᠠ\u180b",
        "e\u0301",
        "渡辺\u3000太郎",
    ],
)
def test_a_real_name_is_kept_whole(name):
    assert clean(name) == name


@pytest.mark.parametrize(
    "emoji", ["👩\u200d🚀", "👩🏽\u200d🚀", "👨\u200d👩\u200d👧", "❤\ufe0f", "🏳\ufe0f\u200d🌈", "1\ufe0f\u20e3", "🇪🇸"]
)
def test_an_emoji_is_kept_whole(emoji):
    assert clean(f"Ann {emoji}!") == f"Ann {emoji}!"


def test_the_flag_of_scotland_is_kept_and_other_tags_are_not():
    tags = "".join(chr(0xE0000 + ord(letter)) for letter in "gbsct")
    assert clean(f"🏴{tags}\U000e007f") == f"🏴{tags}\U000e007f"
    assert clean(f"🏴{tags}") == clean(f"Ann🏴{tags}"[3:]) == "🏴"
    assert clean(f"Ann{tags}\U000e007f") == "Ann"


@pytest.mark.parametrize("text", ["An\u200dna", "An\u200cna", "👩\u200dn", "Ann\u200d", "\u200d", "👩\u200d\u200d🚀"])
def test_a_joiner_that_joins_nothing_is_removed(text):
    assert not set(clean(text)) & {"\u200c", "\u200d"}


@given(hostile)
def test_cleaning_twice_is_cleaning_once(text):
    assert clean(clean(text)) == clean(text)


@given(hostile)
def test_cleaned_text_is_one_line_that_can_be_written_as_utf_8_without_bidirectional_controls(text):
    cleaned = clean(text)
    assert len(cleaned.encode().decode().splitlines()) <= 1
    bidirectional = {unicodedata.bidirectional(char) for char in cleaned}
    assert not bidirectional & {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@given(
    st.text(st.characters(categories=["L", "N", "P", "S", "Zs"], exclude_characters="\u2800\u3164\uffa0\u115f\u1160"))
)
def test_visible_characters_are_kept(text):
    assert clean(text) == text


# --- contacts


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("ana.k@example.com", ""),
        ("+34 600 111 222", ""),
        ("Ana K <ana.k@example.com>", "Ana K"),
        ("Ana K (600.111.222)", "Ana K"),
        ("Ana K, ana@example.com, 0034600111222", "Ana K"),
        ("mailto:ana@example.com", ""),
        ("ana @ example.com", ""),
        ("ana[at]example.com", ""),
        ("ana\uff20example.com", ""),
        ("٦٠٠١١١٢٢٢", ""),
        ("Ana6️⃣0️⃣0️⃣1️⃣1️⃣1️⃣2️⃣2️⃣2️⃣", "Ana"),
    ],
)
def test_an_address_and_a_number_are_taken_out_of_a_name(name, left):
    assert without_contacts(clean(name)) == left


@pytest.mark.parametrize(
    "name", ["Wayne Knight", "Luis 2nd", "Anne-Marie (Annie) O'Neil", "Müller, Jan", "Ana 1990", "@ana"]
)
def test_a_name_without_contacts_is_unchanged(name):
    assert without_contacts(name) == name


@given(
    st.text(max_size=10), st.from_regex(r"[a-z0-9.]{1,8}@[a-z]{1,8}\.[a-z]{2}", fullmatch=True), st.text(max_size=10)
)
def test_no_name_keeps_an_address(before, address, after):
    assert address not in without_contacts(clean(f"{before} {address} {after}"))


# --- links


def test_the_reported_link_is_percent_encoded():
    url = json.loads((CASES / "link.json").read_bytes())["data"]["url"]["private"]
    assert web_link(url) == "https://admin.hireflix.com/jobs/a%20b/interview/1"


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("https://x.example/a%20b?q=a+b#c", "https://x.example/a%20b?q=a+b#c"),
        (' https://x.example/é?q="1" ', "https://x.example/%C3%A9?q=%221%22"),
        ("http://http/http", "http://http/http"),
        ("https://bücher.example/ü", "https://bücher.example/%C3%BC"),
    ],
)
def test_a_link_is_encoded_once_and_its_host_is_not(url, link):
    assert web_link(url) == link
    assert web_link(link) == link


@pytest.mark.parametrize(
    "url",
    [
        "",
        "javascript:alert(1)",
        "//x.example",
        "https://",
        "https://x .example/",
        "https://x.example\\@y.example",
        "https://x.example/\u202ea",
        "https://x.example/a\nb",
        "https://[x",
        "https://x.example/" + "é" * 400,
    ],
)
def test_what_programs_could_read_as_another_address_is_no_link(url):
    assert web_link(url) is None


@given(st.text(max_size=40))
def test_a_link_is_stable_and_ascii_behind_its_host(path):
    link = web_link(f"https://x.example/{path}")
    assert link is None or (link.isascii() and web_link(link) == link and " " not in link)
