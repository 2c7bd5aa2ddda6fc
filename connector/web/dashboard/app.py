"""Puts the routes of the dashboard together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from litestar import Router
from litestar.di import Provide
from litestar.exceptions import HTTPException, NotAuthorizedException
from litestar.openapi import OpenAPIConfig
from litestar.types import ControllerRouterHandler

from connector.config import Config
from connector.delivery.clock import Clock
from connector.errors import ConnectorError, StoreUnavailable, UsageError
from connector.store.base import Store
from connector.web.api import API, describe
from connector.web.auth import Access, authentication
from connector.web.dashboard.actions import (
    dismiss,
    erase,
    erase_preview,
    pause,
    repair,
    replay,
    resume,
    selection,
    send_sample,
    verify,
)
from connector.web.dashboard.decisions import answer_decisions, ask_decision, decisions_page
from connector.web.dashboard.deliveries import deliveries_page, delivery_page
from connector.web.dashboard.events import event_page, raw_event
from connector.web.dashboard.interviews import interview_page, interviews_page, search_interviews
from connector.web.dashboard.overview import overview_page
from connector.web.dashboard.pages import Pages
from connector.web.dashboard.routes import routes_page, simulate
from connector.web.dashboard.sign_in import Failures, choose_theme, sign_in, sign_in_page, sign_out, static_file
from connector.web.dashboard.sinks import audit_page, sink_page, sinks_page
from connector.web.receiver import Bodies, timed_bodies

PAGES: tuple[ControllerRouterHandler, ...] = (
    *(sign_in_page, sign_in, sign_out, choose_theme, static_file),
    *(
        overview_page,
        interviews_page,
        search_interviews,
        interview_page,
        deliveries_page,
        delivery_page,
        event_page,
        raw_event,
        sinks_page,
        sink_page,
    ),
    *(routes_page, simulate, audit_page),
    *(decisions_page, ask_decision, answer_decisions),
    *(selection, replay, dismiss, pause, resume, verify, repair, send_sample, erase_preview, erase),
)

BODY_BYTES = 128 * 1024
"""Largest body of a form or of an API request. The largest one of ours is a selection of a thousand ids, or a comment
of 5,000 characters. Parsing costs the event loop a microsecond per byte.
"""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The routes of the dashboard, and how it answers exceptions."""

    routes: list[ControllerRouterHandler]
    exception_handlers: Mapping[Any, Any]
    openapi: OpenAPIConfig


def make_dashboard(config: Config, store: Store, clock: Clock, bodies: Bodies) -> Dashboard:
    """Returns the dashboard of a process that works. `bodies` bounds the time of its requests."""
    access = Access(config, store, clock.now)
    pages = Pages(config, store, clock, access)
    failures = Failures(pages)
    return Dashboard(
        [
            Router(
                "/",
                route_handlers=PAGES,
                middleware=[timed_bodies(bodies), authentication(access)],
                dependencies={"pages": Provide(lambda: pages, sync_to_thread=False)},
                request_max_body_size=BODY_BYTES,
            ),
            Router(
                "/api",
                route_handlers=API,
                middleware=[timed_bodies(bodies), authentication(access)],
                dependencies={"pages": Provide(lambda: pages, sync_to_thread=False)},
                request_max_body_size=BODY_BYTES,
            ),
        ],
        {
            NotAuthorizedException: failures.not_signed_in,
            HTTPException: failures.http,
            StoreUnavailable: failures.store,
            UsageError: failures.usage,
            ConnectorError: failures.not_done,
            Exception: failures.unexpected,
        },
        describe(Router("/schema", route_handlers=[], middleware=[authentication(access)], include_in_schema=False)),
    )
