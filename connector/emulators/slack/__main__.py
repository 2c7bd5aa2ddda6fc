"""`python -m connector.emulators.slack` serves an emulated workspace until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import threading
import time

from connector.emulators.slack.server import SlackEmulator


def main() -> None:
    argparse.ArgumentParser(prog="python -m connector.emulators.slack", description=__doc__).parse_args()
    with SlackEmulator(time.time) as emulator, contextlib.suppress(KeyboardInterrupt):
        emulator.limits = True
        channel = emulator.add_channel("recruiting")
        print(f"{_example(emulator, channel)}\nThe channel as a page: {emulator.url}/view/{channel}\nCtrl-C ends it.")
        threading.Event().wait()


def _example(emulator: SlackEmulator, channel: str) -> str:
    return f"""Put this into config.toml:

[sinks.recruiting]
type = "slack"
token = "{emulator.token}"
channel = "{channel}"
api_url = "{emulator.api_url}"
"""


if __name__ == "__main__":
    main()
