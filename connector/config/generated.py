"""The secrets that the embedded default makes for itself."""

from __future__ import annotations

from dataclasses import replace

from connector.config.model import Config
from connector.secretsfile import WEBHOOK_SECRET, make_secret


def ensure_secret(config: Config) -> Config:
    """The configuration with a webhook secret in it: its own, else one kept in the data folder, made if need be.

    Only `serve` and `demo` call this; a command that looks never makes a file. Raises `ConfigError` when the file
    cannot be written. With a config file nothing is made.
    """
    if config.hireflix.webhook_secrets or not config.embedded:
        return config
    secret = make_secret(config.data_folder / WEBHOOK_SECRET)
    return replace(config, hireflix=config.hireflix.model_copy(update={"webhook_secrets": [secret]}))
