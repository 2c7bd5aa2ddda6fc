"""A real receiver on loopback that verifies requests by the Standard Webhooks specification."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field

from aiohttp import web

from connector.emulators.server import EmulatorServer


@dataclass(frozen=True)
class Request:
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str = "thank you"


class WebhookReceiver(EmulatorServer):
    """Keeps every request in `requests` and answers with `reply`."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self.reply = Reply()

    def build(self, app: web.Application) -> None:
        app.router.add_route("*", "/{path:.*}", self._take)

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        with self.lock:
            headers = {name.lower(): value for name, value in request.headers.items()}
            self.requests.append(Request(headers, body))
            return web.Response(status=self.reply.status, headers=self.reply.headers, text=self.reply.body)


def signed_by(secret: str, request: Request) -> bool:
    """Whether any of the request's signatures was made with `secret`, by code that is independent of the sink's."""
    key = base64.b64decode(secret.split("_", 1)[1])
    mac = hmac.new(key, digestmod=hashlib.sha256)
    mac.update(request.headers["webhook-id"].encode() + b"." + request.headers["webhook-timestamp"].encode() + b".")
    mac.update(request.body)
    wanted = "v1," + base64.b64encode(mac.digest()).decode()
    return wanted in request.headers["webhook-signature"].split(" ")


def whsec(seed: str) -> str:
    return "whsec_" + base64.b64encode(hashlib.sha256(seed.encode()).digest()).decode()
