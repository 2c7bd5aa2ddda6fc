"""The configuration: the merged values of its sources, the settings with types, defaults and checks, and the result."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from connector.errors import Problem
from connector.hireflix import API_URL, EVENT_NAMES, EnrichedField
from connector.http import SafeUrl
from connector.languages import ENGLISH, language
from connector.registry import SinkClass
from connector.routing import Route, Routes
from connector.sink import SinkConfig, Stage

Tree: TypeAlias = dict[str, Any]
"""A table; its values are tables, lists or scalars."""
Keys: TypeAlias = tuple[str | int, ...]
"""The path to a value in a tree, through tables and lists."""
PREFIX = "CONNECTOR_"
DELIMITER = "__"
"""Separates the names of tables in a variable: port of [server] is CONNECTOR_SERVER__PORT."""
_RESERVED_PATHS = (
    "/health", "/metrics", "/api", "/schema", "/sign-in", "/sign-out", "/static", "/interviews", "/deliveries",
    "/decisions", "/events", "/sinks", "/routes", "/audit", "/actions", "/theme",
)  # fmt: skip
"""Paths that the connector serves itself."""
_SQLITE = "sqlite:///"
SECONDS_MAX = 10 * 365 * 86_400
"""Ten years. A longer time is a mistake, and a time far in the future cannot be stored."""
DAYS_MAX = 3650
"""Ten years."""
PASSWORD_MIN = 12
"""Characters of a configured password. NIST SP 800-63B asks for 8 at least; this one is used by several people."""


@dataclass(frozen=True, slots=True)
class Raw:
    """All sources merged into one tree. `origins` maps the keys of a value to the variable that set it."""

    tree: Tree
    origins: Mapping[Keys, str]

    def origin(self, keys: Keys) -> str:
        """Returns the variable that set the value at these keys, or all values below; `""` when the file set a part."""
        for end in range(len(keys), 0, -1):
            if keys[:end] in self.origins:
                return self.origins[keys[:end]]
        origins = [self.origins.get(leaf, "") for leaf in leaves(self.tree, keys)]
        return origins[0] if origins and all(origins) else ""

    def table(self, *keys: str) -> Tree:
        """Returns the table at these keys, or an empty one."""
        found = value_at(self.tree, keys)
        return found if isinstance(found, dict) else {}

    def sinks(self) -> dict[str, Tree]:
        """Returns the tables of the sinks by name; other values are left out."""
        return {name: table for name, table in self.table("sinks").items() if isinstance(table, dict)}


def value_at(tree: object, keys: Keys) -> Any:
    """Returns the value at these keys of nested tables, or `None`."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def leaves(tree: Tree, keys: Keys = ()) -> Iterator[Keys]:
    """Yields the keys of every value at or below these keys. A list is one value."""
    value = value_at(tree, keys)
    if isinstance(value, dict) and value:
        for key in value:
            yield from leaves(tree, (*keys, key))
    elif value is not None:
        yield keys


def merged(low: Tree, high: Tree) -> Tree:
    """Merges two trees. Values of `high` override those of `low`; tables are merged key by key."""
    both = dict(low)
    for key, value in high.items():
        below = both.get(key)
        both[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return both


def nested(keys: Keys, value: Any) -> Tree:
    """Returns a tree with one value at these keys."""
    for key in reversed(keys[1:]):
        value = {key: value}
    return {str(keys[0]): value}


def decoded(text: object) -> Any:
    """Returns the list or table that a JSON text contains. Any other value is returned unchanged."""
    try:
        value = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return text
    return value if isinstance(value, list | dict) else text


SINK_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
"""No double and no trailing underscore, which would be read as the delimiter of a variable."""
SINK_NAME_MAX = 100
"""Characters of the name of a sink. PostgreSQL limits the length of a notification, which has names of sinks."""


def known_timezone(name: str) -> str:
    """Returns the IANA name itself. Raises `ValueError` when it does not exist."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: a folder of zones, such as America
        folded = {zone.casefold(): zone for zone in available_timezones()}
        close = get_close_matches(name.casefold(), folded, n=1, cutoff=0.8)
        hint = f"; did you mean {folded[close[0]]}?" if close else ""
        raise ValueError(f"must be an IANA time zone such as Europe/Madrid{hint}") from None
    return name


def known_language(code: str) -> str:
    """Returns the code of a language itself. Raises `ValueError` when it has no catalogue."""
    return language(code).code


def _secret(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value().strip()
    if not text:
        raise ValueError("must not be empty")
    return SecretStr(text)


def _url_path(path: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path):
        raise ValueError("must be a path such as /webhooks/hireflix, without a / at its end")
    if any(path == taken or path.startswith(f"{taken}/") for taken in _RESERVED_PATHS):
        raise ValueError(f"must not begin with a path of the connector: {', '.join(_RESERVED_PATHS)}")
    return path


def _trusted_host(host: str) -> str:
    if not re.fullmatch(r"\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?", host):
        raise ValueError("must be a host name such as hooks.example.org or *.example.org, without https:// and path")
    return host


def _proxy_address(address: str) -> str:
    try:
        ip_network(address)
    except ValueError:
        raise ValueError("must be an address such as 10.0.0.5, or a network such as 10.0.0.0/24") from None
    return address


def _password(secret: SecretStr) -> SecretStr:
    text = _secret(secret).get_secret_value()
    if len(text) < PASSWORD_MIN:
        raise ValueError(f"must have {PASSWORD_MIN} characters or more")
    return SecretStr(text)


def _header_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+", name):
        raise ValueError("must be the name of a header such as X-Forwarded-User")
    return name


def _store_url(secret: SecretStr) -> SecretStr:
    url = secret.get_secret_value()
    file = url.removeprefix(_SQLITE)
    is_file = url.startswith(_SQLITE) and file and file != ":memory:" and not re.match(r"~[^/]|.*[?\0]", file)
    is_server = url.startswith("postgresql://") and "\0" not in url and _is_url(url)
    if not is_file and not is_server:
        raise ValueError("must be sqlite:///path/of/a/file or postgresql://user:password@host/name")
    return secret


def _is_url(text: str) -> bool:
    try:
        urlsplit(text)
    except ValueError:  # such as an IPv6 address without its bracket
        return False
    return True


def _mail_address(address: str) -> str:
    if not re.fullmatch(r"[^@\s<>,;:\"()\[\]\\]+@[A-Za-z0-9.-]+", address):
        raise ValueError("must be an address such as ops@example.org, without a name")
    return address


def _event_name(name: str) -> str:
    close = get_close_matches(name, EVENT_NAMES, n=1, cutoff=0.8)
    if name not in EVENT_NAMES and close:
        raise ValueError(f"unknown event; did you mean {close[0]}?")
    return name


def _token_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9_-]{1,40}", name):
        raise ValueError("must be a name of a-z, 0-9, _ and -, of at most 40 characters")
    return name


Seconds = Annotated[float, Field(le=SECONDS_MAX)]
Days = Annotated[int, Field(le=DAYS_MAX)]
Timezone = Annotated[str, AfterValidator(known_timezone)]
LanguageCode = Annotated[str, AfterValidator(known_language)]
Secret = Annotated[SecretStr, AfterValidator(_secret)]
UrlPath = Annotated[str, AfterValidator(_url_path)]
Password = Annotated[SecretStr, AfterValidator(_password)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
StoreUrl = Annotated[SecretStr, AfterValidator(_store_url)]
TrustedHost = Annotated[str, AfterValidator(_trusted_host)]
ProxyAddress = Annotated[str, AfterValidator(_proxy_address)]
MailAddress = Annotated[str, AfterValidator(_mail_address)]
EventName = Annotated[str, AfterValidator(_event_name)]
TokenName = Annotated[str, AfterValidator(_token_name)]


class Section(BaseModel):
    """One table of the file. Unknown keys are refused, and defaults are checked like configured values."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True)


class ServerSettings(Section):
    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 = every address of this machine.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 = any free one.")
    worker_port: int | None = Field(
        default=None, ge=0, le=65535, description="Port of a worker for dashboard, health and metrics; none = no port."
    )
    metrics_host: str = Field(default="127.0.0.1", description="Address of metrics_port.")
    metrics_port: int | None = Field(
        default=None, ge=0, le=65535, description="Own port for /metrics and /health/ready; none = the main port."
    )
    trusted_hosts: list[TrustedHost] = Field(
        default=[], description="Names that the Host header of requests may have; none = any."
    )
    trusted_proxies: list[ProxyAddress] = Field(
        default=[], description="Addresses or networks of proxies whose X-Forwarded-For header is trusted."
    )


class StoreSettings(Section):
    url: StoreUrl = Field(
        default=SecretStr("sqlite:///data/connector.db"),
        description="sqlite:///file, or postgresql://user:password@host/name.",
    )

    @property
    def file(self) -> Path | None:
        """The path of the SQLite file; `None` for PostgreSQL."""
        url = self.url.get_secret_value()
        return Path(url.removeprefix(_SQLITE)) if url.startswith(_SQLITE) else None

    def below(self, folder: Path) -> StoreSettings:
        """The same settings with an absolute path; a relative one counts from `folder`, and `~` is the home folder."""
        if self.file is None:
            return self
        return self.model_copy(update={"url": SecretStr(f"{_SQLITE}{folder / self.file.expanduser()}")})


class HireflixSettings(Section):
    webhook_path: UrlPath = Field(default="/webhooks/hireflix", description="Path that Hireflix posts to.")
    webhook_secrets: list[Secret] = Field(default=[], description="Keys that webhooks may be signed with.")
    allow_unsigned: bool = Field(default=False, description="Accept webhooks that carry no signature.")
    tolerance_days: Days | None = Field(
        default=None, ge=1, description="Refuse webhooks whose date is longer ago than this; none = accept every date."
    )
    api_key: Secret | None = Field(
        default=None, description="API key, to read existing interviews and missed changes; none = do neither."
    )
    api_url: SafeUrl = Field(default=API_URL, description="Address of the GraphQL API.")
    reconcile_interval: Seconds = Field(
        default=3600, ge=0, description="Seconds between two comparisons with the API; 0 = only on demand."
    )
    enrich: list[EnrichedField] = Field(
        default=[], description="Fields that are read from the API for each finished interview."
    )
    enrich_per_minute: int = Field(default=30, ge=1, description="Most interviews that are read in a minute for them.")
    share_days: int = Field(
        default=365, ge=30, le=10_000, description="Days that a link of share_url is valid; it is renewed in time."
    )


class DeliverySettings(Section):
    retry_window: Seconds = Field(
        default=1_209_600, gt=0, description="Seconds after which a delivery that keeps failing becomes a dead letter."
    )
    probe_interval: Seconds = Field(
        default=300, gt=0, description="Seconds between probes of a sink that paused itself."
    )
    lease: Seconds = Field(
        default=15, ge=1, description="Seconds after which another worker takes over the sinks of a dead one."
    )
    stop_timeout: Seconds = Field(
        default=20, ge=0, description="Seconds that a running batch may take when the service stops."
    )


class RetentionSettings(Section):
    bodies_days: Days = Field(
        default=90, ge=0, description="Days after which raw bodies and personal fields of events are deleted; 0 = keep."
    )
    deliveries_days: Days = Field(
        default=30, ge=0, description="Days after which settled deliveries are deleted; 0 = keep."
    )
    attempts_days: Days = Field(default=30, ge=0, description="Days after which attempts are deleted; 0 = keep.")


class MailSettings(Section):
    """The table `[alerts.email]`."""

    host: str = Field(min_length=1, description="Name of the mail server.")
    port: int = Field(default=587, ge=1, le=65535, description="Port of the mail server.")
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="starttls (usually port 587), tls (465), or none (25, on this machine)."
    )
    username: str | None = Field(default=None, description="Name to sign in with; none = no sign-in.")
    password: Secret | None = Field(default=None, description="Password to sign in with; a secret.")
    sender: MailAddress = Field(description="Address that the e-mails come from.")
    recipients: list[MailAddress] = Field(min_length=1, description="Addresses that the e-mails go to.")


class AlertSettings(Section):
    sinks: list[str] = Field(default=[], description="Names of the sinks that show alerts.")
    oldest_age: Seconds = Field(
        default=900, gt=0, description="Seconds that a delivery may wait before it is an alert."
    )
    email: MailSettings | None = Field(
        default=None, description="Alerts that reach none of the sinks are sent by e-mail."
    )


class TokenSettings(Section):
    """One `[dashboard.tokens.NAME]`."""

    token: Password = Field(description="What the program sends as a bearer token; a secret.")
    role: Literal["view", "act"] = Field(default="view", description="act = the program may change something too.")


class DashboardSettings(Section):
    """Who may use the dashboard. Passwords are text, or Argon2id hashes that begin with `$argon2id$`."""

    enabled: bool = Field(default=True, description="Serve the dashboard.")
    password: Password | None = Field(default=None, description="Password of users who may view and act.")
    view_password: Password | None = Field(default=None, description="Password of users who may only view.")
    session_seconds: int = Field(
        default=604_800, ge=300, le=SECONDS_MAX, description="Time after which a user signs in again."
    )
    trust_header: HeaderName | None = Field(
        default=None, description="Header in which a proxy that signs users in gives their name."
    )
    trust_addresses: list[ProxyAddress] = Field(
        default=["127.0.0.1", "::1"], description="Addresses or networks of the proxies whose trust_header is trusted."
    )
    act_users: list[str] = Field(
        default=[], description="Names from trust_header that may act; * = all. The others may only view."
    )

    tokens: dict[TokenName, TokenSettings] = Field(default={}, description="Programs that use the JSON API, by name.")

    @property
    def has_sign_in(self) -> bool:
        """Whether any user can sign in."""
        return bool(self.password or self.view_password or self.trust_header)


class LogSettings(Section):
    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto = readable text on a terminal, else one JSON object per line."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level that is logged."
    )


class RouteSettings(Section):
    """One `[[routes]]`; `connector.routing.Route` says what the conditions mean."""

    sinks: list[str] = Field(min_length=1, description="Names of the sinks that get what matches.")
    positions: list[str] = Field(default=[], description="Ids, or patterns of names with * and ?; none = all.")
    events: list[EventName] = Field(default=[], description="Names of events; none = all.")
    stages: list[Stage] = Field(default=[], description="Stages of the interview; none = all.")
    min_score: float | None = Field(
        default=None, ge=0, le=5, description="Lowest score; an interview without a score never matches."
    )
    otherwise: bool = Field(default=False, description="Only what no other route to a message sink matched.")


class Settings(BaseSettings):
    """All settings, as far as they do not depend on the types of sinks. `connector.config.loading` adds the sources."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        env_prefix=PREFIX,
        env_nested_delimiter=DELIMITER,
        env_ignore_empty=True,
        env_file_encoding="utf-8-sig",
        dotenv_filtering="only_existing",
    )

    timezone: Timezone = Field(default="UTC", description="IANA time zone of dates in the workbook and on the console.")
    language: LanguageCode = Field(
        default=ENGLISH, description="Language of what recruiters read in chats, in sheets and on the dashboard."
    )
    server: ServerSettings = ServerSettings()
    store: StoreSettings = StoreSettings()
    hireflix: HireflixSettings = HireflixSettings()
    delivery: DeliverySettings = DeliverySettings()
    retention: RetentionSettings = RetentionSettings()
    alerts: AlertSettings = AlertSettings()
    dashboard: DashboardSettings = DashboardSettings()
    logs: LogSettings = LogSettings()
    defaults: dict[str, dict[str, Any]] = {}
    sinks: dict[str, dict[str, Any]] = {}
    routes: list[RouteSettings] = []

    @classmethod
    def settings_customise_sources(cls, *_: Any, **sources: Any) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the caller passes: `Settings()` holds the defaults."""
        return (sources["init_settings"],)


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
    """The loaded configuration. `sinks` are those that run, in the order of the file; `unrouted` the others, which no
    route names.

    `path` is the config file; without one `embedded` is true and the embedded default is used. Relative paths count
    from `folder`. `warnings` are about settings that are valid but probably a mistake. `origins` maps the keys of each
    value that a source sets to that source: a variable, or the name of the file.
    """

    timezone: str
    language: str
    server: ServerSettings
    store: StoreSettings
    hireflix: HireflixSettings
    delivery: DeliverySettings
    retention: RetentionSettings
    alerts: AlertSettings
    dashboard: DashboardSettings
    logs: LogSettings
    sinks: Mapping[str, SinkEntry]
    unrouted: Mapping[str, SinkEntry]
    routes: tuple[Route, ...]
    folder: Path
    path: Path | None = None
    warnings: tuple[Problem, ...] = ()
    origins: Mapping[Keys, str] = field(default_factory=dict)

    @property
    def embedded(self) -> bool:
        return self.path is None

    @property
    def data_folder(self) -> Path:
        """The folder of generated secrets, and of the store and the workbook of the embedded default."""
        return self.folder / "data"

    def routing(self) -> Routes:
        """The routes with what they need to know about the sinks."""
        return Routes(self.routes, {name: entry.cls.state for name, entry in self.sinks.items()})
