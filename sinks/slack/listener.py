"""Receives the clicks of users through Socket Mode, with the client that slack_sdk ships (Slack, Using Socket Mode).

Slack sends each envelope to one of the connections of an app, and again when it is not acknowledged. A click is
acknowledged once its request is committed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse

from connector.capabilities import Inbox
from connector.languages import Language, gettext_noop, language
from sinks.chat.decisions import Refusal, already_taken, is_about, note_keys, request_of
from sinks.chat.service import Status
from sinks.slack import messages
from sinks.slack.client import AppClient, BotClient, SlackResult, proxy_for
from sinks.slack.config import Decisions, SlackConfig
from sinks.slack.diagnostics import broken_app
from sinks.slack.interactions import Interaction, interaction_of, reason_dialog

ACK_SECONDS = 2.5
"""Time to store a click; Slack waits three seconds for the acknowledgement."""
CONNECT_SECONDS = 30.0
"""Time to open a connection."""
WATCH_SECONDS = 5.0
"""Interval between two checks of the connection."""
LOST_CHECKS_MAX = 6
"""Checks in a row that find no connection, before a new client is made. Until then slack_sdk connects again."""
CLOSE_SECONDS = 1.0
"""Time to close a connection when the service stops."""
GROUPS_SECONDS = 300.0
"""How long the members of a user group are remembered."""
GROUP_CALLS_SECONDS = 1.5
"""Time to request the members of all user groups; a click waits for that."""

NOT_PRESENT = gettext_noop("These buttons do nothing any more: there is a newer message about the interview.")

_LOGGER = logging.getLogger(__name__)
_SILENT = logging.getLogger(f"{__name__}.socket")
_SILENT.disabled = True  # the SDK logs addresses that hold a ticket, and the content of messages

NOT_OPENED = gettext_noop("The dialog did not open. Press the button again.")

Reply = Callable[[], Awaitable[SlackResult]]
"""The call that is made after the acknowledgement."""


class SlackListener:
    """Receives the clicks on the messages of the sinks of one app, with their settings by name."""

    def __init__(self, sinks: Mapping[str, SlackConfig], inbox: Inbox) -> None:
        """Must be created in the event loop that runs it. Opens no connection."""
        config = next(iter(sinks.values()))
        assert config.app_token is not None
        self._inbox = inbox
        self._closing = asyncio.Event()
        self._places = [_Place(name, own) for name, own in sinks.items()]
        self._app = AppClient(config.app_token.get_secret_value(), config.api_url)

    async def run(self) -> None:
        """Receives until the connection is lost. Raises `SinkBroken` when Slack refuses the app-level token."""
        opened = await self._app.open_connection()
        if opened.status is not Status.OK:
            raise broken_app(opened)
        address = str(opened.data.get("url", ""))
        client = SocketModeClient(self._app.token, logger=_SILENT, web_client=self._app.client)
        try:
            client.proxy = proxy_for(address)  # the SDK reads HTTPS_PROXY but not NO_PROXY
            client.wss_uri = address
            client.socket_mode_request_listeners.append(self._received)
            async with asyncio.timeout(CONNECT_SECONDS):
                await client.connect()  # type: ignore[no-untyped-call] # the SDK has no annotation here
            self._inbox.connected()
            await self._until_lost(client)
        finally:
            await _close(client)

    async def _until_lost(self, client: SocketModeClient) -> None:
        lost_checks = 0
        while lost_checks < LOST_CHECKS_MAX and not self._closing.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCH_SECONDS):
                    await self._closing.wait()
            lost_checks = 0 if await client.is_connected() else lost_checks + 1

    async def close(self) -> None:
        """Closes the connections of all calls."""
        self._closing.set()
        await self._app.close()
        for place in self._places:
            await place.client.close()

    async def _received(self, client: AsyncBaseSocketModeClient, request: SocketModeRequest) -> None:
        """Stores the request of an envelope, acknowledges it, and replies. It is acknowledged only after the commit;
        otherwise Slack shows the user an error.
        """
        interaction = interaction_of(request.payload) if request.type == "interactive" else None
        try:
            async with asyncio.timeout(ACK_SECONDS):
                reply = None if interaction is None else await self._take(interaction)
        except Exception as error:
            _LOGGER.warning("click not stored and not acknowledged: %s", type(error).__name__)
            raise
        await client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))
        if reply is not None and (result := await reply()).status is not Status.OK:
            _LOGGER.warning("reply to a click failed: %s", result.error)

    async def _take(self, interaction: Interaction) -> Reply | None:
        """Stores the decision of a click, unless a dialog has to follow. Returns the reply to the user, if there is
        one. A click on an old message of an interview has no effect.
        """
        click = interaction.click
        places = [place for place in self._places if place.channel == interaction.channel]
        for place in places:
            known = await self._inbox.look(place.sink, click.interview_id, note_keys(click.interview_id))
            if known is None or not is_about(click, known):
                continue
            refusal = await place.deciders.refusal(click.user)
            request = request_of(click, place.sink, known, place.language)
            if refusal:
                return place.reply(click.user, refusal)
            if isinstance(request, Refusal):
                return place.reply(click.user, _text(request))
            if interaction.asks_reason:
                return lambda: place.open_dialog(interaction)
            taken = already_taken(request, await self._inbox.ask(place.sink, request), place.language)
            return None if taken is None else place.reply(click.user, _text(taken))
        return places[0].reply(click.user, places[0].language.gettext(NOT_PRESENT)) if places else None


class _Place:
    """The channel of one sink, with its client and its deciders."""

    def __init__(self, name: str, config: SlackConfig) -> None:
        assert config.token is not None
        assert config.channel is not None
        assert config.decisions is not None
        self.sink = name
        self.channel = config.channel
        self.language = language(config.language)
        self.client = BotClient(config.token.get_secret_value(), config.channel, config.api_url)
        self.deciders = Deciders(config.decisions, self.client, self.language)

    async def open_dialog(self, interaction: Interaction) -> SlackResult:
        """Opens the dialog for a reason; the user is told when that failed."""
        dialog = reason_dialog(interaction, self.language)
        result = await self.client.open_view(interaction.trigger, dialog)
        if result.status is not Status.OK:
            await self.client.post_ephemeral(interaction.click.user, self.language.gettext(NOT_OPENED))
        return result

    def reply(self, user: str, text: str) -> Reply:
        """A text that only the user sees."""
        return lambda: self.client.post_ephemeral(user, text)


class Deciders:
    """The users who may decide. The members of user groups are requested, and cached for some minutes."""

    def __init__(self, decisions: Decisions, client: BotClient, language: Language) -> None:
        self._decisions = decisions
        self._language = language
        self._client = client
        self._members: frozenset[str] = frozenset()
        self._until = 0.0

    async def refusal(self, user: str) -> str:
        """Returns why the user may not decide, as mrkdwn, `""` when the user may."""
        if user in self._decisions.deciders:
            return ""
        members = await self._members_of_groups()
        if members is None:
            return self._language.gettext("Slack did not say who may decide here. Try again in a minute.")
        if user in members:
            return ""
        who = ", ".join(messages.user_mention(one) for one in self._decisions.deciders)
        return self._language.gettext("Only {users} may decide here.").format(users=who)

    async def _members_of_groups(self) -> frozenset[str] | None:
        """Returns the members of the user groups, `None` when Slack does not return them in time."""
        now = asyncio.get_running_loop().time()
        if now < self._until or not self._decisions.groups:
            return self._members
        members: set[str] = set()
        try:
            async with asyncio.timeout(GROUP_CALLS_SECONDS):
                for group in self._decisions.groups:
                    result = await self._client.group_members(group)
                    users = result.data.get("users")
                    if result.status is not Status.OK or not isinstance(users, list):
                        return None
                    members.update(map(str, users))
        except TimeoutError:
            return None
        self._members, self._until = frozenset(members), now + GROUPS_SECONDS
        return self._members


def _text(refusal: Refusal) -> str:
    text = messages.mrkdwn(refusal.text)
    return text.replace("{user}", messages.user_mention(refusal.user))


async def _close(client: SocketModeClient) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await client.close()  # type: ignore[no-untyped-call] # the SDK has no annotation here
    except TimeoutError:
        await client.aiohttp_client_session.close()
