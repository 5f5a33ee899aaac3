"""The demonstration on a real server over HTTP: the main job, then Accurate's webhooks, and payments through a stand-in
bank. It compares every number with the specification.
"""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from uuid import uuid4

import httpx2
from pydantic import SecretStr
from rich.console import Console

from qrtrack.demo import accounting, bank
from qrtrack.demo.packing_line import PackingLine
from qrtrack.demo.telling import PATIENCE_SECONDS, Mismatch, Teller
from qrtrack.domain.identity import Caller, Role
from qrtrack.integrations.tokens import sign_token
from qrtrack.runtime import Runtime, open_runtime
from qrtrack.sandbox import Sandbox
from qrtrack.services.console_sessions import make_sign_in_code
from qrtrack.serving import running, server_of
from qrtrack.settings import Settings
from qrtrack.worker.loop import Worker

# The stand-in database of Accurate in this run. The settings assign it to the demonstration's organisation.
ACCURATE_DATABASE = 1 + secrets.randbelow(10**9)
PERSON = str(uuid4())
# Where `make run` serves the console.
CONSOLE = "http://127.0.0.1:8000/console"
ACCURATE_TOKEN = secrets.token_urlsafe(32)


async def run(settings: Settings) -> int:
    """Plays the demonstration. Returns the exit code: 0 if every number is as specified, or 1 after printing the number
    that is not, or that a step took too long.
    """
    console = Console(highlight=False)
    gateway = Sandbox(callback_seconds=1.0)
    await gateway.start()
    listener = socket.create_server(("127.0.0.1", 0))
    settings = _of_the_demonstration(settings, gateway, listener)
    with console.status("Starting PostgreSQL and the server …"):
        opened = open_runtime(settings)
        runtime = await opened.__aenter__()
    try:
        async with running(Worker(runtime)), _client(runtime, listener) as client:
            failure = await failure_of(_show(Teller(console, client, settings.qrtrack_data_dir / "demo")))
        code = await make_sign_in_code(runtime.database, _person(settings))
    finally:
        await gateway.stop()
        await opened.__aexit__(None, None, None)
    if failure:
        console.print(f"\n{failure}")
        return 1
    console.print(
        "\n[bold green]Everything was as promised.[/] `make run` opens the console. Within 10 minutes, sign in at:"
    )
    # The link has its own line and is never wrapped, so that people can copy it.
    console.print(f"{CONSOLE}/sign-in#{code}", soft_wrap=True)
    return 0


async def failure_of(story: Awaitable[None]) -> str | None:
    """Returns the message if a number is wrong, or if a step takes too long. The step's name was printed before."""
    try:
        await story
    except Mismatch as mismatch:
        return f"[bold red]Not as promised:[/] {mismatch}"
    except (TimeoutError, httpx2.TimeoutException):
        return (
            f"[bold red]The step above took more than {PATIENCE_SECONDS} s.[/] Run the command again when the machine "
            "is less busy."
        )
    return None


def _person(settings: Settings) -> Caller:
    """Returns a user with the roles of manager, finance officer and administrator, who may open every page."""
    assert settings.akselgate_organisation is not None
    return Caller(PERSON, settings.akselgate_organisation, frozenset({Role.MANAGER, Role.FINANCE, Role.ADMIN}))


async def _show(tell: Teller) -> None:
    folder = await PackingLine(tell).show()
    await accounting.show(tell, database_id=ACCURATE_DATABASE, token=ACCURATE_TOKEN)
    await bank.show(tell)
    tell.step("The batch's QR and its codes are in")
    for file in sorted(folder.iterdir()):
        tell.say(str(file))


def _of_the_demonstration(settings: Settings, gateway: Sandbox, listener: socket.socket) -> Settings:
    """Returns the settings without the installation's own database, accounting system, mail server, printers and bank,
    which the demonstration must not use.
    """
    organisation = uuid4()
    return settings.model_copy(
        update={
            "database_url": None,
            "public_base_url": f"http://127.0.0.1:{listener.getsockname()[1]}",
            "accurate_webhook_token": SecretStr(ACCURATE_TOKEN),
            "accurate_allowed_ips": "",
            "accurate_databases": f"{ACCURATE_DATABASE}={organisation}",
            "accurate_api_token": None,
            "accurate_forward_url": None,
            "smtp_url": None,
            "printer_networks": "127.0.0.1",
            "akselgate_base_url": gateway.address,
            "akselgate_username": "demo",
            "akselgate_password": SecretStr("demo"),
            "akselgate_organisation": organisation,
            "akselgate_amount_scale": 0,
            "akselgate_success_codes": "",
        }
    )


@asynccontextmanager
async def _client(runtime: Runtime, listener: socket.socket) -> AsyncIterator[httpx2.AsyncClient]:
    """Returns a client of the server on the listener's port. Its token has the roles of `_person`."""
    server = server_of(runtime)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    assert runtime.settings.jwt_secret is not None
    person = _person(runtime.settings)
    token = sign_token(
        runtime.settings.jwt_secret.get_secret_value(),
        organisation_id=person.organisation_id,
        user_id=person.user_id,
        roles=person.roles,
        hours=1,
        audience=runtime.settings.jwt_audience,
        issuer=runtime.settings.jwt_issuer,
    )
    try:
        async with httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{listener.getsockname()[1]}",
            headers={"Authorization": f"Bearer {token}"},
            timeout=PATIENCE_SECONDS,
            trust_env=False,
        ) as client:
            yield client
    finally:
        runtime.stopping.set()
        server.should_exit = True
        await serving
