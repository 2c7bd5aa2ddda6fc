"""A mail server for tests: it speaks enough SMTP (RFC 5321) for `smtplib`, and keeps what it accepts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage

HOST = "127.0.0.1"


@dataclass
class MailServer:
    """`messages` are the accepted e-mails. `refuses` answers every recipient with 550."""

    port: int = 0
    refuses: bool = False
    messages: list[EmailMessage] = field(default_factory=list)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one client until it quits."""
        writer.write(b"220 mail.test\r\n")
        while line := await reader.readline():
            command = line[:4].upper()
            if command == b"DATA":
                writer.write(b"354 go ahead\r\n")
                raw = await reader.readuntil(b"\r\n.\r\n")
                self.messages.append(message_from_bytes(raw.removesuffix(b".\r\n"), policy=policy.default))
            if command == b"QUIT":
                break  # without an answer: what was accepted stays accepted
            refused = command == b"RCPT" and self.refuses
            writer.write(b"550 no such user ana@example.org\r\n" if refused else b"250 ok\r\n")
            await writer.drain()
        writer.close()


@asynccontextmanager
async def mail_server() -> AsyncIterator[MailServer]:
    """A server on a free port of this machine."""
    made = MailServer()
    server = await asyncio.start_server(made.talk, HOST, 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made
