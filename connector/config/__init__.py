"""The configuration: one TOML file, overlaid by the secrets directory, `.env` and the environment."""

from connector.config.generated import ensure_secret
from connector.config.lint import position_warnings
from connector.config.load import load
from connector.config.model import (
    Config,
    DashboardSettings,
    DeliverySettings,
    HireflixSettings,
    LogSettings,
    ServerSettings,
    SinkEntry,
    StoreSettings,
)

__all__ = [
    "Config",
    "DashboardSettings",
    "DeliverySettings",
    "HireflixSettings",
    "LogSettings",
    "ServerSettings",
    "SinkEntry",
    "StoreSettings",
    "ensure_secret",
    "load",
    "position_warnings",
]
