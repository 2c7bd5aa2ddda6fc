"""`python -m connector.emulators.google FOLDER` serves an emulated spreadsheet until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

from connector.emulators.google import GoogleEmulator


def main() -> None:
    """Serves the emulator; the key goes into FOLDER."""
    options = _options()
    if find_spec("googleapiclient") is None:  # its discovery document defines what Google accepts
        sys.exit("The emulator needs the Python module googleapiclient, which `make test` installs.")
    # A background job of a shell inherits an ignored SIGINT, and Python then raises no KeyboardInterrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with GoogleEmulator() as emulator:
        emulator.quotas.enabled = options.quotas
        emulator.latency = options.latency
        print(_example(emulator, options.folder), flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("stopped")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m connector.emulators.google", description=__doc__)
    parser.add_argument("folder", type=Path, help="where to write service-account.json")
    parser.add_argument("--quotas", action="store_true", help="Google's real quotas per minute")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds per call")
    return parser.parse_args()


def _example(emulator: GoogleEmulator, folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    account = emulator.service_account_file(folder.absolute() / "service-account.json")
    spreadsheet_id = emulator.add_spreadsheet()
    return f"""Put this into config.toml:

[sinks.hiring_sheet]
type = "google_sheets"
spreadsheet = "{spreadsheet_id}"
credentials_file = "{account}"
api_url = "{emulator.url}"

The sheet as a page: {emulator.url}/view/{spreadsheet_id}
Ctrl-C ends it."""


if __name__ == "__main__":
    main()
