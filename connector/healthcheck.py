"""Whether a service on this machine lives, for a container's health check: `python -m connector.healthcheck PORT`.

Reads no configuration and imports nothing heavy, because it runs every few seconds. Exits with 0 or 1.
"""

from __future__ import annotations

import sys
from http.client import HTTPConnection, HTTPException

PATH = "/health/live"
SECONDS = 3.0
"""How long an answer may take."""


def is_alive(port: int) -> bool:
    """Whether `/health/live` answers 200 on a port of this machine."""
    connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", PATH)
        return connection.getresponse().status == 200  # noqa: PLR2004 - HTTP's own number
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def main() -> None:
    """The command: the port is its only word."""
    sys.exit(0 if is_alive(int(sys.argv[1])) else 1)


if __name__ == "__main__":
    main()
