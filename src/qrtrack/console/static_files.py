"""The console's scripts and styles."""

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles

router = APIRouter(include_in_schema=False, prefix="/console/static")

# Browsers ask each time whether the file has changed (ETag), so that they use no old script after an upgrade.
HEADERS: Final = {"Cache-Control": "no-cache"}
# A web worker obeys the Content-Security-Policy of its own file. Only the worker compiles WebAssembly, so the pages
# need not allow it.
WORKER: Final = "camera-worker.js"
WORKER_POLICY: Final = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'"
FILES: Final = StaticFiles(packages=[("qrtrack.console", "static")])


@router.head("/{name}")
@router.get("/{name}")
async def get_static_file(name: str, request: Request) -> Response:
    """Returns the file, or 304 if the browser has it already."""
    answer = await FILES.get_response(name, request.scope)
    answer.headers.update(HEADERS)
    if name == WORKER:
        answer.headers["Content-Security-Policy"] = WORKER_POLICY
    return answer
