"""Serves the emulator until Ctrl-C: `python -m tests.emulators.google FOLDER`."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from tests.emulators.google import EMAIL, GoogleEmulator


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.emulators.google", description=__doc__)
    parser.add_argument("folder", type=Path, help="where to write service-account.json")
    parser.add_argument("--quotas", action="store_true", help="Google's real quotas per minute")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds per call")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with GoogleEmulator() as emulator:
        emulator.quotas.enabled = options.quotas
        emulator.latency = options.latency
        account = emulator.service_account_file(options.folder / "service-account.json")
        spreadsheet_id = emulator.add_spreadsheet()
        print(f"api_url          = {emulator.url}")
        print(f"credentials_file = {account}")
        print(f"client_email     = {EMAIL}")
        print(f"spreadsheet      = {spreadsheet_id}")
        print(f"look             = {emulator.url}/view/{spreadsheet_id}", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("stopped")


if __name__ == "__main__":
    main()
