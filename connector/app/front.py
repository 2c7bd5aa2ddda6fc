"""What a process answers over HTTP: the receiver with health and metrics, or a worker's health alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
from litestar import Litestar, Router
from litestar.middleware import DefineMiddleware

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
from connector.web.server import Front
from connector.web.shortcut import Hook

log = structlog.get_logger("connector")


def front_of(config: Config, role: Role, opened: Opened, metrics: Metrics, keys: Sequence[str]) -> Front | None:
    """The front of a process; `None` for a worker that opens no port. `keys` are the webhook secrets."""
    health = health_routes(Health(opened.store, opened.clock, list(config.sinks)), metrics)
    if role.receives:
        return _receiving(config, opened, metrics, keys, health)
    if config.server.worker_port is None:
        return None
    return Front(Litestar([health], openapi_config=None, logging_config=None))


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
    return Front(app, None if hosts else Hook(path.encode(), receiver))


def _refused(metrics: Metrics, clock: Clock) -> Callable[[str], None]:
    """Counts a refusal, and tells the log now and then."""
    refusals = Refusals()

    def refused(reason: str) -> None:
        metrics.refused(reason)
        if count := refusals.add(reason, clock.now()):
            log.warning("requests refused", reason=reason, count=count)

    return refused
