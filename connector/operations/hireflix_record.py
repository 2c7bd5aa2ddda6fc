"""Records the webhooks of a trial account of Hireflix, and summarises them. No documentation says whether Hireflix
repeats a failed webhook, in which order events arrive, and which fields a finish has.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from connector.errors import UsageError
from connector.hireflix import FINISH, STATUS_CHANGE
from connector.hireflix.api import HireflixApi
from connector.hireflix.payload import read
from connector.hireflix.signature import HEADER, Verifier
from connector.hireflix.webhook_api import INTROSPECTION

STEPS = """in a trial account of Hireflix (not a real one: the files contain names and addresses):
  1. Create a webhook to this address with all five events: {url}
  2. Invite yourself to a position, and complete the interview
  3. Shortlist it, take that back, discard it, restore it
  4. Give a score, change it, remove it
  5. Invite and delete another interview; delete a position with an interview
Each request is stored in {folder}. Press Ctrl-C at the end; the summary says what was learned."""


class Recorded(msgspec.Struct, frozen=True):
    """One request. `at` is epoch milliseconds, `answered` the status that the recorder gave."""

    at: int
    answered: int
    headers: dict[str, str]
    body: str
    v: int = 1


class Recorder:
    """Stores requests as numbered files. The first `failures` requests are answered with 500, to see repeats."""

    def __init__(self, folder: Path, failures: int) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{folder} cannot be made: {error.strerror}") from None
        self.folder = folder
        self.records = load(folder)
        self._failures = failures

    def take(self, headers: Mapping[str, str], body: bytes, at: int) -> int:
        """Stores a request. Returns the status to answer with."""
        status = 500 if self._failures > 0 else 202
        self._failures -= 1
        record = Recorded(at, status, dict(headers), body.decode("utf-8", "replace"))
        self.records.append(record)
        path = self.folder / f"{len(self.records):04}.json"
        path.touch(mode=0o600)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2))
        return status


def load(folder: Path) -> list[Recorded]:
    """Returns the requests of a folder, in the order of their receipt."""
    return [msgspec.json.decode(file.read_bytes(), type=Recorded) for file in sorted(folder.glob("[0-9]*.json"))]


async def save_schema(api: HireflixApi, folder: Path) -> Path:
    """Writes the schema of the API into the folder: the names that no documentation has. Raises `HireflixError`."""
    reply = await api.execute(INTROSPECTION)
    path = folder / "schema.json"
    path.write_text(json.dumps(reply.data, indent=2), encoding="utf-8")
    return path


def learned(records: Sequence[Recorded], secrets: Sequence[str]) -> list[str]:
    """Returns what the requests show about the open questions, without personal data."""
    if not records:
        return ["no request arrived"]
    return [
        *_about_events(records),
        *_about_signatures(records, secrets),
        *_about_repeats(records),
        *_about_order(records),
        *_about_completion(records),
    ]


def _about_events(records: Sequence[Recorded]) -> Iterator[str]:
    readings = [read(record.body.encode(), record.at) for record in records]
    for name, count in sorted(Counter(reading.name or "unreadable" for reading in readings).items()):
        keys = sorted({key for record in records for key in _keys(record, name)})
        yield f"{name}: {count} requests, keys of data: {', '.join(keys)}"
    unused = sorted({field for reading in readings for field in reading.unused})
    if unused:
        yield f"values with unexpected types: {', '.join(unused)}"
    agents = sorted({record.headers.get("user-agent", "none") for record in records})
    yield f"user agents: {', '.join(agents)}"
    yield f"other headers: {', '.join(sorted({name for record in records for name in record.headers}))}"


def _keys(record: Recorded, name: str) -> list[str]:
    document = _document(record)
    data = document.get("data")
    is_named = str(document.get("event", "")).lower() == name
    return list(data) if is_named and isinstance(data, dict) else []


def _document(record: Recorded) -> dict[str, Any]:
    try:
        document = json.loads(record.body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _about_signatures(records: Sequence[Recorded], secrets: Sequence[str]) -> Iterator[str]:
    signed = [record for record in records if HEADER.decode() in record.headers]
    yield f"signed requests: {len(signed)} of {len(records)}"
    if signed and secrets:
        verifier = Verifier(secrets)
        right = sum(verifier.accepts(each.body.encode(), each.headers[HEADER.decode()].encode()) for each in signed)
        yield f"signatures over the raw body with a configured secret: {right} of {len(signed)}"


def _about_repeats(records: Sequence[Recorded]) -> Iterator[str]:
    times: dict[str, list[int]] = {}
    for record in records:
        times.setdefault(read(record.body.encode(), record.at).identity, []).append(record.at)
    repeated = [each for each in times.values() if len(each) > 1]
    failed = sum(record.answered >= 500 for record in records)  # noqa: PLR2004 - RFC 9110, errors of the server
    yield f"answered with 500: {failed}; events that came more than once: {len(repeated)}"
    for each in repeated[:3]:
        gaps = ", ".join(f"{(later - earlier) / 1000:.0f} s" for earlier, later in pairwise(each))
        yield f"  repeated after {gaps}"


def _about_order(records: Sequence[Recorded]) -> Iterator[str]:
    readings = [read(record.body.encode(), record.at) for record in records]
    dated = [(reading.occurred_at, record.at) for reading, record in zip(readings, records, strict=True)]
    late = sum(one[0] > other[0] for one, other in pairwise(dated))
    delays = sorted(at - occurred for occurred, at in dated)
    yield f"events that arrived after a later one: {late}; delay of the median: {delays[len(delays) // 2] / 1000:.1f} s"


def _about_completion(records: Sequence[Recorded]) -> Iterator[str]:
    names: dict[str, set[str]] = {}
    for record in records:
        reading = read(record.body.encode(), record.at)
        names.setdefault(reading.interview_id, set()).add(reading.name)
    both = sum({FINISH, STATUS_CHANGE} <= each for each in names.values())
    yield f"interviews with a finish and a status change: {both}"
