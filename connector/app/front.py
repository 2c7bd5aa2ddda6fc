"""What a process answers over HTTP: the receiver with health and metrics, or a worker's health alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from litestar import Litestar, Router
from litestar.middleware import DefineMiddleware
from litestar.types import ASGIApp

from connector.app.opening import Opened
from connector.config import Config
from connector.dispatch.clock import Clock
from connector.hireflix.signature import Verifier
from connector.role import Role
from connector.web.health import Health, health_routes
from connector.web.hosts import TrustedHosts, guard
from connector.web.metrics import Metrics
from connector.web.receiver import Receiver, route_handler
from connector.web.refusals import Refusals
from connector.web.shortcut import Hook

log = structlog.get_logger("connector")


@dataclass(frozen=True, slots=True)
class Front:
    """An application, where it listens, and the hook that goes past it, if there is one."""

    app: ASGIApp
    port: int
    hook: Hook | None = None


def front_of(config: Config, role: Role, opened: Opened, metrics: Metrics, keys: Sequence[str]) -> Front | None:
    """The front of a process; `None` for a worker that opens no port. `keys` are the webhook secrets."""
    health = health_routes(Health(opened.store, opened.clock, list(config.sinks)), metrics)
    if role.receives:
        return _receiving(config, opened, metrics, keys, health)
    port = config.server.worker_port
    return None if port is None else Front(Litestar([health], openapi_config=None, logging_config=None), port)


def _receiving(config: Config, opened: Opened, metrics: Metrics, keys: Sequence[str], health: Router) -> Front:
    path, hosts = config.hireflix.webhook_path, config.server.trusted_hosts
    refused = _refused(metrics, opened.clock)
    receiver = Receiver(
        opened.store, Verifier(keys), opened.clock.now, refused, allow_unsigned=config.hireflix.allow_unsigned
    )
    app = Litestar(
        [route_handler(path, receiver), health],
        openapi_config=None,
        middleware=[DefineMiddleware(guard, trusted=TrustedHosts(hosts), refused=refused)] if hosts else [],
        logging_config=None,
    )
    # trusted hosts are the framework's to check, so that then nothing goes past it
    return Front(app, config.server.port, None if hosts else Hook(path.encode(), receiver))


def _refused(metrics: Metrics, clock: Clock) -> Callable[[str], None]:
    """Counts a refusal, and tells the log now and then."""
    refusals = Refusals()

    def refused(reason: str) -> None:
        metrics.refused(reason)
        if count := refusals.add(reason, clock.now()):
            log.warning("requests refused", reason=reason, count=count)

    return refused
