"""The whole OpenAPI document is fuzzed with Schemathesis by every kind of caller, against a real server with data.

docs/proof.md says how to replay a failure, and how to go on for longer.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from accurate import DATABASE
from contract.documents import Document, operations, with_examples
from contract.seeds import Seeds, seed
from faults.processes import workers
from plant import BASE_URL
from process import SECRET, free_port
from qrtrack.domain.identity import Role
from qrtrack.settings import Settings
from treasury import PASSWORD, Treasury, open_treasury

HERE = Path(__file__).parent
WEBHOOK_TOKEN = "webhook-token-of-the-contract"
MINUTES = os.environ.get("CONTRACT_MINUTES")
# Requests of each operation in the random phases. Others than the administrator are mostly refused.
EXAMPLES = {"admin": "10"}


@dataclass(frozen=True)
class Service:
    """A server process, and what its organisation has."""

    url: str
    treasury: Treasury
    seeds: Seeds


@dataclass(frozen=True)
class Run:
    """What Schemathesis ended with and said, and the operations that were answered with 2xx."""

    status: int | None
    said: str
    document: Document
    fulfilled: set[str]


@pytest.fixture
async def service(settings: Settings, tmp_path: Path) -> AsyncIterator[Service]:
    organisation_id = uuid4()
    owners = {"accurate_databases": f"{DATABASE}={organisation_id}", "accurate_webhook_token": WEBHOOK_TOKEN}
    async with open_treasury(settings, akselgate_organisation=organisation_id, **owners) as treasury:
        seeds = await seed(treasury)
        gateway = {
            "akselgate_base_url": treasury.gateway.address,
            "akselgate_username": "qrtrack",
            "akselgate_password": PASSWORD,
            "akselgate_organisation": organisation_id,
            "akselgate_amount_scale": 0,
            "printer_networks": settings.printer_networks,
            # The seeded labels are printed with this host: another one is refused at the start.
            "public_base_url": BASE_URL,
        }
        url = settings.database_url
        assert url is not None
        with workers(url, tmp_path, **gateway, **owners) as processes:
            port = free_port()
            await processes.serve(port)
            yield Service(f"http://127.0.0.1:{port}", treasury, seeds)


def credentials(service: Service, caller: str, document: Document) -> tuple[str, str]:
    """As Schemathesis is configured, and the user. The administrator calls machines' operations with their secrets."""
    if caller in {"nobody", "machine"}:
        return header(Authorization=f"Bearer {SECRET}") if caller == "machine" else "", caller
    somebody = service.treasury.somebody(Role(caller))
    own = header(Authorization=f"Bearer {service.treasury.token(somebody)}")
    if caller == "admin":
        own += for_operations(document, "MachineSecret", Authorization=f"Bearer {SECRET}")
        own += for_operations(document, "WebhookToken", **{"X-Webhook-Token": WEBHOOK_TOKEN})
    return own, somebody.user_id


def header(**values: str) -> str:
    return "".join(f"\n[headers]\n{name} = {json.dumps(value)}\n" for name, value in values.items())


def for_operations(document: Document, scheme: str, **headers: str) -> str:
    names = [one["operationId"] for one in operations(document) if {scheme: []} in one.get("security", ())]
    values = ", ".join(f"{name} = {json.dumps(value)}" for name, value in headers.items())
    return f"\n[[operations]]\ninclude-operation-id = {json.dumps(names)}\nheaders = {{ {values} }}\n"


async def fuzz(service: Service, caller: str, folder: Path) -> Run:
    document = httpx2.get(f"{service.url}/openapi.json", trust_env=False, timeout=60).json()
    authentication, user = credentials(service, caller, document)
    service.seeds.know("user_id", user)
    dictionaries = "".join(
        f"\n[dictionaries.{name}]\nvalues = {json.dumps(values)}\n" for name, values in service.seeds.values.items()
    )
    config = (HERE / "schemathesis.toml").read_text()
    (folder / "schemathesis.toml").write_text(config + authentication + dictionaries)
    (folder / "openapi.json").write_text(json.dumps(with_examples(document, service.seeds)))
    (folder / "answered").touch()
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("schemathesis"),
        *("--config-file", "schemathesis.toml", "--no-color", "run", "openapi.json", "--url", service.url),
        *("--seed", os.environ.get("CONTRACT_SEED", "12"), "--max-examples", EXAMPLES.get(caller, "3")),
        *(("--max-time", str(60 * int(MINUTES))) if MINUTES else ()),
        cwd=folder,
        env=os.environ
        | {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE), "CONTRACT_ANSWERED": str(folder / "answered")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    answers = [line.split() for line in (folder / "answered").read_text().splitlines()]
    fulfilled = {operation for operation, status in answers if status.startswith("2")}
    return Run(process.returncode, said.decode(), document, fulfilled)


def secured_by(document: Document, *schemes: str | None) -> set[str]:
    """The operations that take one of these; None: those that answer anybody."""
    return {
        operation["operationId"]
        for operation in operations(document)
        for asked in operation.get("security", [{None: []}])
        if asked.keys() & {*schemes}
    }


@pytest.mark.parametrize("caller", ["admin", "manager", "operator", "finance", "machine", "nobody"])
async def test_every_answer_is_in_the_document(caller: str, service: Service, tmp_path: Path) -> None:
    folder = tmp_path / "fuzz"
    folder.mkdir()
    run = await fuzz(service, caller, folder)
    assert run.status == 0, run.said
    if caller == "admin":
        everything = {operation["operationId"] for operation in operations(run.document)}
        assert everything - run.fulfilled == set(), "no request was answered with 2xx: seeds.py must have a sound one"
    else:
        scheme = {"nobody": None, "machine": "MachineSecret"}.get(caller, "UserToken")
        assert run.fulfilled <= secured_by(run.document, None, scheme)
        assert run.fulfilled >= secured_by(run.document, None)
