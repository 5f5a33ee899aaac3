"""Downloads: answers with a file name, and exports, which are sent from a temporary file."""

import asyncio
import unicodedata
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack
from typing import Annotated, Any, BinaryIO, Concatenate, Final, ParamSpec
from urllib.parse import quote

from fastapi import Depends, Request
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from qrtrack.database import Database
from qrtrack.domain.errors import Unavailable
from qrtrack.domain.exports import FileType, NoRoomForFile
from qrtrack.domain.identity import Caller
from qrtrack.exports import ExportedFile, Exports
from qrtrack.limits.heavy_work import TooMuchWork
from qrtrack.routers.dependencies import KnownCaller, RuntimeState
from qrtrack.routers.problems import Refusal, problems
from qrtrack.runtime import Runtime

CSV: Final = "text/csv"
XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MEDIA_TYPES: Final = {FileType.CSV: f"{CSV}; charset=utf-8", FileType.XLSX: XLSX}
PART_BYTES: Final = 256 * 1024
# While a file is made, the route checks this often whether the client has hung up or the process is stopping.
LOOK_SECONDS: Final = 0.5

Asked = ParamSpec("Asked")


def attachment(name: str) -> dict[str, str]:
    """Returns the headers for a file name of letters, digits, dots, hyphens and underscores. `filename*` (RFC 6266)
    contains letters beyond ASCII; older clients get the name without accents.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    extended = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return {"Content-Disposition": f'attachment; filename="{plain}"{extended}', "Cache-Control": "private, no-store"}


def sends(media_type: str, *refusals: Refusal) -> dict[str, Any]:
    """Returns the arguments of a route that sends an export."""
    return {
        "response_class": StreamingResponse,
        "responses": problems(TooMuchWork, NoRoomForFile, *refusals) | {200: {"content": {media_type: {}}}},
    }


class Downloader:
    """Makes the export that one request asks for, and sends it."""

    def __init__(self, request: Request, runtime: Runtime, caller: Caller) -> None:
        self._request = request
        self._database = runtime.database
        self._exports = runtime.exports
        self._stopping = runtime.stopping
        self._share = caller.organisation_id

    async def send(
        self,
        export: Callable[Concatenate[Database, Exports, Asked], Coroutine[Any, Any, ExportedFile]],
        *asked: Asked.args,
        **named: Asked.kwargs,
    ) -> StreamingResponse:
        """Makes and sends the file. If the client hangs up, the export is cancelled. Raises TooMuchWork if the
        organisation has too many open exports, Unavailable if the process stops before the file is made, and the errors
        of the export.
        """
        with ExitStack() as held:
            held.enter_context(self._exports.place(self._share))
            file = await self._unless_gone(export(self._database, self._exports, *asked, **named))
            held.enter_context(file.content)
            return _Download(file, held.pop_all())

    async def _unless_gone(self, export: Coroutine[Any, Any, ExportedFile]) -> ExportedFile:
        task = asyncio.create_task(export)
        try:
            while not (await asyncio.wait([task], timeout=LOOK_SECONDS))[0]:
                if await self._request.is_disconnected():
                    raise ClientDisconnect
                if self._stopping.is_set():
                    raise Unavailable("The service is stopping: ask for the file again in a moment.")
            return task.result()
        finally:
            task.cancel()
            await asyncio.wait([task])


async def downloads(request: Request, runtime: RuntimeState, caller: KnownCaller) -> Downloader:
    # A function, because FastAPI would call the class itself, as a dependency, in a thread.
    return Downloader(request, runtime, caller)


Downloads = Annotated[Downloader, Depends(downloads)]


class _Download(StreamingResponse):
    """Frees the place and the file when the file is sent or the client hangs up."""

    def __init__(self, file: ExportedFile, held: ExitStack) -> None:
        headers = {"Content-Length": str(file.size), **attachment(file.name)}
        super().__init__(_parts(file.content), media_type=MEDIA_TYPES[file.file_type], headers=headers)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)


async def _parts(content: BinaryIO) -> AsyncIterator[bytes]:
    while part := await asyncio.to_thread(content.read, PART_BYTES):
        yield part
