"""The baseline for the receiver: a plain Litestar handler that checks the signature and stores nothing."""

from __future__ import annotations

import hmac
import sys
from base64 import b64encode

import uvicorn
from litestar import Litestar, Request, Response, post

from benchmarks.bodies import PATH, SECRET
from connector.web.server import CONNECTIONS_MAX, HEAD_BYTES

KEY = SECRET.encode()


@post(PATH, status_code=202)
async def receive(request: Request) -> Response[dict[str, str]]:
    body = await request.body()
    expected = b64encode(hmac.digest(KEY, body, "sha256")).decode()
    if not hmac.compare_digest(expected, request.headers.get("x-hireflix-signature", "")):
        return Response({"error": "signature"}, status_code=401)
    return Response({"status": "accepted"})


def main() -> None:
    app = Litestar([receive], openapi_config=None, logging_config=None)
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        loop="uvloop",
        http="h11",
        ws="none",
        limit_concurrency=CONNECTIONS_MAX,
        h11_max_incomplete_event_size=HEAD_BYTES,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )


if __name__ == "__main__":
    main()
