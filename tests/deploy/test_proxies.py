"""deploy/Caddyfile and deploy/nginx.conf in front of a real service, with the real programs (make proxies)."""

import re
import shutil
import socket
import subprocess
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest

from connector.web.receiver import BODY_BYTES, CLIENT_BYTES
from tests.deploy.readers import DEPLOY
from tests.flows.process import Service
from tests.web.test_strangers import PATIENCE, answered, everything, head, signed, webhook

pytestmark = pytest.mark.proxy
TOML = '[sinks.chat]\ntype = "console"\n'


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def caddy(folder, port, receiver):
    """The command and its environment, with 1 s instead of 10 s for the test."""
    found = shutil.which("caddy")
    if found is None:
        pytest.fail("install caddy, or use `make test`, which leaves this test out")
    version = subprocess.run([found, "version"], capture_output=True, text=True, check=True).stdout
    text = (DEPLOY / "Caddyfile").read_text().replace("receiver-1:8000 receiver-2:8000", receiver)
    text = text.replace("{\n", "{\n\tadmin off\n", 1).replace("read_header 10s", "read_header 1s")
    if re.match(r"v?2\.[0-6]\b", version):
        text = text.replace("request_buffers 1MiB", "buffer_requests")  # its name before 2.7
    (folder / "Caddyfile").write_text(text)
    command = [found, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    folders = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    return command, {"PUBLIC_NAME": f"http://:{port}", **folders}


def nginx(folder, port, receiver):
    found = shutil.which("nginx")
    if found is None:
        pytest.fail("install nginx, or use `make test`, which leaves this test out")
    site = (DEPLOY / "nginx.conf").read_text().replace("server 127.0.0.1:8000;", f"server {receiver};")
    site = site.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};").replace(
        "header_timeout 10s", "header_timeout 1s"
    )
    site = re.sub(r" *ssl_certificate.*\n", "", site)
    places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{place}_temp_path {folder}/{place};\n" for place in places)
    (folder / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{site}\n}}\n"
    )
    return [found, "-p", str(folder), "-e", f"{folder}/error.log", "-c", str(folder / "nginx.conf")], {}


class Behind:
    """A service behind a proxy. `url` is the proxy's, `process` the service's."""

    def __init__(self, service, port):
        self.url = f"http://127.0.0.1:{port}"
        self.hook = f"{self.url}/webhooks/hireflix"
        self.process = service.process
        self.inside = service

    @contextmanager
    def connected(self):
        with socket.create_connection(("127.0.0.1", int(self.url.rsplit(":", 1)[1])), PATIENCE) as connection:
            yield connection


@pytest.fixture(scope="module", params=[caddy, nginx])
def proxied(request, tmp_path_factory):
    port, folder = free_port(), tmp_path_factory.mktemp("proxy")
    with Service(tmp_path_factory.mktemp("service"), TOML) as service:
        command, environ = request.param(folder, port, service.url.removeprefix("http://"))
        with (folder / "output.log").open("w") as output:
            proxy = subprocess.Popen(command, env=environ, stdout=output, stderr=output)
        try:
            behind = Behind(service, port)
            service.until(lambda: proxy.poll() is not None or status(behind.hook) == 200)
            assert proxy.poll() is None, (folder / "output.log").read_text()
            yield behind
        finally:
            proxy.terminate()
            proxy.wait(PATIENCE)


def status(url):
    try:
        return httpx.get(url, trust_env=False, timeout=PATIENCE).status_code
    except httpx.TransportError:
        return 0


def refused(behind):
    text = httpx.get(f"{behind.inside.url}/metrics", trust_env=False).text
    return set(re.findall(r'^connector_requests_refused_total\{reason="([^"]+)"\}', text, re.MULTILINE))


def test_only_the_webhooks_path_is_public(proxied):
    assert status(proxied.hook) == 200
    assert [status(proxied.url + path) for path in ("/", "/metrics", "/health/ready")] == [404, 404, 404]


def test_a_webhook_arrives_untouched(proxied):
    with proxied.connected() as client:
        client.sendall(signed(webhook("whole")))
        assert answered(client) == b"HTTP/1.1 202 Accepted"


def test_a_client_that_offers_http_2_is_answered(proxied):
    """As `curl --http2` does."""
    upgrade = [b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAMAAABkAAQAAP__"]
    with proxied.connected() as client:
        client.sendall(signed(webhook("upgrade"), *upgrade))
        assert answered(client) == b"HTTP/1.1 202 Accepted"


def test_bodies_over_the_limit_are_refused_and_other_senders_are_served(proxied):
    """A refusal that resets the connection would count as a failure, so that the proxy leaves the receiver out."""
    for number in range(20):
        with proxied.connected() as client:
            client.sendall(head(b"content-length: %d" % (2 * BODY_BYTES)))
            with suppress(OSError):
                client.sendall(b"x" * 2 * BODY_BYTES)
            assert answered(client).startswith(b"HTTP/1.1 413 ")
        with proxied.connected() as client:
            client.sendall(signed(webhook(f"large{number}")))
            assert answered(client) == b"HTTP/1.1 202 Accepted"


def test_bodies_without_a_signature_are_refused_and_other_senders_are_served(proxied):
    unsigned = b"POST /webhooks/hireflix HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % BODY_BYTES
    for number in range(20):
        with proxied.connected() as client:
            client.sendall(unsigned + b"x" * BODY_BYTES)
            assert answered(client) == b"HTTP/1.1 401 Unauthorized"
        with proxied.connected() as client:
            client.sendall(signed(webhook(f"unsigned{number}")))
            assert answered(client) == b"HTTP/1.1 202 Accepted"


def test_incomplete_bodies_stay_in_the_proxy(proxied):
    """They would count for the proxy's address, so that a body of another sender in two parts would be refused."""
    with ExitStack() as stack:
        for _ in range(CLIENT_BYTES // BODY_BYTES + 2):
            stranger = stack.enter_context(proxied.connected())
            stranger.sendall(head(b"content-length: %d" % BODY_BYTES) + b"x" * (BODY_BYTES - 1))
        whole = signed(webhook("honest"))
        client = stack.enter_context(proxied.connected())
        client.sendall(whole[:-5])
        assert status(proxied.hook) == 200
        client.sendall(whole[-5:])
        assert answered(client) == b"HTTP/1.1 202 Accepted"
        assert "overloaded" not in refused(proxied)


def test_a_request_head_that_stays_incomplete_is_ended(proxied):
    with proxied.connected() as stranger:
        stranger.sendall(b"POST /webhooks/hireflix HTTP/1.1\r\nhost:")
        assert b" 202 " not in everything(stranger)
