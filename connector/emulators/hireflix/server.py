"""The GraphQL API of the emulated account, over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import cache
from typing import Any

from aiohttp import ClientError, ClientSession, web
from graphql import GraphQLError, GraphQLSchema, build_schema, graphql_sync

from connector.emulators.hireflix import view
from connector.emulators.hireflix.account import Account, Interview, Position, Webhook, row_of
from connector.emulators.server import EmulatorServer
from connector.hireflix import EVENT_NAMES
from connector.hireflix.signature import HEADER, sign

PAGE_MAX = 100
"""Largest page. The limit of Hireflix is unknown; 50 and 100 are in use."""
HOOKS_MAX = 3
"""Invented, so that a creation can be refused."""
STAGE_FIELDS = ("completed", "completedAt", "archived", "discardedAt", "finalist", "shortlistedAt")
"""Fields that say in which stage an interview is. No documentation says which of them a listing has."""
SCHEMA = """
type Query {
  positions: [PositionType!]!
  position(id: String!): PositionType
  interview(id: String!): InterviewType
  %(webhook_queries)s
}
type Mutation {
  Interview(id: String!): InterviewMutation
  %(webhook_mutations)s
}
type InterviewMutation {
  archive(archive: Boolean!): InterviewType
  finalist(finalist: Boolean!): InterviewType
  score(score: Float): InterviewType
  comment(comment: String!): InterviewType
  share(durationInDays: Int): InterviewType
}
type PositionType { id: String! name: String! archived: Float active: Boolean
  interviewList(input: InterviewListInput!): InterviewList! }
type InterviewList { results: [InterviewType!]! lastCursor: String count: Int! total: Int! }
input InterviewListInput { filter: InterviewFilter pagination: PaginationInput sort: [SortInput!]! }
input InterviewFilter { status: StatusFilter }
input StatusFilter { equal: %(status)s }
input PaginationInput { limit: Int direction: Direction lastCursor: String }
input SortInput { field: SortField! direction: SortDirection! }
enum Direction { FORWARD BACKWARD }
enum SortDirection { ASC DESC }
enum SortField { createdAt }
enum InterviewStatus { pending to_evaluate shortlisted discarded }
type InterviewType { id: String! status: String! externalId: String hash: String createdAt: Float updatedAt: Float
  %(stage_fields)s
  position: PositionType candidate: CandidateType! score: ScoreType url: UrlType comments: [CommentType!]!
  externalLink: ExternalLinkType scores: [ScoreOfReviewer!]! questions: [QuestionType!]! }
type CandidateType { fullName: String firstName: String lastName: String email: String phone: String }
type ScoreType { value: Float }
type UrlType { short: String private: String public: String }
type CommentType { id: String! value: String! createdAt: Float author: UserType }
type UserType { name: String }
type ScoreOfReviewer { computedScore: Float overridenScore: ScoreType scorer: UserType }
type QuestionType { title: String answer: AnswerType }
type AnswerType { transcription: TranscriptionType }
type TranscriptionType { languageCode: String text: String }
type ExternalLinkType { url: String expires: Float }
type Hook { id: String! url: String! events: [String!]! active: Boolean! external: String }
type HookLog { id: String! date: Float emitter: String request: HookRequest response: HookResponse status: String
  url: String }
type HookRequest { body: String headers: HookHeaders }
type HookHeaders { signature: String }
type HookResponse { status: Int body: String }
"""
WEBHOOK_QUERIES = """
  hookList: [Hook!]!
  hookLogs(id: String!): [HookLog!]!
  hookSecretKey: String
"""
WEBHOOK_MUTATIONS = """
  hookCreate(url: String!, events: [String!], external: String): Hook
  hookUpdate(id: String!, url: String, events: [String!], active: Boolean): Hook
"""
"""Invented names: the documentation of Hireflix has none."""
WRAPPED_QUERIES = """
  subscriptions: HookList!
  deliveriesOf(hook: String!): HookLogList!
  signingKeyOfHooks: HookKey
"""
WRAPPED_MUTATIONS = """
  addSubscription(input: AddHook!): AddHookResult
  changeSubscription(input: ChangeHook!): AddHookResult
"""
WRAPPED_TYPES = """
type HookList { items: [Hook!]! }
type HookLogList { items: [HookLog!]! }
type HookKey { value: String }
type HookAdded { data: Hook }
type HookLimitError { code: Int message: String }
union AddHookResult = HookAdded | HookLimitError
enum HookEvent { INTERVIEW_CREATE INTERVIEW_FINISH INTERVIEW_STATUS_CHANGE INTERVIEW_DELETE INTERVIEW_SCORE_UPDATED }
input AddHook { url: String! events: [HookEvent!] external: String }
input ChangeHook { id: String! url: String events: [HookEvent!] active: Boolean }
"""
"""The same operations in the style of newer parts of the API: input objects, results with error objects, enums."""


class HireflixEmulator(EmulatorServer):
    """Serves an account at `url`/me for `key`.

    `without` names fields of an interview that its schema does not have. `quoted_status`: the filter takes a text
    instead of an enum. `webhook_operations`: the API has operations for webhooks, `wrapped` those of a newer style.
    `shows_schema`: it answers introspection. `sends_webhooks`: a change through the API is sent to the webhooks of the
    account. `calls` counts queries by operation.
    """

    def __init__(
        self,
        account: Account,
        *,
        key: str = "test-key",
        without: tuple[str, ...] = (),
        quoted_status: bool = False,
        webhook_operations: bool = True,
        wrapped: bool = False,
        shows_schema: bool = True,
        sends_webhooks: bool = False,
    ) -> None:
        super().__init__()
        self.shows_schema = shows_schema
        self._sends_webhooks = sends_webhooks
        self._sending: set[asyncio.Task[None]] = set()
        self.account = account
        self.key = key
        self.calls: Counter[str] = Counter()
        self.repeats_last_cursor = False
        self._schema = _schema(
            without, quoted_status=quoted_status, webhook_operations=webhook_operations, wrapped=wrapped
        )

    @property
    def api_url(self) -> str:
        return f"{self.url}/me"

    def take(self, body: bytes) -> bool:
        """`Account.take`, from any thread."""
        with self.lock:
            return self.account.take(body)

    def add_webhook(self, url: str) -> None:
        """Adds a webhook for all events, from any thread."""
        with self.lock:
            self._create_webhook(None, url, sorted(EVENT_NAMES))

    def build(self, app: web.Application) -> None:
        app.router.add_post("/me", self._answer)
        app.router.add_get("/view", self._view)

    def kind_of(self, request: web.Request) -> str:
        """Every call has the same kind: the operation is in the body."""
        return request.path

    async def _view(self, _request: web.Request) -> web.Response:
        with self.lock:
            return web.Response(text=view.page(self.account), content_type="text/html")

    async def _answer(self, request: web.Request) -> web.Response:
        headers = {"Date": formatdate(self.account.now() / 1000, usegmt=True)}
        if request.headers.get("X-API-KEY") != self.key:
            return web.json_response({"errors": [{"message": "Unauthorized"}]}, status=401, headers=headers)
        body = await request.json()
        self.calls[_operation(body["query"])] += 1
        if "__schema" in body["query"] and not self.shows_schema:
            error = {"message": "GraphQL introspection is not allowed"}
            return web.json_response({"errors": [error]}, status=400, headers=headers)
        with self.lock:
            result = graphql_sync(
                self._schema, body["query"], self._root(), variable_values=body.get("variables") or None
            )
        document: dict[str, Any] = {"data": result.data}
        if result.errors:
            document["errors"] = [error.formatted for error in result.errors]
        # Apollo Server answers 400 when the query does not pass validation
        status = 400 if result.data is None and result.errors else 200
        return web.json_response(document, status=status, headers=headers, dumps=json.dumps)

    def _root(self) -> dict[str, Callable[..., Any]]:
        account = self.account
        return {
            "positions": lambda _: [self._position(each) for each in account.positions.values()],
            "position": lambda _, id: self._position(account.positions.get(id)),  # noqa: A006 - as in the schema
            "interview": lambda _, id: self._interview(account.interviews.get(id)),  # noqa: A006
            "Interview": lambda _, id: self._actions(account.interviews.get(id)),  # noqa: A006
            "hookList": lambda _: [vars_of(each) for each in account.webhooks.values()],
            "hookLogs": lambda _, id: account.webhooks[id].logs,  # noqa: A006
            "hookSecretKey": lambda _: account.secret,
            "hookCreate": self._create_webhook,
            "hookUpdate": self._update_webhook,
            "subscriptions": lambda _: {"items": [vars_of(each) for each in account.webhooks.values()]},
            "deliveriesOf": lambda _, hook: {"items": account.webhooks[hook].logs},
            "signingKeyOfHooks": lambda _: {"value": account.secret},
            "addSubscription": lambda _, input: self._added(self._create_webhook(_, **_named(input))),  # noqa: A006
            "changeSubscription": lambda _, input: self._added(self._update_webhook(_, **_named(input))),  # noqa: A006
        }

    def _added(self, hook: dict[str, Any]) -> dict[str, Any]:
        if len(self.account.webhooks) > HOOKS_MAX:
            return {"__typename": "HookLimitError", "code": 429, "message": f"at most {HOOKS_MAX} webhooks"}
        return {"__typename": "HookAdded", "data": hook}

    def _position(self, position: Position | None) -> dict[str, Any] | None:
        if position is None:
            return None
        return {
            "id": position.id,
            "name": position.name,
            "archived": position.archived,
            "active": True,
            "interviewList": lambda _, input: self._listed(position, input),  # noqa: A006 - as in the schema
        }

    def _listed(self, position: Position, asked: Mapping[str, Any]) -> dict[str, Any]:
        stage = ((asked.get("filter") or {}).get("status") or {}).get("equal")
        paging = asked.get("pagination") or {}
        mine = [
            each
            for each in self.account.interviews.values()
            if each.position_id == position.id and stage in {None, each.stage}
        ]
        mine.sort(key=lambda each: (each.created_at, each.id), reverse=True)
        cursor = paging.get("lastCursor")
        after = [each for each in mine if cursor is None or f"{each.created_at}.{each.id}" < cursor]
        page = after[: min(paging.get("limit") or PAGE_MAX, PAGE_MAX)]
        last = f"{page[-1].created_at}.{page[-1].id}" if page else cursor
        if self.repeats_last_cursor and len(after) <= PAGE_MAX and cursor is not None:
            last = cursor
        return {
            "results": [self._interview(each) for each in page],
            "lastCursor": last,
            "count": len(page),
            "total": len(mine),
        }

    def _interview(self, found: Interview | None) -> dict[str, Any] | None:
        if found is None:
            return None
        position = self.account.positions.get(found.position_id)
        return row_of(found) | {"position": lambda _: self._position(position)}

    def _actions(self, found: Interview | None) -> dict[str, Any]:
        if found is None:
            raise GraphQLError("Interview not found", extensions={"code": "NOT_FOUND"})

        def applied(name: str, change: Callable[[], object]) -> dict[str, Any] | None:
            self.account.changes.append((name, found.id))
            body = change()
            if isinstance(body, bytes) and self._sends_webhooks:
                self._send_soon(body)
            return self._interview(found)

        account = self.account
        return {
            "archive": lambda _, archive: applied("archive", lambda: account.discard(found, wanted=archive)),
            "finalist": lambda _, finalist: applied("finalist", lambda: account.shortlist(found, wanted=finalist)),
            "score": lambda _, score=None: applied("score", lambda: account.rate(found, score)),
            "comment": lambda _, comment: applied("comment", lambda: self._comment(found, comment)),
            "share": lambda _, durationInDays=75: applied("share", lambda: self._share(found, durationInDays)),  # noqa: N803
        }

    def _send_soon(self, body: bytes) -> None:
        """Sends a webhook to each active address that asks for its event, once. Runs in the loop of the emulator."""
        event = json.loads(body)["event"]
        for hook in self.account.webhooks.values():
            if hook.active and event in hook.events:
                task = asyncio.get_running_loop().create_task(self._send(hook, body))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)

    async def _send(self, hook: Webhook, body: bytes) -> None:
        signature = sign(self.account.secret, body)
        headers = {HEADER.decode(): signature, "Content-Type": "application/json"}
        status, text = 0, ""
        try:
            async with ClientSession() as client, client.post(hook.url, data=body, headers=headers) as response:
                status, text = response.status, await response.text()
        except ClientError as error:
            text = type(error).__name__
        log = {
            "id": f"{hook.id}-{len(hook.logs) + 1}",
            "date": self.account.now(),
            "request": {"body": body.decode(), "headers": {"signature": signature}},
            "response": {"status": status, "body": text},
            "status": "success" if 200 <= status < 300 else "error",
            "url": hook.url,
        }
        with self.lock:
            hook.logs.append(log)

    def _share(self, found: Interview, days: int) -> None:
        expires = self.account.now() + days * 86_400_000
        found.link = {"url": f"https://shared.hireflix.com/interview/{found.hash}", "expires": expires}

    def _comment(self, found: Interview, text: str) -> None:
        found.comments.append({"id": f"c{len(found.comments)}", "value": text, "createdAt": self.account.now()})

    def _create_webhook(
        self, _: Any, url: str, events: list[str] | None = None, external: str | None = None
    ) -> dict[str, Any]:
        hook = Webhook(f"hook-{len(self.account.webhooks) + 1}", url, events or [])
        self.account.webhooks[hook.id] = hook
        return vars_of(hook) | {"external": external}

    def _update_webhook(self, _: Any, id: str, **changes: Any) -> dict[str, Any]:  # noqa: A002 - as in the schema
        hook = self.account.webhooks.get(id)
        if hook is None:
            raise GraphQLError("Webhook not found", extensions={"code": "NOT_FOUND"})
        for name, value in changes.items():
            setattr(hook, name, value)
        return vars_of(hook)


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an input object, with the names of events instead of the words of the enum."""
    events = [_EVENT_OF[word] for word in values.get("events") or ()]
    return dict(values) | ({"events": events} if events else {})


_EVENT_OF = {name.upper().replace(".", "_").replace("-", "_"): name for name in EVENT_NAMES}


def vars_of(hook: Webhook) -> dict[str, Any]:
    """The fields of a webhook, as the schema names them."""
    return {"id": hook.id, "url": hook.url, "events": hook.events, "active": hook.active}


def _operation(query: str) -> str:
    """The name of the operation, else its first field."""
    words = query.replace("{", " ").replace("(", " ").split()
    return words[1] if len(words) > 1 else ""


@cache
def _schema(without: tuple[str, ...], *, quoted_status: bool, webhook_operations: bool, wrapped: bool) -> GraphQLSchema:
    queries, mutations = (WRAPPED_QUERIES, WRAPPED_MUTATIONS) if wrapped else (WEBHOOK_QUERIES, WEBHOOK_MUTATIONS)
    template = SCHEMA + WRAPPED_TYPES if wrapped else SCHEMA
    text = template % {
        "webhook_queries": queries if webhook_operations else "",
        "webhook_mutations": mutations if webhook_operations else "",
        "status": "String" if quoted_status else "InterviewStatus",
        "stage_fields": " ".join(f"{name}: Float" for name in STAGE_FIELDS if name not in without),
    }
    for name in without:
        text = text.replace(f" {name}: String ", " ").replace(f" {name}: Float ", " ")
    return build_schema(text)
