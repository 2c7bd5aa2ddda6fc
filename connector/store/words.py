"""The search for interviews by words of the candidate's name, and by e-mail address. Every word of the query is a
prefix.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, FromClause, and_, bindparam, delete, exists, select

from connector.interview import Value
from connector.merge import decode
from connector.store.dialects import insert_new
from connector.store.schema import interview, interview_word

WORD_COLUMNS = ("word", "interview_id")
NAME_FIELDS = ("candidate_name", "candidate_first_name", "candidate_last_name")
EMAIL_FIELD = "candidate_email"
SEARCHED_FIELDS = (*NAME_FIELDS, EMAIL_FIELD)
WORDS_MAX = 16
"""Most words of one interview; the name of a candidate may have thousands."""
WORD_LENGTH_MAX = 100
"""Longest stored start of a word; an e-mail address has about 30 characters."""
FOUND_MAX = 1000
"""Most interviews that a search returns."""
CHUNK = 1000
"""Interviews that are read at once when all words are written."""
_LAST = "\U0010ffff"
"""The greatest character: what begins with a prefix is less than the prefix with this character."""
_PLAIN = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i"})
"""Letters with a stroke and the like, which Unicode does not decompose."""
_SEPARATORS = re.compile(r"[\W_]+")


def fold(text: str) -> str:
    """Returns a text in lower case and without accents, so that `Núñez` equals `nunez`.

    Compatibility decomposition without combining marks (Unicode Standard Annex 15), then case folding.
    """
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in decomposed if not unicodedata.combining(char)).casefold().translate(_PLAIN)


def words_of(values: Mapping[str, Value]) -> frozenset[str]:
    """Returns the words of an interview: those of the candidate's name, and the whole e-mail address."""
    names = [str(values.get(name) or "")[: WORDS_MAX * WORD_LENGTH_MAX] for name in NAME_FIELDS]
    email = word_of_email(str(values.get(EMAIL_FIELD) or ""))
    words = [email, *(word for name in names for word in split(name))]
    chosen = list(dict.fromkeys(word[:WORD_LENGTH_MAX] for word in words if word))
    return frozenset(chosen[:WORDS_MAX])


def split(text: str) -> list[str]:
    """Returns the words of a text, in the form of `fold`."""
    return [word for word in _SEPARATORS.split(fold(text)) if word]


def word_of_email(address: str) -> str:
    """Returns the word of an e-mail address; addresses that differ in case or accents have the same."""
    return fold(address.strip()[:WORD_LENGTH_MAX]).strip()[:WORD_LENGTH_MAX]


def have_changed(before: Mapping[str, Value], after: Mapping[str, Value]) -> bool:
    """Whether the fields that are searched differ."""
    return any(before.get(name) != after.get(name) for name in SEARCHED_FIELDS)


def find_interviews(connection: Connection, text: str) -> list[str]:
    """Returns at most `FOUND_MAX` ids of interviews that have a word for each part of a text.

    A part, between blanks, is the start of a word or of the e-mail address; case and accents do not matter.
    """
    parts = fold(text).split()[:WORDS_MAX]
    single = [word for part in parts for word in split(part)]
    found = dict.fromkeys(_with_all(connection, parts))
    if single != parts:
        found |= dict.fromkeys(_with_all(connection, single))
    return list(found)[:FOUND_MAX]


def _with_all(connection: Connection, prefixes: Sequence[str]) -> Sequence[str]:
    """Returns the interviews that have a word for each prefix. The longest, which has the fewest, is read first."""
    if not prefixes:
        return []
    first, *others = sorted(set(prefixes), key=len, reverse=True)
    ids = select(interview_word.c.interview_id).where(_begins(interview_word, first))
    for prefix in others:
        other = interview_word.alias()
        ids = ids.where(exists().where(other.c.interview_id == interview_word.c.interview_id, _begins(other, prefix)))
    return connection.execute(ids.distinct().limit(FOUND_MAX)).scalars().all()


def _begins(table: FromClause, prefix: str) -> ColumnElement[bool]:
    prefix = prefix[:WORD_LENGTH_MAX]
    return and_(table.c.word >= prefix, table.c.word < prefix + _LAST)


def change(connection: Connection, old: Sequence[tuple[str, str]], new: Sequence[tuple[str, str]]) -> None:
    """Deletes old words and adds new ones: pairs of a word and the id of its interview."""
    if old:
        mine = (interview_word.c.word == bindparam("which"), interview_word.c.interview_id == bindparam("id"))
        connection.execute(delete(interview_word).where(*mine), [{"which": word, "id": id_} for word, id_ in old])
    rows = [dict(zip(WORD_COLUMNS, pair, strict=True)) for pair in new]
    insert_new(connection, interview_word, rows, WORD_COLUMNS)


def write_all(connection: Connection) -> None:
    """Writes the words of all interviews that have none, in the order of ids."""
    last = ""
    while True:
        following = select(interview.c.id, interview.c.state).where(interview.c.id > last)
        following = following.order_by(interview.c.id).limit(CHUNK)
        found = connection.execute(following).all()
        if not found:
            return
        last = found[-1].id
        rows = [
            {"word": word, "interview_id": row.id}
            for row in found
            if row.state
            for word in sorted(words_of(decode(row.state).values))
        ]
        insert_new(connection, interview_word, rows, WORD_COLUMNS)
