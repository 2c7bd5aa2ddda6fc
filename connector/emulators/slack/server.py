"""The emulator over HTTP: `{url}/api/<method>`, `{url}/services/…`, `{url}/socket`, `{url}/view/<channel>`."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import Future
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any
from uuid import uuid4

from aiohttp import web

from connector.emulators.server import EmulatorServer, Handler
from connector.emulators.slack import view
from connector.emulators.slack.errors import Limited, SlackError
from connector.emulators.slack.limits import Limits
from connector.emulators.slack.methods import METHODS, publish, unknown
from connector.emulators.slack.socket import Envelope, Sockets, button_of, pressed, submitted, trigger_id
from connector.emulators.slack.workspace import Bot, Channel, Clock, Ephemeral, Message, Workspace, problems

ALL_SCOPES = (
    "chat:write",
    "chat:write.public",
    "channels:history",
    "groups:history",
    "channels:read",
    "groups:read",
    "usergroups:read",
)
TOKEN = "xoxb-emulated-token"
APP_TOKEN = "xapp-1-emulated-token"
DIALOG_CHECK_SECONDS = 0.1
DIALOG_CHECKS = 30
"""Checks whether a click on the page opened a dialog."""
WEBHOOK_STATUS = {
    "invalid_payload": 400,
    "no_text": 400,
    "invalid_blocks": 400,
    "action_prohibited": 403,
    "no_service": 404,
    "is_archived": 410,
    "restricted_action_read_only_channel": 403,
}
WEBHOOK_ERROR = {"is_archived": "channel_is_archived", "restricted_action_read_only_channel": "action_prohibited"}


@dataclass(frozen=True)
class Call:
    """A completed call. `error` is `""` when it succeeded."""

    method: str
    args: dict[str, Any]
    error: str
    at: float


class SlackEmulator(EmulatorServer):
    """A workspace with one installed app (`token`, all scopes). Tests add channels.

    `requests` lists every call that arrived, including those with a fault; `calls` lists the completed ones.
    `connections` has an entry for each TCP connection. `limits` enables the rate limits of `rates`. `clock` returns
    epoch seconds, for messages, limits and the `Date` header.
    """

    def __init__(self, clock: Clock = time.time) -> None:
        super().__init__()
        self.workspace = Workspace(clock)
        self.limits = False
        self.rates = Limits()
        self.calls: list[Call] = []
        self.requests: list[str] = []
        self.connections: set[object] = set()
        self.token = TOKEN
        self.app_token = APP_TOKEN
        self.app_error = ""
        """The error that Slack answers to the app-level token, if any."""
        self.sockets = Sockets()
        self._interactions = 0
        self.bot = self.workspace.add_bot(TOKEN, ALL_SCOPES)

    # Set-up

    @property
    def clock(self) -> Clock:
        return self.workspace.clock

    @clock.setter
    def clock(self, clock: Clock) -> None:
        self.workspace.clock = clock

    @property
    def api_url(self) -> str:
        return f"{self.url}/api/"

    def add_token(self, token: str, scopes: tuple[str, ...] = ALL_SCOPES) -> Bot:
        with self.lock:
            return self.workspace.add_bot(token, scopes)

    def add_channel(
        self,
        name: str,
        *,
        member: bool = True,
        private: bool = False,
        archived: bool = False,
        read_only: bool = False,
    ) -> str:
        """Adds a channel and returns its id. `member`: the first app is in it."""
        with self.lock:
            id_ = f"C{len(self.workspace.channels) + 1:09d}A"
            channel = Channel(id_, name, private=private, archived=archived, read_only=read_only)
            channel.members = {self.bot.bot_id} if member else set()
            self.workspace.channels[channel.id] = channel
            return channel.id

    def add_webhook(self, channel: str) -> str:
        """Returns the URL of an incoming webhook that posts to this channel."""
        with self.lock:
            path = f"{self.workspace.team_id}/B{len(self.workspace.hooks) + 1:08d}/emulatedsecret"
            self.workspace.hooks[path] = channel
            return f"{self.url}/services/{path}"

    def say(self, channel: str, text: str) -> Message:
        """Posts a message of another user."""
        with self.lock:
            answer = publish(self.workspace, "USOMEBODY", self.workspace.channels[channel], {"text": text})
            return self.workspace.channels[channel].messages[answer["ts"]]

    def channel(self, channel: str) -> Channel:
        """Returns the channel, to archive it or to remove messages like a user."""
        return self.workspace.channels[channel]

    def messages(self, channel: str) -> list[Message]:
        """Returns the messages of a channel, oldest first, with replies."""
        with self.lock:
            return list(self.workspace.channels[channel].messages.values())

    # Interactions of users; each future resolves with the envelope, when it was acknowledged or not

    @property
    def open_sockets(self) -> int:
        """The number of Socket Mode connections."""
        return len(self.sockets.connections)

    @property
    def opened_sockets(self) -> int:
        """The number of Socket Mode connections since the start."""
        return self.sockets.opened

    @property
    def ephemerals(self) -> list[Ephemeral]:
        """The messages that only one user saw."""
        with self.lock:
            return list(self.workspace.ephemerals)

    @property
    def views(self) -> list[dict[str, Any]]:
        """The dialogs that were opened."""
        with self.lock:
            return list(self.workspace.views)

    def press(self, message: Message, action_id: str, user: str) -> Future[Envelope]:
        """Presses a button of a message, as it looks in `message`. Raises `KeyError` when it has none with this id."""
        with self.lock:
            self._interactions += 1
            self.workspace.triggers.add(trigger_id(self._interactions))
            payload = pressed(self.workspace, message, button_of(message, action_id), user, self._interactions)
        return self._interact(payload)

    def submit(self, view: dict[str, Any], user: str, **values: str | None) -> Future[Envelope]:
        """Submits a dialog; `values` are the inputs by their `action_id`."""
        return self._interact(submitted(self.workspace, view, values, user))

    def redeliver(self, envelope: Envelope) -> Future[Envelope]:
        """Sends an envelope again."""
        return self._run_soon(self.sockets.send(envelope))

    def refresh_sockets(self) -> None:
        """Asks every app to connect again."""
        self._run_soon(self.sockets.refresh()).result(10)

    def close_sockets(self) -> None:
        """Closes all connections."""
        self._run_soon(self.sockets.close()).result(10)

    def _interact(self, payload: dict[str, Any]) -> Future[Envelope]:
        return self.redeliver(Envelope(uuid4().hex, payload))

    def problems(self, allowed: frozenset[str] = frozenset()) -> list[str]:
        """Returns the broken invariants of all channels."""
        with self.lock:
            return problems(self.workspace.channels.values(), allowed)

    # HTTP

    def build(self, app: web.Application) -> None:
        app.middlewares.insert(0, self._log)
        app.router.add_route("*", "/api/{method}", self._api)
        app.router.add_post("/services/{path:.+}", self._webhook)
        app.router.add_get("/view/{channel}", self._view)
        app.router.add_post("/view/{channel}", self._press_by_page)
        app.router.add_get("/view/{channel}/dialog/{number}", self._dialog)
        app.router.add_post("/view/{channel}/dialog/{number}", self._submit_by_page)
        app.router.add_get("/socket", self.sockets.serve)
        app.on_shutdown.append(self._close_sockets)

    async def _close_sockets(self, _app: web.Application) -> None:
        await self.sockets.close()

    def kind_of(self, request: web.Request) -> str:
        """Returns the name of the method, or `webhook`."""
        return "webhook" if request.path.startswith("/services/") else request.path.removeprefix("/api/")

    @web.middleware
    async def _log(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        with self.lock:
            self.requests.append(self.kind_of(request))
            self.connections.add(request.transport and request.transport.get_extra_info("peername"))
        return await handler(request)

    async def _api(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        headers = {"Date": formatdate(self.clock(), usegmt=True)}
        if method == "apps.connections.open":
            return web.json_response(self._open_connection(request))
        try:
            args = await _arguments(request)
            with self.lock:
                bot = self._bot(request, args)
                headers["x-oauth-scopes"] = ",".join(bot.scopes)
                body = self._call(method, bot, args)
        except Limited as error:
            return web.json_response(error.body, status=429, headers={**headers, "Retry-After": str(error.seconds)})
        except SlackError as error:
            return web.json_response(error.body, headers=headers)
        return web.json_response(body, headers=headers)

    def _call(self, method: str, bot: Bot, args: dict[str, Any]) -> dict[str, Any]:
        try:
            run = METHODS.get(method, unknown)
            self._limit(method, str(args.get("channel", "")))
            body = run(self.workspace, bot, args)
        except SlackError as error:
            self._record(method, args, error.error)
            raise
        self._record(method, args, "")
        return body

    def _open_connection(self, request: web.Request) -> dict[str, Any]:
        """Answers apps.connections.open, which takes the app-level token."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        refusal = "not_allowed_token_type" if token in self.workspace.bots else "invalid_auth"
        error = self.app_error or ("" if token == self.app_token else refusal)
        return {"ok": False, "error": error} if error else {"ok": True, "url": self.sockets.address(self.url)}

    def _record(self, method: str, args: dict[str, Any], error: str) -> None:
        self.calls.append(Call(method, args, error, self.clock()))

    def _limit(self, method: str, channel: str) -> None:
        seconds = self.rates.refuse(self.clock, method, channel) if self.limits else None
        if seconds is not None:
            raise Limited(seconds)

    def _bot(self, request: web.Request, args: dict[str, Any]) -> Bot:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ") or str(args.pop("token", ""))
        if not token:
            raise SlackError("not_authed")
        bot = self.workspace.bots.get(token)
        if bot is None:
            raise SlackError("invalid_auth")
        if bot.error:
            raise SlackError(bot.error)
        return bot

    async def _webhook(self, request: web.Request) -> web.Response:
        try:
            args = await _arguments(request)
            with self.lock:
                self._post_by_webhook(request.match_info["path"], args)
        except Limited as error:
            body = {"retry_after": error.seconds, "ok": False, "error": "rate_limited"}
            return web.json_response(body, status=429, headers={"Retry-After": str(error.seconds)})
        except SlackError as error:
            word = WEBHOOK_ERROR.get(error.error, error.error)
            return web.Response(status=WEBHOOK_STATUS.get(error.error, 400), text=word)
        return web.Response(text="ok")

    def _post_by_webhook(self, path: str, args: dict[str, Any]) -> None:
        try:
            channel = self._hooked(path)
            self._limit("webhook", channel.id)
            publish(self.workspace, "BWEBHOOK", channel, args)
        except SlackError as error:
            self._record("webhook", args, error.error)
            raise
        self._record("webhook", args, "")

    def _hooked(self, path: str) -> Channel:
        channel = self.workspace.channels.get(self.workspace.hooks.get(path, ""))
        if channel is None:
            raise SlackError("no_service")
        if channel.archived:
            raise SlackError("is_archived")
        if channel.read_only:
            raise SlackError("restricted_action_read_only_channel")
        return channel

    async def _view(self, request: web.Request) -> web.Response:
        with self.lock:
            channel = self.workspace.channels.get(request.match_info["channel"])
            text = view.page(channel, self.workspace.ephemerals) if channel else "<p>No such channel.</p>"
        return web.Response(text=text, content_type="text/html", status=200 if channel else 404)

    async def _press_by_page(self, request: web.Request) -> web.Response:
        """A visitor presses a button of the page. Shows the dialog, if one is opened."""
        form = await request.post()
        channel = self.workspace.channels.get(request.match_info["channel"])
        message = channel.messages.get(str(form.get("message"))) if channel is not None else None
        if message is None:
            return web.Response(text="No such message.", status=404)
        before = len(self.workspace.views)
        try:
            await asyncio.wrap_future(self.press(message, str(form.get("action")), view.VISITOR))
        except KeyError:  # the message has changed since
            return _see_other(f"{request.path}#m{message.ts}")
        for _ in range(DIALOG_CHECKS if str(form.get("action")).endswith("discard") else 0):
            if len(self.workspace.views) > before:
                return _see_other(f"{request.path}/dialog/{before}")
            await asyncio.sleep(DIALOG_CHECK_SECONDS)
        return _see_other(f"{request.path}#m{message.ts}")

    async def _dialog(self, request: web.Request) -> web.Response:
        opened = self._opened(request)
        channel = f"/view/{request.match_info['channel']}"
        text = view.dialog(opened, channel) if opened is not None else "<p>No such dialog.</p>"
        return web.Response(text=text, content_type="text/html", status=404 if opened is None else 200)

    async def _submit_by_page(self, request: web.Request) -> web.Response:
        opened = self._opened(request)
        if opened is None:
            return web.Response(text="No such dialog.", status=404)
        values = {name: str(value) for name, value in (await request.post()).items()}
        envelope = await asyncio.wrap_future(self.submit(opened, view.VISITOR, **values))
        if not envelope.acknowledged[-1]:  # Slack keeps the dialog open
            return _see_other(request.path)
        return _see_other(f"/view/{request.match_info['channel']}")

    def _opened(self, request: web.Request) -> dict[str, Any] | None:
        number = request.match_info["number"]
        known = dict(enumerate(self.workspace.views))
        return known.get(int(number)) if number.isdecimal() else None


def _see_other(place: str) -> web.Response:
    return web.Response(status=303, headers={"Location": place})


async def _arguments(request: web.Request) -> dict[str, Any]:
    """Arguments from the query and from a JSON or form body (Slack, Web API basics)."""
    args: dict[str, Any] = dict(request.query)
    kind = request.content_type
    if kind == "application/json":
        return args | _object(await request.text())
    if kind in {"application/x-www-form-urlencoded", "multipart/form-data"}:
        form = await request.post()
        text = form.get("payload")
        return args | (_object(text) if isinstance(text, str) else dict(form))
    if request.can_read_body:
        raise SlackError("invalid_post_type")
    return args


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        raise SlackError("invalid_json") from None
    if not isinstance(value, dict):
        raise SlackError("json_not_object")
    return value
