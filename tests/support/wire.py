"""A relay between a process and its database. A test can cut it, also in the middle of a commit."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import make_url

from printer import own_host


class Wire:
    """The relay. `cut_after`: after a request with these bytes has reached the database, the relay cuts the connection
    instead of passing on the answer.
    """

    def __init__(self, url: str) -> None:
        self._database = make_url(url)
        self._server: asyncio.Server | None = None
        # An address of its own: while the wire is cut, nobody else can take its port.
        self._host, self._port = own_host(), 0
        self._is_cut = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.cut_after: bytes | None = None
        self._is_last = False

    @property
    def url(self) -> str:
        address = self._database.set(host=self._host, port=self._port).difference_update_query(["host", "port"])
        return address.render_as_string(hide_password=False)

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._connect, self._host, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def mend_after_cut(self) -> None:
        """Opens the relay again as soon as `cut_after` has cut it."""

        async def mend() -> None:
            await self._is_cut.wait()
            await self.mend()

        self._keep(mend())

    def cut(self) -> None:
        assert self._server is not None
        self._is_cut.set()
        self._server.close()
        self.cut_after, self._is_last = None, False
        for writer in self._writers:
            writer.transport.abort()

    async def _connect(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await self._reach_database()
        self._writers |= {to_client, to_server}
        self._keep(self._pass_on(client, to_server, is_request=True))
        self._keep(self._pass_on(server, to_client, is_request=False))

    async def _reach_database(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        folder = self._database.query.get("host")
        if isinstance(folder, str):
            return await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.{self._database.query.get('port', 5432)}")
        return await asyncio.open_connection(self._database.host, self._database.port or 5432)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_request: bool) -> None:
        try:
            while data := await reader.read(65536):
                if is_request:
                    self._is_last = self._is_last or (self.cut_after is not None and self.cut_after in data)
                elif self._is_last:
                    self.cut()
                    break
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _keep(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@asynccontextmanager
async def wire_to(url: str) -> AsyncIterator[Wire]:
    wire = Wire(url)
    await wire.mend()
    try:
        yield wire
    finally:
        wire.cut()
