"""A client of the GraphQL API of Hireflix, as far as its documentation names the operations.

One endpoint, `https://api.hireflix.com/me`, with the header `X-API-KEY` (help article "Integrate Hireflix with your
ATS"); listing and paging by "List interviews for position". Further operations are found by introspection
(`connector.hireflix.webhook_api`), never guessed.

A query names optional fields. When Hireflix does not know one of them, the query is sent again without it, and this
client does not ask for the field again.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeAlias

import httpx
import msgspec
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from connector.errors import ConnectorError
from connector.hireflix import API_URL
from connector.hireflix.payload import as_text
from connector.hireflix.snapshot import ApiInterview, Position
from connector.http import RETRY_AFTER_MAX_SECONDS, epoch_ms, host_of, is_loopback, retry_after
from connector.interview import Stage
from connector.text import clean

KEY_HEADER = "X-API-KEY"
PAGE_SIZE = 100
"""Interviews per page; the largest size that is known to work."""
TIMEOUT_SECONDS = 30.0
"""Longest wait for a reply."""
TRIES = 6
"""Tries of one query. With the delays below, the last try is about a minute after the first."""
WAIT_MAX_SECONDS = 30.0
"""Longest delay between two tries, unless Hireflix asks for a longer one."""
REPAIRS_MAX = 30
"""Most corrections of one query, each without a field or with another type of a variable."""
MESSAGE_MAX = 300
"""Most characters of a message of Hireflix in an error."""

Fields: TypeAlias = Mapping[str, "Fields | None"]
"""A selection: field -> the selection below it, `None` for a leaf."""

STAGES = (Stage.PENDING, Stage.TO_EVALUATE, Stage.SHORTLISTED, Stage.DISCARDED)
"""The words that the filter on `status` accepts."""
INTERVIEW_FIELDS: Fields = {
    "id": None,
    "status": None,
    "externalId": None,
    "hash": None,
    "createdAt": None,
    "updatedAt": None,
    "completed": None,
    "completedAt": None,
    "archived": None,
    "discardedAt": None,
    "finalist": None,
    "shortlistedAt": None,
    "candidate": {"fullName": None, "firstName": None, "lastName": None, "email": None, "phone": None},
    "score": {"value": None},
    "url": {"short": None, "private": None, "public": None},
}
"""`thumbnail` is left out, because it is an address that expires, and so are the answers of the candidate."""
_REQUIRED = frozenset({"id"})


class HireflixError(ConnectorError):
    """The API of Hireflix cannot be used for this call. The message says what to do; it never contains the key."""


class KeyRefused(HireflixError):
    """The API key is missing, wrong or has no right to do this."""


class HireflixUnavailable(HireflixError):
    """No usable answer after several tries. The same call may succeed later. `summary` is for users who cannot repair
    it.
    """

    def __init__(self, summary: str) -> None:
        super().__init__(f"{summary}: check the network, the proxy and hireflix.api_url, or try again later")
        self.summary = summary


class QueryRefused(HireflixError):
    """The API answered with GraphQL errors. `is_missing`: the object does not exist."""

    def __init__(self, text: str, messages: Sequence[str] = (), *, is_missing: bool = False) -> None:
        super().__init__(text)
        self.messages = tuple(messages)
        self.is_missing = is_missing


class ActionRefused(HireflixError):
    """The API answered with an error object instead of the result, such as PositionNotFoundError."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"Hireflix refuses this: {message or name}")
        self.name = name


class Counters(NamedTuple):
    """The numbers of interviews of a position; `stages` is `None` when Hireflix only counts all of them."""

    total: int
    stages: Mapping[Stage, int] | None = None


class InterviewPage(NamedTuple):
    """A page of interviews. `cursor` continues after it; `at` is the time of Hireflix before the page was read."""

    rows: list[ApiInterview]
    cursor: str | None
    total: int | None
    at: int


class ApiReply(NamedTuple):
    """The `data` of a reply, and the time of Hireflix (epoch milliseconds) before the query was executed."""

    data: dict[str, Any]
    at: int


@dataclass(slots=True)
class _Learned:
    """The corrections that this client learned: unknown fields, types of variables, and the form of the filter's
    values.
    """

    unknown: set[str] = field(default_factory=set)
    types: dict[str, str] = field(default_factory=lambda: {"id": "String!", "cursor": "String"})
    quoted: bool = False


class HireflixApi:
    """Calls the API with one key. Use it as an asynchronous context manager. `now` returns epoch milliseconds.

    `tries` are those of a query without a usable answer. A query is given up when Hireflix asks to wait for longer than
    `patience_seconds`. Every method raises `KeyRefused`, `HireflixUnavailable` and
    `QueryRefused`.
    """

    def __init__(
        self,
        key: str,
        url: str = API_URL,
        *,
        tries: int = TRIES,
        patience_seconds: float = RETRY_AFTER_MAX_SECONDS,
        now: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._key = key
        self._url = url
        self._tries = tries
        self._patience_seconds = patience_seconds
        self._now = now
        self._sleep = sleep
        self._learned = _Learned()
        # a proxy cannot reach the loopback address of this machine
        self._client = httpx.AsyncClient(
            headers={KEY_HEADER: key},
            timeout=TIMEOUT_SECONDS,
            trust_env=not is_loopback(host_of(url)),
            verify=_tls_context(),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    @property
    def unknown_fields(self) -> list[str]:
        """Fields that Hireflix did not know."""
        return sorted(self._learned.unknown)

    def knows_stages(self) -> bool:
        """Whether an interview says whether it is shortlisted or discarded."""
        unknown = self._learned.unknown
        return not ({"archived", "discardedAt"} <= unknown or {"finalist", "shortlistedAt"} <= unknown)

    async def positions(self) -> list[Position]:
        """Returns all positions, archived ones included."""
        reply = await self.select(lambda fields: f"query {{ positions {fields} }}", POSITION_FIELDS)
        return [_position(row) for row in reply.data.get("positions") or []]

    async def position(self, position_id: str) -> Position | None:
        """Returns a position, `None` when Hireflix does not know it."""
        found, _ = await self.one("position", POSITION_FIELDS, position_id)
        return None if found is None else _position(found)

    async def interview(self, interview_id: str) -> tuple[ApiInterview | None, int]:
        """Returns an interview, and the time of Hireflix before it was read; `None` when Hireflix does not know it."""
        return await self.one("interview", INTERVIEW_FIELDS, interview_id)

    async def one(self, name: str, fields: Fields, id_: str) -> tuple[ApiInterview | None, int]:
        """Returns an object that the root field `name` finds by its id, and the time of Hireflix before that."""

        def query(selection: str) -> str:
            return f"query One($id: {self._type('id')}) {{ {name}(id: $id) {selection} }}"

        reply = await self._known(query, fields, {"id": id_})
        return (None, self._now()) if reply is None else (reply.data.get(name), reply.at)

    async def act(self, interview_id: str, action: str, selection: str = "{ id }") -> ApiInterview:
        """Sends one action on an interview, once. Raises `HireflixUnavailable` when it may or may not be applied.

        The form is documented under "Updating interview status" and "Scoring and commenting interviews".
        """
        query = f"mutation Act($id: {self._type('id')}) {{ Interview(id: $id) {{ {action} {selection} }} }}"
        found = (await self.execute(query, {"id": interview_id}, tries=1)).data.get("Interview") or {}
        result = next((value for value in found.values() if isinstance(value, dict)), None)
        return {} if result is None else dict(require_result(result))

    async def _known(
        self, query: Callable[[str], str], fields: Fields, variables: Mapping[str, Any]
    ) -> ApiReply | None:
        """Returns the reply of `select`, `None` when Hireflix answers that the object does not exist."""
        try:
            return await self.select(query, fields, variables)
        except QueryRefused as error:
            if error.is_missing:
                return None
            raise

    async def counters(self, position_id: str) -> Counters | None:
        """Returns the numbers of interviews of a position in one small call; `None` when the position is unknown."""

        def query(_: str) -> str:
            parts = [f"all: {self._list(1)} {{ total }}"]
            parts += [f"{stage}: {self._list(1, stage)} {{ total }}" for stage in STAGES]
            return f"query Count($id: {self._type('id')}) {{ position(id: $id) {{ {' '.join(parts)} }} }}"

        reply = await self._known(query, {}, {"id": position_id})
        found = None if reply is None else reply.data.get("position")
        if found is None:
            return None
        total = int(found["all"]["total"])
        stages = {stage: int(found[stage]["total"]) for stage in STAGES}
        # a total that ignores the filter says nothing about stages
        return Counters(total, stages if sum(stages.values()) == total else None)

    async def pages(
        self, position_id: str, *, stage: Stage | None = None, cursor: str | None = None
    ) -> AsyncIterator[InterviewPage]:
        """Yields the pages of a position's interviews, newest first, from `cursor` on; with `stage` only those.

        Hireflix returns a cursor with every page, so a page that is empty or brings nothing new is the end. An unknown
        position has no page.
        """
        seen: set[str] = set()
        while True:
            page = await self._page(position_id, stage, cursor)
            if page is None:
                return
            rows = [row for row in page.rows if str(row.get("id")) not in seen]
            if not rows:
                return
            seen.update(str(row.get("id")) for row in rows)
            yield page._replace(rows=rows)
            if page.cursor is None:
                return
            cursor = page.cursor

    async def _page(self, position_id: str, stage: Stage | None, cursor: str | None) -> InterviewPage | None:
        after = None if cursor is None else "$cursor"

        def query(selection: str) -> str:
            # GraphQL refuses a variable that is not used
            variables = f"$id: {self._type('id')}" + ("" if after is None else f", $cursor: {self._type('cursor')}")
            listed = f"{self._list(PAGE_SIZE, stage, after)} {{ results {selection} lastCursor total }}"
            return f"query List({variables}) {{ position(id: $id) {{ {listed} }} }}"

        values = {"id": position_id} | ({} if cursor is None else {"cursor": cursor})
        reply = await self._known(query, INTERVIEW_FIELDS, values)
        found = None if reply is None else (reply.data.get("position") or {}).get("interviewList")
        if reply is None or found is None:
            return None
        return InterviewPage(list(found.get("results") or []), found.get("lastCursor"), found.get("total"), reply.at)

    def _list(self, limit: int, stage: Stage | None = None, after: str | None = None) -> str:
        word = f'"{stage}"' if self._learned.quoted else str(stage)
        chosen = "" if stage is None else f"status: {{ equal: {word} }}"
        start = "" if after is None else f" lastCursor: {after}"
        return (
            f"interviewList(input: {{ filter: {{ {chosen} }} "
            f"pagination: {{ limit: {limit} direction: FORWARD{start} }} "
            "sort: [{ field: createdAt, direction: DESC }] })"
        )

    def _type(self, variable: str) -> str:
        return self._learned.types[variable]

    async def select(
        self, query: Callable[[str], str], fields: Fields, variables: Mapping[str, Any] | None = None
    ) -> ApiReply:
        """Sends the query that `query` returns for a selection, corrected until Hireflix understands it.

        A correction omits an unknown field, or uses the type of a variable that Hireflix expects.
        """
        for _ in range(REPAIRS_MAX):
            try:
                return await self.execute(query(_selection(fields, self._learned.unknown)), variables)
            except QueryRefused as error:
                if not self._learn(error):
                    raise
        raise QueryRefused("Hireflix understands none of the queries of this version: upgrade the connector")

    def _learn(self, error: QueryRefused) -> bool:
        """Learns from the messages of GraphQL validation. Returns whether another query is worth a try."""
        learned = self._learned
        before = (set(learned.unknown), dict(learned.types), learned.quoted)
        for message in error.messages:
            if found := _UNKNOWN_FIELD.search(message):
                learned.unknown.update({found[1] or found[2] or found[3]} - _REQUIRED)
            elif (found := _OTHER_TYPE.search(message)) and found[1] in learned.types:
                learned.types[found[1]] = found[2]
            elif any(f"non string value: {stage}" in message for stage in STAGES):
                learned.quoted = True
        return before != (learned.unknown, learned.types, learned.quoted)

    async def execute(
        self, query: str, variables: Mapping[str, Any] | None = None, *, tries: int | None = None
    ) -> ApiReply:
        """Sends one query. Repeats it after 429, 5xx and network errors: a mutation must use `tries=1`."""
        enough = stop_after_attempt(self._tries if tries is None else tries)
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_TryAgainError),
            stop=lambda state: enough(state) or (_asked_seconds(state) or 0) > self._patience_seconds,
            wait=_wait,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return await retrying(self._send, query, variables)
        except _TryAgainError as error:
            raise HireflixUnavailable(f"{host_of(self._url)} gives no usable answer ({error})") from None

    async def _send(self, query: str, variables: Mapping[str, Any] | None) -> ApiReply:
        begun = self._now()
        try:
            response = await self._client.post(self._url, json={"query": query, "variables": dict(variables or {})})
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _TryAgainError(type(error).__name__) from None
        ended = self._now()
        self._require_usable(response, ended)
        body = _decoded(response)
        if body is None:
            if response.is_success:
                raise _TryAgainError("the answer is not JSON")
            raise QueryRefused(f"{host_of(self._url)} answers HTTP {response.status_code}: check hireflix.api_url")
        if errors := body.get("errors"):
            raise self._refused(errors)
        sent = epoch_ms(response.headers.get("date", ""))
        # the header has whole seconds, rounded down; the query was executed at most so long before it
        return ApiReply(body.get("data") or {}, begun if sent is None else sent - max(0, ended - begun))

    def _require_usable(self, response: httpx.Response, now: int) -> None:
        status = response.status_code
        if status in {401, 403}:
            raise KeyRefused(KEY_ADVICE.format(status))
        if status in {408, 425, 429} or status >= 500:  # noqa: PLR2004 - RFC 9110, the server's errors
            raise _TryAgainError(f"HTTP {status}", retry_after(response.headers, now))

    def _refused(self, errors: Any) -> HireflixError:
        rows = [row for row in errors if isinstance(row, dict)] if isinstance(errors, list) else []
        messages = [self._safe(str(row.get("message") or "")) for row in rows]
        codes = {str((row.get("extensions") or {}).get("code") or row.get("code") or "").upper() for row in rows}
        if codes & _KEY_CODES or any(_ABOUT_KEY.search(message) for message in messages):
            return KeyRefused(KEY_ADVICE.format("; ".join(messages)))
        is_missing = bool(codes & _MISSING_CODES) or any(_MISSING.search(message) for message in messages)
        text = "; ".join(messages)[:MESSAGE_MAX] or "no reason given"
        return QueryRefused(f"Hireflix refuses the query: {text}", messages, is_missing=is_missing)

    def _safe(self, text: str) -> str:
        return _without_values(text.replace(self._key, "[key]"))


def _without_values(text: str) -> str:
    """Returns a message of Hireflix without quoted values, which may be a comment or other personal data.

    Quoted names and types of GraphQL stay: they say what is wrong with a query.
    """
    return clean(_QUOTED.sub(lambda found: found[0] if _NAME.fullmatch(found[0][1:-1]) else '"…"', text))[:MESSAGE_MAX]


@cache
def _tls_context() -> ssl.SSLContext:
    """Returns the default context of httpx, made once, because reading the certificates takes time."""
    return httpx.create_ssl_context()


KEY_ADVICE = (
    "Hireflix refuses the API key ({}): create one as an administrator under My account, API keys "
    "(https://admin.hireflix.com/en/my-account/api-keys), and set CONNECTOR_HIREFLIX__API_KEY"
)
POSITION_FIELDS: Fields = {"id": None, "name": None, "archived": None}
_KEY_CODES = {"UNAUTHENTICATED", "FORBIDDEN", "UNAUTHORIZED", "401", "403"}
_MISSING_CODES = {"NOT_FOUND", "404"}
_ABOUT_KEY = re.compile(r"unauthori[sz]ed|unauthenticated|not authenticated|api.?key|forbidden", re.IGNORECASE)
_MISSING = re.compile(r"\bnot found\b|\bdoes not exist\b", re.IGNORECASE)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"?|(?<!\w)\'[^\']*+\'(?!\w)', re.DOTALL)
"""A text in quotation marks. A message that was cut may have no closing one."""
_NAME = re.compile(r"[\w$!\[\].]{1,64}")
_UNKNOWN_FIELD = re.compile(
    r"Cannot query field [\"'](\w+)[\"']"
    r"|Field [\"'](\w+)[\"'] must not have a selection"
    r"|Field [\"'](\w+)[\"'] of type [\"'][^\"']+[\"'] must have a selection"
)
_OTHER_TYPE = re.compile(
    r"Variable [\"']\$(\w+)[\"'] of type [\"'][^\"']+[\"'] used in position expecting type [\"']([^\"']+)[\"']"
)
"""Texts of the validation of graphql-js, and of graphql-core, which has other quotation marks."""


class _TryAgainError(Exception):
    """No usable answer now. `seconds` is the delay that Hireflix asks for."""

    def __init__(self, text: str, seconds: float | None = None) -> None:
        super().__init__(text)
        self.seconds = seconds


_backoff = wait_random_exponential(multiplier=1, max=WAIT_MAX_SECONDS)


def _wait(state: RetryCallState) -> float:
    asked = _asked_seconds(state)
    return _backoff(state) if asked is None else asked


def _asked_seconds(state: RetryCallState) -> float | None:
    error = state.outcome.exception() if state.outcome is not None else None
    return error.seconds if isinstance(error, _TryAgainError) else None


def _decoded(response: httpx.Response) -> dict[str, Any] | None:
    try:
        body = msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        return None
    return body if isinstance(body, dict) else None


def _selection(fields: Fields, unknown: set[str]) -> str:
    """Returns a selection set without the unknown fields, and without the groups that have no field left."""
    parts = []
    for name, below in fields.items():
        if name in unknown:
            continue
        inner = "" if below is None else _selection(below, unknown)
        if below is None or inner != "{  }":
            parts.append(f"{name} {inner}".strip())
    return f"{{ {' '.join(parts)} }}"


def _position(row: Mapping[str, Any]) -> Position:
    return Position(str(as_text(row.get("id")) or ""), str(as_text(row.get("name")) or ""), bool(row.get("archived")))


def require_result(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the object itself. Raises `ActionRefused` for an error object (documentation, "GraphQL basics")."""
    name = str(found.get("__typename") or found.get("name") or "")
    if name.endswith("Error"):
        raise ActionRefused(name, _without_values(str(found.get("message") or "")))
    return found
