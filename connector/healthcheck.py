"""Health check of a container: `python -m connector.healthcheck PORT` exits with 0 when a service runs there, else 1.

Reads no configuration and imports little, because it runs every few seconds.
"""

from __future__ import annotations

import sys
from http.client import HTTPConnection, HTTPException

PATH = "/health/live"
TIMEOUT_SECONDS = 3.0


def is_alive(port: int) -> bool:
    """Whether `/health/live` returns 200 on a port of this machine."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", PATH)
        return connection.getresponse().status == 200  # noqa: PLR2004 - the HTTP status OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def main() -> None:
    """Runs the command; its one argument is the port."""
    sys.exit(0 if is_alive(int(sys.argv[1])) else 1)


if __name__ == "__main__":
    main()
