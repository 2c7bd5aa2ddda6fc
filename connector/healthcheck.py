"""Health check for containers: `python -m connector.healthcheck PORT` exits with 0 when a service answers, else 1.

It reads no configuration and imports only the standard library, because it runs every few seconds.
"""

from __future__ import annotations

import sys
from http.client import HTTPConnection, HTTPException

PATH = "/health/live"
TIMEOUT_SECONDS = 3.0
"""Shorter than the timeout of the health check in the container files."""


def is_alive(port: int) -> bool:
    """Whether `/health/live` answers 200 on a loopback port. Never raises."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", PATH)
        return connection.getresponse().status == 200  # noqa: PLR2004 - the HTTP status OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def main() -> None:
    """Runs the command. Its only argument is the port."""
    sys.exit(0 if is_alive(int(sys.argv[1])) else 1)


if __name__ == "__main__":
    main()
