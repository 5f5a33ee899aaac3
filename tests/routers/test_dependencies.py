import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Annotated, Any
from uuid import UUID, uuid4

import httpx2
import pytest
from fastapi import Depends, FastAPI, Request

from qrtrack.domain.identity import ALLOWED, Caller, Permission, Role
from qrtrack.integrations.http import http_client
from qrtrack.integrations.tokens import TokenVerifier, sign_token
from qrtrack.routers.dependencies import allow, machine_caller
from qrtrack.routers.problems import install_problem_handlers
from qrtrack.schemas.base import Body
from qrtrack.settings import Settings
from ticking import HANG_SECONDS

ClientOf = Callable[..., httpx2.AsyncClient]

SECRET = "q8Zr4vLx0TnB7mWcYd2HsKfJp6GuEa9R"
ORGANISATION = UUID("0190a000-0000-7000-8000-00000000000a")
USER = "0190a000-0000-7000-8000-00000000000b"


class Item(Body):
    codes: list[str]


def application() -> FastAPI:
    app = FastAPI()
    install_problem_handlers(app)
    manager = Annotated[Caller, Depends(allow(Permission.MANAGE_BATCHES))]

    @app.get("/things")
    async def read(caller: manager) -> str:
        return caller.user_id

    @app.post("/things")
    async def write(caller: manager, body: Item) -> int:
        return len(body.codes)

    @app.post("/raw")
    async def raw(caller: manager, request: Request) -> int:
        return len(await request.body())

    @app.post("/cron", dependencies=[Depends(machine_caller)])
    async def cron() -> bool:
        return True

    return app


async def connect(client_of: ClientOf, **settings: Any) -> httpx2.AsyncClient:
    chosen = Settings(_env_file=None, **settings | {"jwt_secret": SECRET})
    async with http_client(timeout=HANG_SECONDS) as outside:
        runtime = SimpleNamespace(settings=chosen, tokens=TokenVerifier(chosen, outside))
    return client_of(application(), runtime)


@pytest.fixture
async def client(client_of: ClientOf) -> httpx2.AsyncClient:
    return await connect(client_of)


def bearer(*roles: Role, user_id: str = USER) -> dict[str, str]:
    token = sign_token(SECRET, organisation_id=ORGANISATION, user_id=user_id, roles=roles, hours=1)
    return {"Authorization": f"Bearer {token}"}


def header(value: str | None, encoding: str = "latin-1") -> list[tuple[bytes, bytes]]:
    return [] if value is None else [(b"Authorization", value.encode(encoding))]


def slug(response: httpx2.Response) -> str:
    return str(response.json()["type"]).removeprefix("urn:qrtrack:problem:")


async def test_a_caller_with_the_role_gets_through(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/things", headers=bearer(Role.MANAGER))
    assert (answer.status_code, answer.json()) == (200, USER)


@pytest.mark.parametrize("value", [None, "", "Bearer", "Bearer ", "Basic dTpw", "Bearer x.y.z", "Bearer \xff\xfe"])
async def test_without_a_good_token_nobody_is_known(client: httpx2.AsyncClient, value: str | None) -> None:
    answer = await client.get("/things", headers=header(value))
    assert (answer.status_code, slug(answer)) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_the_refusal_names_the_role_needed(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/things", headers=bearer(Role.OPERATOR, Role.FINANCE))
    assert (answer.status_code, slug(answer)) == (403, "missing-role")
    assert "admin or manager" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("permission", "roles"),
    [
        (Permission.PACK, {Role.OPERATOR, Role.MANAGER, Role.ADMIN}),
        (Permission.MANAGE_BATCHES, {Role.MANAGER, Role.ADMIN}),
        (Permission.DISPATCH, {Role.FINANCE, Role.ADMIN}),
        (Permission.RESOLVE_AND_REPLAY, {Role.ADMIN}),
        (Permission.DOCUMENTS_AND_PROGRESS, set(Role)),
    ],
)
def test_the_role_table_is_that_of_the_product(permission: Permission, roles: set[Role]) -> None:
    assert ALLOWED[permission] == roles
    assert set(ALLOWED) == set(Permission)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"manufacturer_org_id": str(uuid4())}, "other-organisation"),
        ({"manufacturer_org_id": "x"}, "other-organisation"),
        ({"manufacturer_org_id": 7}, "other-organisation"),
        ({"user_id": str(uuid4())}, "other-user"),
        ({"user_id": 7}, "other-user"),
        ({"user_id": ["x"]}, "other-user"),
        ({"manufacturer_org_id": str(uuid4()), "nonsense": 1}, "other-organisation"),
    ],
)
async def test_a_body_that_speaks_for_others_is_refused_before_it_is_validated(
    client: httpx2.AsyncClient, body: dict[str, Any], expected: str
) -> None:
    for path in ("/things", "/raw"):
        answer = await client.post(path, json=body, headers=bearer(Role.ADMIN))
        assert (answer.status_code, slug(answer)) == (403, expected)


@pytest.mark.parametrize("kind", ["application/json", "application/vnd.api+json", "Application/JSON; charset=utf-8"])
async def test_no_spelling_of_the_content_type_gets_around_the_check(client: httpx2.AsyncClient, kind: str) -> None:
    content = json.dumps({"codes": [], "manufacturer_org_id": str(uuid4())})
    answer = await client.post("/things", content=content, headers=bearer(Role.ADMIN) | {"Content-Type": kind})
    assert (answer.status_code, slug(answer)) == (403, "other-organisation")


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"manufacturer_org_id": str(ORGANISATION), "user_id": USER},
        {"manufacturer_org_id": str(ORGANISATION).upper(), "user_id": USER.upper()},
        {"manufacturer_org_id": None, "user_id": None},
    ],
)
async def test_a_body_that_names_the_caller_is_accepted(client: httpx2.AsyncClient, own: dict[str, Any]) -> None:
    answer = await client.post("/things", json={"codes": ["a"], **own}, headers=bearer(Role.ADMIN))
    assert (answer.status_code, answer.json()) == (200, 1)


async def test_a_user_id_that_is_no_uuid_is_compared_letter_by_letter(client: httpx2.AsyncClient) -> None:
    headers = bearer(Role.ADMIN, user_id="anna")
    assert (await client.post("/things", json={"codes": [], "user_id": "anna"}, headers=headers)).status_code == 200
    assert (await client.post("/things", json={"codes": [], "user_id": "Anna"}, headers=headers)).status_code == 403


@pytest.mark.parametrize("content", [b"[]", b"7", b"null", b"not json", b"", b"\xff", b"[" * 100_000])
async def test_a_body_that_is_not_an_object_names_no_user(client: httpx2.AsyncClient, content: bytes) -> None:
    headers = bearer(Role.ADMIN) | {"Content-Type": "application/json"}
    assert (await client.post("/raw", content=content, headers=headers)).json() == len(content)
    assert (await client.post("/things", content=content, headers=headers)).status_code in (400, 422)


async def test_an_unknown_caller_learns_nothing_about_the_body(client: httpx2.AsyncClient) -> None:
    assert (await client.post("/things", json={"nonsense": 1})).status_code == 401


@pytest.mark.parametrize("settings", [{"cron_secret": "schön-secret"}, {"worker_secret": "schön-secret"}])
async def test_a_machine_needs_one_of_the_secrets(client_of: ClientOf, settings: dict[str, str]) -> None:
    client = await connect(client_of, **settings)
    assert (await client.post("/cron", headers=header("Bearer schön-secret", "utf-8"))).status_code == 200
    for bad in ("Bearer wrong", "Bearer ", "Basic schön-secret", "Bearer schön-secret", "Bearer \xfc"):
        answer = await client.post("/cron", headers=header(bad))
        assert (answer.status_code, slug(answer)) == (401, "unauthenticated")
    assert (await client.post("/cron")).status_code == 401
    assert (await client.post("/cron", headers=bearer(Role.ADMIN))).status_code == 401


@pytest.mark.parametrize("value", ["Bearer x", "Bearer ", None])
async def test_without_any_secret_machines_are_shut_out(client: httpx2.AsyncClient, value: str | None) -> None:
    answer = await client.post("/cron", headers=header(value))
    assert (answer.status_code, slug(answer)) == (503, "unavailable")


def test_the_documentation_offers_to_sign_in() -> None:
    document = application().openapi()
    assert set(document["components"]["securitySchemes"]) == {"UserToken", "MachineSecret"}
    assert document["paths"]["/things"]["get"]["security"] == [{"UserToken": []}]
    assert document["paths"]["/cron"]["post"]["security"] == [{"MachineSecret": []}]
