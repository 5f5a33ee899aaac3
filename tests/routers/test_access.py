"""docs/access.md: its roles are those of every route, and its tokens are taken."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import httpx2
import pytest
from fastapi import FastAPI

from process import SECRET, settings_of
from qrtrack.domain.identity import Caller, Role
from qrtrack.integrations.tokens import TokenVerifier
from qrtrack.settings import Settings
from routers.conftest import ClientOf, SignIn

PAGE = (Path(__file__).parents[2] / "docs/access.md").read_text()
ORGANISATION = UUID("01939c3e-7d2f-7c44-9a53-0c8f2b1f6a01")


@pytest.fixture
def settings(migrated_url: str, tmp_path: Path, caller: Caller) -> Settings:
    return settings_of(migrated_url, tmp_path, akselgate_organisation=caller.organisation_id)


def rows_of_roles() -> Iterator[tuple[list[str], dict[Role, bool]]]:
    """The addresses of each row, and which of the roles may."""
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and set(cells[1:]) <= {"yes", "no"}:
            operations = re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /[^`]+)`", cells[0])
            yield operations, {role: cell == "yes" for role, cell in zip(Role, cells[1:], strict=True)}


def test_every_address_for_people_stands_in_the_table_of_roles(app: FastAPI) -> None:
    for_people = {
        f"{method.upper()} {path}"
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
        if {"UserToken": []} in operation.get("security", [])
    }
    told = [operation for operations, _ in rows_of_roles() for operation in operations]
    assert len(told) == len(set(told))
    assert {operation for operation in told if "?" not in operation} == for_people


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_may_what_the_table_says(sign_in: SignIn, caller: Caller, role: Role) -> None:
    client = sign_in(Caller("somebody", caller.organisation_id, frozenset({role})))
    for operations, may in rows_of_roles():
        for operation in operations:
            method, path = operation.split(" ")
            address = re.sub(r"\{\w+\}", lambda found: "7" if found[0] != "{batch_id}" else str(uuid4()), path)
            answer = await client.request(method, address)
            lacks = answer.status_code == 403 and answer.json()["type"] == "urn:qrtrack:problem:missing-role"
            assert lacks is not may[role], (role, operation, answer.text)


def test_machines_may_call_what_the_page_says(app: FastAPI) -> None:
    told = {
        f"{method} {path}"
        for methods, path in re.findall(r"`((?:GET|POST)(?:\|POST)?) (/[^`]+)`", PAGE.split("## Machine callers")[1])
        for method in methods.split("|")
    }
    assert told == {
        f"{method.upper()} {path}"
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
        if operation.get("security") == [{"MachineSecret": []}]
    }


@pytest.mark.skipif(not (shutil.which("openssl") and shutil.which("bash")), reason="needs openssl, as the page does")
async def test_a_token_that_was_made_by_hand_is_taken(app: FastAPI, client_of: ClientOf, settings: Settings) -> None:
    [script] = re.findall(r"```sh\n(JWT_SECRET=.*?)\n```", PAGE, re.DOTALL)
    made = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f'{script}\nprintf %s "$TOKEN"'],
        env={"PATH": "/usr/bin:/bin", "JWT_SECRET": SECRET}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    async with httpx2.AsyncClient() as client:
        caller = await TokenVerifier(settings, client).verify(made.stdout)
    assert caller == Caller("test-user", ORGANISATION, frozenset({Role.MANAGER}))
