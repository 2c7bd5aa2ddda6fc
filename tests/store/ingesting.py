"""A process that stores events until it is killed; it prints the identity of each one that was acknowledged."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from connector.store.sqlite import database
from connector.store.sqlite.store import FileConnection
from connector.store.writer import Writer
from tests.store.kit import arrival, routing_table


async def client(writer: Writer, number: int, begin: int) -> None:
    for at in range(begin, sys.maxsize):
        one = arrival(interview=f"i{number}", at=at)
        await writer.offer(*one)
        print(one.reading.identity.replace("\t", "|"), flush=True)


async def main(path: Path, begin: int) -> None:
    connection = FileConnection(path, database.connect(path))
    writer = Writer(connection, routing_table(chat=False, sheet=True), lambda plan: None)
    await asyncio.gather(*(client(writer, number, begin) for number in range(16)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
