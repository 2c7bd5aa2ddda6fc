"""A pooler before a PostgreSQL server, as strict as PgBouncer in transaction mode may be. Each transaction runs on
another connection than the one before, and `DISCARD ALL` follows it. Messages are those of the PostgreSQL
documentation, "Frontend/Backend Protocol".
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import make_url

SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
PROTOCOL = 196608
ALLOWED = {"user", "database", "client_encoding", "application_name", "datestyle", "timezone"}
"""The parameters that PgBouncer takes when a client connects; it refuses all others."""
ENDS = {b"Q", b"S"}
"""Messages that the server answers with its state: a simple query, and the end of several extended ones."""
Message = tuple[bytes, bytes]


class Stream:
    """Messages on one socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Reads a number of bytes."""
        while len(self._rest) < size:
            self._receive()
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def one(self) -> Message:
        """The next message: its type and its content."""
        head = self.read(5)
        return head[:1], self.read(struct.unpack("!i", head[1:])[0] - 4)

    def some(self) -> Iterator[Message]:
        """What has arrived, once the socket can be read: all complete messages."""
        self._receive()
        while len(self._rest) >= 5 and len(self._rest) > struct.unpack("!i", self._rest[1:5])[0]:
            yield self.one()

    def send(self, *messages: Message) -> None:
        self.socket.sendall(b"".join(kind + struct.pack("!i", len(body) + 4) + body for kind, body in messages))

    def _receive(self) -> None:
        received = self.socket.recv(65536)
        if not received:
            raise ConnectionError
        self._rest += received


class Pooler:
    """Serves clients of one database, each in a thread. `url` is the address for them.

    `round_trips` counts the times that clients waited for the server.
    """

    def __init__(self, url: str) -> None:
        parts = conninfo_to_dict(url)
        self._path = f"{parts['host']}/.s.PGSQL.5432"
        self._database = str(parts["dbname"])
        self._user = str(parts["user"])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.round_trips = 0
        self._free: deque[Stream] = deque()
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        port = self._listener.getsockname()[1]
        address = make_url(url).set(host="127.0.0.1", port=port, query={})
        self.url = address.render_as_string(hide_password=False)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Ends all connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as PgBouncer does (tcp_nodelay)
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            stream = Stream(client)
            if self._welcome(stream):
                while True:
                    self._transaction(stream)

    def _welcome(self, client: Stream) -> bool:
        """Lets a client in without asking the server, as a pooler does."""
        while (code := struct.unpack("!ii", client.read(8))) and code[1] in {SSL_REQUEST, GSS_REQUEST}:
            client.socket.sendall(b"N")
        if code[1] == CANCEL_REQUEST:
            return False
        texts = client.read(code[0] - 8).rstrip(b"\0").split(b"\0")
        for name in texts[::2]:
            if name.decode() not in ALLOWED:
                text = b"SFATAL\0C08P01\0Munsupported startup parameter: " + name + b"\0\0"
                client.send((b"E", text))
                return False
        known = {"client_encoding": "UTF8", "server_version": "16.0", "standard_conforming_strings": "on"}
        settings = [(b"S", f"{name}\0{value}\0".encode()) for name, value in known.items()]
        client.send((b"R", struct.pack("!i", 0)), *settings, (b"K", struct.pack("!ii", 1, 1)), (b"Z", b"I"))
        return True

    def _transaction(self, client: Stream) -> None:
        """Sends the messages of one transaction to one connection."""
        select.select([client.socket], [], [])
        first = list(client.some())
        if not first:
            return
        server = self._taken()
        try:
            self._relay(client, server, first)
        except OSError:
            server.socket.close()  # the server ends the transaction that its client left
            raise
        server.send((b"Q", b"DISCARD ALL\0"))
        while server.one()[0] != b"Z":
            pass
        with self._lock:
            self._free.append(server)

    def _relay(self, client: Stream, server: Stream, messages: list[Message]) -> None:
        """Returns when the server is in no transaction and has answered all that the client sent."""
        asked = answered = 0
        is_idle = False
        while messages or asked > answered or not is_idle:
            for message in messages:
                if message[0] == b"X":
                    raise ConnectionError
                server.send(message)
                is_idle = False
                asked += message[0] in ENDS
                self.round_trips += message[0] in ENDS
            messages = []
            readable, _, _ = select.select([client.socket, server.socket], [], [])
            if server.socket in readable:
                for kind, body in server.some():
                    client.send((kind, body))
                    if kind == b"Z":
                        answered += 1
                        is_idle = body == b"I"
            if client.socket in readable:
                messages = list(client.some())

    def _taken(self) -> Stream:
        """The connection that was not used for the longest time, of two at least."""
        with self._lock:
            if len(self._free) > 1:
                return self._free.popleft()
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._path)
        with self._lock:
            self._open.append(connection)
        stream = Stream(connection)
        parameters = f"user\0{self._user}\0database\0{self._database}\0client_encoding\0UTF8\0\0".encode()
        connection.sendall(struct.pack("!ii", len(parameters) + 8, PROTOCOL) + parameters)
        while stream.one()[0] != b"Z":
            pass
        return stream


@contextmanager
def pooled(url: str) -> Iterator[str]:
    """The address of a pooler before the database at a URL."""
    pooler = Pooler(url)
    try:
        yield pooler.url
    finally:
        pooler.close()
