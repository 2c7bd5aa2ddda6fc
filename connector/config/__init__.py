"""The configuration: one TOML file, overridden by a secrets directory, `.env` and the environment."""

from connector.config.lint import position_warnings
from connector.config.loading import ensure_secret, load
from connector.config.settings import (
    AlertSettings,
    Config,
    DeliverySettings,
    HireflixSettings,
    LogSettings,
    MailSettings,
    RouteSettings,
    Section,
    ServerSettings,
    Settings,
    SinkEntry,
    StoreSettings,
)

__all__ = [
    "AlertSettings",
    "Config",
    "DeliverySettings",
    "HireflixSettings",
    "LogSettings",
    "MailSettings",
    "RouteSettings",
    "Section",
    "ServerSettings",
    "Settings",
    "SinkEntry",
    "StoreSettings",
    "ensure_secret",
    "load",
    "position_warnings",
]
