"""Runs PostgreSQL's own programs of the wheel, with connections that the program lends to them."""

import asyncio
import re
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from qrtrack.postgresql import embedded
from qrtrack.postgresql.lending import Connect, lent
from qrtrack.postgresql.schema_revision import TAKE_TURNS

Tell = Callable[[str, int], None]
"""A function that is called with the current step and the number of bytes so far."""

CHUNK_BYTES: Final = 256 * 1024
# The settings of the session come before the first object, within this many bytes.
HEAD_BYTES: Final = 2048
TRANSACTION_TIMEOUT: Final = b"SET transaction_timeout = 0;\n"
END_OF_ROWS: Final = b"\\."
# The lock makes a restore and a migration run one after the other.
BEGIN: Final = f"BEGIN;\n{TAKE_TURNS};\n".encode()


class ToolFailed(RuntimeError):
    """A program failed. The message is what the program said about the failure, or else its exit status."""


@dataclass(slots=True)
class Tools:
    """`_said` keeps the programs' last messages about failures, `tell` gets their steps. All other lines are dropped,
    since they could quote rows.
    """

    tell: Tell
    environment: Mapping[str, str] = field(default_factory=dict)
    _bytes: int = 0
    _step: str = ""
    _said: deque[str] = field(default_factory=lambda: deque(maxlen=10))

    async def run(self, name: str, *options: str) -> None:
        async with self._started(name, *options):
            pass

    async def read(self, name: str, *options: str) -> bytes:
        async with self._started(name, *options, stdout=PIPE) as process:
            assert process.stdout is not None
            return await process.stdout.read()

    async def load(
        self, archive: Path, *, has_transaction_timeout: bool, roles: tuple[bytes, bytes], then: str
    ) -> None:
        """Loads an archive and executes `then`, in one transaction. It commits only when the archive was read to its
        end, so a broken archive changes nothing.

        Uses psql: pg_restore itself would set `transaction_timeout` on servers that do not know it. `roles` has the
        role's name in the archive (quoted if needed), and its replacement.
        """
        async with self._started("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", stdin=PIPE) as psql:
            assert psql.stdin is not None
            # If psql has ended, its own message says why.
            with suppress(BrokenPipeError, ConnectionResetError):
                psql.stdin.write(BEGIN)
                async with self._started(
                    "pg_restore", "--no-owner", "--verbose", "--file=-", str(archive), stdout=PIPE
                ) as source:
                    assert source.stdout is not None
                    head = b""
                    while len(head) < HEAD_BYTES and (chunk := await source.stdout.read(CHUNK_BYTES)):
                        head += chunk
                    script = _Script(*roles)
                    head = head if has_transaction_timeout else head.replace(TRANSACTION_TIMEOUT, b"")
                    psql.stdin.write(script.renamed(head))
                    while chunk := await source.stdout.read(CHUNK_BYTES):
                        psql.stdin.write(script.renamed(chunk))
                        await psql.stdin.drain()
                    psql.stdin.write(script.rest)
                psql.stdin.write(f"\n{then}\nCOMMIT;\n".encode())
                await psql.stdin.drain()
            psql.stdin.close()

    @asynccontextmanager
    async def _started(
        self, name: str, *options: str, stdin: int = DEVNULL, stdout: int = DEVNULL
    ) -> AsyncIterator[Process]:
        """Starts a program. At the end of the block, waits until it has ended. Raises ToolFailed if it failed."""
        program, environment = embedded.tool(name)
        process = await asyncio.create_subprocess_exec(
            program, *options, stdin=stdin, stdout=stdout, stderr=PIPE, env={**environment, **self.environment}
        )
        listening = asyncio.create_task(self._listen(name, process))
        try:
            yield process
            status = await process.wait()
            await listening
            if status:
                raise ToolFailed(" ".join(self._said) or f"{name} ended with status {status}")
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            listening.cancel()

    async def _listen(self, name: str, process: Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            text = line.decode(errors="replace").strip()
            if any(mark in text for mark in ("error:", "detail:", "ERROR:", "FATAL:")):
                self._said.append(text)
            elif text.startswith(f"{name}: "):
                self._step = text.removeprefix(f"{name}: ")
                self.tell(self._step, self._bytes)

    def moved(self, count: int) -> None:
        self._bytes += count
        self.tell(self._step, self._bytes)


class _Script:
    """Replaces one role by another in statements that name roles. Rows of data stay as they are.

    `rest`: the last bytes, without a line end yet.
    """

    def __init__(self, old: bytes, new: bytes) -> None:
        self._names_role = re.compile(rb"( TO | FROM )" + re.escape(old) + rb"(?=[ ;]|$)")
        self._is_renamed, self._new = old not in (b"", new, new.strip(b'"')), new
        self._in_rows = False
        self.rest = b""

    def renamed(self, chunk: bytes) -> bytes:
        if not self._is_renamed:
            return chunk
        *lines, self.rest = (self.rest + chunk).split(b"\n")
        return b"".join(self._line(line) + b"\n" for line in lines)

    def _line(self, line: bytes) -> bytes:
        if self._in_rows:
            self._in_rows = line != END_OF_ROWS
        elif line.startswith(b"COPY ") and line.endswith(b" FROM stdin;"):
            self._in_rows = True
        elif line.startswith((b"GRANT ", b"REVOKE ", b"CREATE POLICY ")):
            return self._names_role.sub(lambda found: found[1] + self._new, line, count=1)
        return line


@asynccontextmanager
async def tools_of(connect: Connect, tell: Tell) -> AsyncIterator[Tools]:
    """Yields the programs, connected to where `connect` leads."""
    tools = Tools(tell)
    async with lent(connect, tools.moved) as tools.environment:
        yield tools
