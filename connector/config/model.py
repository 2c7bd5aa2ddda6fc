"""What a configuration is once it has been read: frozen, typed, with absolute paths and hidden secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from connector.config.kinds import EventName, Secret, StoreUrl, Timezone, TrustedHost, UrlPath
from connector.errors import Problem
from connector.http import SafeUrl
from connector.registry import SinkClass
from connector.route import Route, Routes
from connector.sink import SinkConfig, Stage


class Section(BaseModel):
    """One table of the file. Unknown keys are refused, and defaults are checked like what people write."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True)


class ServerSettings(Section):
    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 = every address of this machine.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 = any free one.")
    worker_port: int | None = Field(
        default=None, ge=0, le=65535, description="Port for health and metrics of a worker; none = it opens no port."
    )
    trusted_hosts: list[TrustedHost] = Field(
        default=[], description="What the Host header of requests may say; none = anything."
    )


class StoreSettings(Section):
    url: StoreUrl = Field(
        default=SecretStr("sqlite:///data/connector.db"),
        description="sqlite:///file, or postgresql://user:password@host/name.",
    )

    @property
    def file(self) -> Path | None:
        """The absolute path of the SQLite file; `None` for PostgreSQL."""
        url = self.url.get_secret_value()
        return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


class HireflixSettings(Section):
    webhook_path: UrlPath = Field(default="/webhooks/hireflix", description="Path that Hireflix posts to.")
    webhook_secrets: list[Secret] = Field(default=[], description="Keys that webhooks may be signed with.")
    allow_unsigned: bool = Field(default=False, description="Accept webhooks that carry no signature.")
    api_url: SafeUrl = Field(default="https://api.hireflix.com/me", description="Address of the Hireflix API.")
    api_key: Secret | None = Field(default=None, description="Key of the Hireflix API.")


class DashboardSettings(Section):
    password: Secret | None = Field(default=None, description="Password of the dashboard; without one it is generated.")


class DeliverySettings(Section):
    retry_window: float = Field(
        default=1_209_600, gt=0, description="Seconds after which a delivery that keeps failing becomes a dead letter."
    )
    probe_interval: float = Field(default=300, gt=0, description="Seconds between probes of a sink that paused itself.")
    lease: float = Field(
        default=15, ge=1, description="Seconds after which another worker takes over the sinks of one that died."
    )
    stop_timeout: float = Field(default=20, ge=0, description="Seconds that a running batch may take when we stop.")


class LogSettings(Section):
    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto = for people on a terminal, else one JSON object a line."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is written."
    )


class RouteSettings(Section):
    """One `[[routes]]`; `connector.route.Route` says what the conditions mean."""

    sinks: list[str] = Field(min_length=1, description="Names of the sinks that get what matches.")
    positions: list[str] = Field(default=[], description="Ids, or patterns of names with * and ?; none = all.")
    events: list[EventName] = Field(default=[], description="Names of events; none = all.")
    stages: list[Stage] = Field(default=[], description="Stages of the interview; none = all.")
    min_score: float | None = Field(default=None, ge=0, le=5, description="Least score; no score never meets it.")
    otherwise: bool = Field(default=False, description="Only what no other route to a message sink took.")


class Settings(Section):
    """The whole file, as far as it does not depend on the types of sinks."""

    timezone: Timezone = Field(default="UTC", description="IANA time zone of dates in the workbook and on the console.")
    server: ServerSettings = ServerSettings()
    store: StoreSettings = StoreSettings()
    hireflix: HireflixSettings = HireflixSettings()
    dashboard: DashboardSettings = DashboardSettings()
    delivery: DeliverySettings = DeliverySettings()
    logs: LogSettings = LogSettings()
    defaults: dict[str, dict[str, Any]] = {}
    sinks: dict[str, dict[str, Any]] = {}
    routes: list[RouteSettings] = []


@dataclass(frozen=True, slots=True)
class SinkEntry:
    """One configured sink. `renamed_from` is the name whose queue and notes it takes over."""

    name: str
    type: str
    cls: SinkClass
    config: SinkConfig
    renamed_from: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that is configured. `sinks` are those that run, in the order of the file; `unrouted` the others, which
    no route names.

    `path` is the config file; without one `embedded` is true and the embedded default runs. `folder` is what relative
    paths count from. `warnings` tell what is legal but odd.
    """

    timezone: str
    server: ServerSettings
    store: StoreSettings
    hireflix: HireflixSettings
    dashboard: DashboardSettings
    delivery: DeliverySettings
    logs: LogSettings
    sinks: Mapping[str, SinkEntry]
    unrouted: Mapping[str, SinkEntry]
    routes: tuple[Route, ...]
    folder: Path
    path: Path | None = None
    warnings: tuple[Problem, ...] = ()

    @property
    def embedded(self) -> bool:
        return self.path is None

    @property
    def data_folder(self) -> Path:
        """Where generated secrets lie, and the store and the workbook of the embedded default."""
        return self.folder / "data"

    def routing(self) -> Routes:
        """The routes, ready to be asked."""
        return Routes(self.routes, {name: entry.cls.state for name, entry in self.sinks.items()})
