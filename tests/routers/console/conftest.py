"""Visitors of the console, without a browser."""

from collections.abc import Awaitable, Callable

import httpx2
import pytest
from fastapi import FastAPI

from qrtrack.domain.identity import Caller
from qrtrack.runtime import Runtime
from qrtrack.services.console_sessions import open_session
from routers.conftest import ClientOf

Visit = Callable[[Caller], Awaitable[httpx2.AsyncClient]]


@pytest.fixture
def visit(app: FastAPI, runtime: Runtime, client_of: ClientOf) -> Visit:
    """Makes the browser of a person who is signed in."""

    async def visit(caller: Caller) -> httpx2.AsyncClient:
        client = client_of(app, runtime)
        client.cookies.set("qrtrack_session", await open_session(runtime.database, caller, station="Line 2", hours=1))
        return client

    return visit
