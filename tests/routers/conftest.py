from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

import promised
from qrtrack.domain.identity import Caller, Role
from qrtrack.integrations.tokens import sign_token
from qrtrack.main import Application
from qrtrack.runtime import Runtime

ClientOf = Callable[..., httpx2.AsyncClient]
SignIn = Callable[[Caller], httpx2.AsyncClient]


@pytest.fixture
async def client_of() -> AsyncIterator[ClientOf]:
    """Makes clients of an application in this process; `runtime` stands where the lifespan would have put it."""
    async with AsyncExitStack() as open_clients:

        def connect(app: ASGIApp, runtime: object = None) -> httpx2.AsyncClient:
            async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
                await app({**scope, "state": {"runtime": runtime}}, receive, send)

            async def hold_to_contract(answer: httpx2.Response) -> None:
                if isinstance(app, Application):
                    await promised.check(answer)

            client = httpx2.AsyncClient(
                transport=httpx2.ASGITransport(with_state),
                base_url="http://test",
                event_hooks={"response": [hold_to_contract]},
            )
            open_clients.push_async_callback(client.aclose)
            return client

        yield connect


@pytest.fixture(scope="session")
def app() -> FastAPI:
    return promised.application()


@pytest.fixture
def sign_in(app: FastAPI, runtime: Runtime, client_of: ClientOf) -> SignIn:
    """Makes a client that calls as the given user."""
    secret = runtime.settings.jwt_secret
    assert secret is not None

    def connect(caller: Caller) -> httpx2.AsyncClient:
        token = sign_token(
            secret.get_secret_value(),
            organisation_id=caller.organisation_id,
            user_id=caller.user_id,
            roles=caller.roles,
            hours=1,
        )
        client = client_of(app, runtime)
        client.headers["Authorization"] = f"Bearer {token}"
        return client

    return connect


@pytest.fixture
def client(sign_in: SignIn, caller: Caller) -> httpx2.AsyncClient:
    """The administrator of the plant."""
    return sign_in(caller)


@pytest.fixture
def operator(sign_in: SignIn, caller: Caller) -> httpx2.AsyncClient:
    """An operator of the same plant."""
    return sign_in(Caller(str(uuid4()), caller.organisation_id, frozenset({Role.OPERATOR})))


@pytest.fixture
def stranger(sign_in: SignIn) -> httpx2.AsyncClient:
    """The administrator of another organisation."""
    return sign_in(Caller(str(uuid4()), uuid4(), frozenset({Role.ADMIN})))


@pytest.fixture
def cron(app: FastAPI, runtime: Runtime, client_of: ClientOf) -> httpx2.AsyncClient:
    """A machine with the cron secret."""
    secret = runtime.settings.cron_secret
    assert secret is not None
    client = client_of(app, runtime)
    client.headers["Authorization"] = f"Bearer {secret.get_secret_value()}"
    return client
