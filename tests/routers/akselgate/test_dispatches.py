"""Dispatching over HTTP: permissions, settings, invalid bodies, and repeated keys."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from process import SECRET
from qrtrack.domain.akselgate.faults import Fault
from qrtrack.domain.identity import Role
from qrtrack.integrations.akselgate import Akselgate
from qrtrack.sandbox import Request, Scripted
from qrtrack.services.akselgate.attempts import sweep_attempts
from qrtrack.settings import Settings
from treasury import Treasury, gateway_settings, open_treasury, rows

SECRETS = ("jwt_secret", "secret_key", "cron_secret")
ECHO = b'{"responseCode": "A7", "responseMessage": "Account 1000000001 is closed"}'


async def test_finance_and_admin_dispatch_and_only_admin_resolves(treasury: Treasury) -> None:
    for number, role in enumerate(Role):
        caller = treasury.somebody(role)
        may = role in {Role.FINANCE, Role.ADMIN}
        answer = await treasury.dispatch(f"S{number}", rows(f"R{number}"), caller=caller)
        assert answer.status_code == (200 if may else 403)
        for path in ("attempts", "attempts/1", "report?date=2026-11-22"):
            assert ((await treasury.get(path, caller)).status_code != 403) is may
        assert ((await treasury.resolve(1, caller=caller)).status_code != 403) is (role is Role.ADMIN)


async def test_other_organisations_get_404(treasury: Treasury) -> None:
    attempt_id = (await treasury.dispatch()).json()["log_id"]
    stranger = treasury.somebody(Role.ADMIN, uuid4())
    answers = [
        await treasury.dispatch("S2", rows("R9"), caller=stranger),
        await treasury.dispatch("S2", rows("", amount=1.5), caller=stranger),
        await treasury.get("attempts", stranger),
        await treasury.get(f"attempts/{attempt_id}", stranger),
        await treasury.get("report", stranger, date="2026-11-22"),
        await treasury.resolve(attempt_id, caller=stranger),
    ]
    assert [(answer.status_code, answer.json()["type"].rpartition(":")[2]) for answer in answers] == [
        (404, "not-found")
    ] * 6
    assert len(treasury.gateway.requests) == 1


@pytest.mark.parametrize("name", ["base_url", "username", "password", "organisation", "amount_scale"])
async def test_a_missing_setting_is_named_and_leaves_no_row(treasury: Treasury, name: str) -> None:
    setting = f"akselgate_{name}"
    treasury.runtime.settings.__dict__[setting] = None
    answer = await treasury.dispatch()
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:qrtrack:problem:gateway-not-configured")
    assert f"AKSELGATE_{name.upper()}" in answer.json()["detail"]
    assert await treasury.attempts() == []
    if name == "organisation":
        assert (await treasury.get("attempts")).status_code == 404


async def test_all_missing_settings_are_named_at_once(treasury: Treasury) -> None:
    for name in ("akselgate_username", "akselgate_password", "akselgate_amount_scale"):
        treasury.runtime.settings.__dict__[name] = None
    problem = (await treasury.dispatch()).json()
    assert problem["missing"] == ["AKSELGATE_USERNAME", "AKSELGATE_PASSWORD", "AKSELGATE_AMOUNT_SCALE"]
    assert (
        "First set AKSELGATE_USERNAME, AKSELGATE_PASSWORD and AKSELGATE_AMOUNT_SCALE on the server."
        in problem["detail"]
    )
    treasury.runtime.settings.__dict__["akselgate_username"] = "u"
    assert "set AKSELGATE_PASSWORD and AKSELGATE_AMOUNT_SCALE on" in (await treasury.dispatch()).json()["detail"]


@pytest.mark.parametrize(
    ("gateway", "public", "complaint"),
    [
        ("http://bank.example/api", "https://qrtrack.example", "AKSELGATE_BASE_URL must begin with https://"),
        ("https://bank.example/api", "http://127.0.0.1:8000", "PUBLIC_BASE_URL must be where the bank can call back"),
        ("https://bank.example/api", "https://qrtrack.example", None),
        ("http://127.0.0.1:9100", "http://127.0.0.1:8000", None),
    ],
)
async def test_production_requires_https_and_a_public_callback_address(
    settings: Settings, gateway: str, public: str, complaint: str | None
) -> None:
    """Only dispatches are refused, and no attempt is recorded; everything else works."""
    wanted = {"qrtrack_env": "production", "public_base_url": public}
    given = gateway_settings(settings, gateway, uuid4(), **wanted, **dict.fromkeys(SECRETS, SECRET))
    if complaint is None:
        assert Akselgate(given).terms().amount_scale == 0
        return
    async with open_treasury(settings, **wanted, **dict.fromkeys(SECRETS, SECRET)) as treasury:
        treasury.runtime.settings.__dict__["akselgate_base_url"] = gateway
        answer = await treasury.dispatch()
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:qrtrack:problem:gateway-not-configured")
        assert answer.json()["detail"].startswith(f"Nothing was sent. {complaint}")
        assert await treasury.attempts() == []


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        (Scripted(401, ECHO), "fetches a new one: dispatch again. It says: Account ******0001 is closed"),
        (Scripted(429, ECHO), "Dispatch again later."),
        (Fault.REDIRECT, "Compare AKSELGATE_BASE_URL on the server"),
        (Fault.REJECT, "Correct it and dispatch again. It says: The batch is not valid"),
    ],
)
async def test_a_refusal_says_what_to_do_about_it(treasury: Treasury, fault: Any, advice: str) -> None:
    treasury.gateway.faults.append(fault)
    assert advice in (await treasury.dispatch()).json()["detail"]


async def test_a_login_that_is_refused_names_the_settings(treasury: Treasury) -> None:
    treasury.gateway.login = Scripted(401, b"{}")
    detail = (await treasury.dispatch()).json()["detail"]
    assert detail.startswith("Nothing was sent. The gateway gave no token for the login (status 401). Check")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"transaction_type": "OTHER"},
        {"kd_settle": ""},
        {"kd_settle": "x" * 51},
        {"kd_settle": "a\nb"},
        {"transactions": []},
        {"transactions": {}},
        {"transactions": None},
        {"transactions": [None, 1, "x", []]},
        {"transaction": []},
        {"user_id": 5},
    ],
    ids=str,
)
async def test_an_invalid_body_is_refused_and_leaves_no_row(treasury: Treasury, body: dict[str, Any]) -> None:
    sound = {"transaction_type": "CA_ESCROW", "kd_settle": "S", "transactions": rows("R1")}
    content = sound | body if body else {}
    answer = await treasury.client(treasury.finance).post("/api/akselgate/dispatch", json=content)
    assert answer.status_code in {403, 422}
    assert answer.json()["success"] is False
    assert await treasury.attempts() == []


@pytest.mark.parametrize("path", ["dispatch", "attempts/1/resolve"])
async def test_a_repeated_json_key_is_refused(treasury: Treasury, path: str) -> None:
    answer = await treasury.client(treasury.admin).post(
        f"/api/akselgate/{path}", content=b'{"note": "a", "note": "b"}', headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:qrtrack:problem:repeated-key")


async def test_the_scale_is_that_of_the_gateway(settings: Any) -> None:
    async with open_treasury(settings, akselgate_amount_scale=2, akselgate_core="K1") as treasury:
        answer = await treasury.dispatch(transactions=rows("R1", amount="1000.5"))
        assert answer.status_code == 200
        (request,) = treasury.gateway.requests
        assert b'"amount":"1000.50"' in request.body
        assert b'"core":"K1"' in request.body


@pytest.mark.parametrize(
    ("fault", "status"), [(Fault.NONE, 200), (Fault.REJECT, 502), (Fault.ERROR, 504), ("down", 503)]
)
async def test_a_repeated_key_gets_the_first_answer_also_after_a_failure(
    treasury: Treasury, fault: Any, status: int
) -> None:
    if fault == "down":
        await treasury.gateway.stop()
    else:
        treasury.gateway.faults.append(fault)
    first = await treasury.dispatch(key="K")
    again = await treasury.dispatch(key="K")
    assert (first.status_code, again.status_code) == (status, status)
    assert again.json() == first.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["Content-Type"] == first.headers["Content-Type"]
    assert len(await treasury.attempts()) == 1
    other = await treasury.dispatch(transactions=rows("R9"), key="K")
    assert (other.status_code, other.json()["type"]) == (422, "urn:qrtrack:problem:idempotency-key-reused")


async def test_a_refusal_before_any_effect_leaves_no_idempotency_key(treasury: Treasury) -> None:
    await treasury.dispatch("S1", rows("R1"))
    assert (await treasury.dispatch("S2", rows("R1"), key="K")).status_code == 409
    assert (await treasury.dispatch("S2", rows("R2"), key="K")).status_code == 200


async def test_the_key_of_a_running_dispatch_is_in_use(treasury: Treasury) -> None:
    answers: list[Any] = []

    async def again(_request: Request) -> None:
        answers.append(await treasury.dispatch(key="K"))

    treasury.gateway.on_insert = again
    assert (await treasury.dispatch(key="K")).status_code == 200
    assert (answers[0].status_code, answers[0].json()["type"]) == (409, "urn:qrtrack:problem:idempotency-key-in-use")
    assert len(treasury.gateway.requests) == 1


async def test_a_key_whose_process_died_gets_an_answer_after_the_sweeper_ran(treasury: Treasury) -> None:
    arrived, never = asyncio.Event(), asyncio.Event()

    async def die(_request: Request) -> None:
        arrived.set()
        await never.wait()

    treasury.gateway.on_insert = die
    dead = asyncio.create_task(treasury.dispatch(key="K"))
    await arrived.wait()
    treasury.gateway.on_insert = None
    assert (await treasury.dispatch(key="K")).json()["type"] == "urn:qrtrack:problem:idempotency-key-in-use"
    await treasury.age(3600)
    await sweep_attempts(treasury.runtime.database)
    for _ in range(2):
        again = await treasury.dispatch(key="K")
        assert (again.status_code, again.headers["Idempotency-Replayed"]) == (504, "true")
        assert again.json()["type"] == "urn:qrtrack:problem:gateway-outcome-unknown"
    assert (await treasury.dispatch(transactions=rows("R9"), key="K")).status_code == 422
    assert len(treasury.gateway.requests) == 1
    never.set()
    await dead


async def test_a_stopping_process_refuses_dispatches(treasury: Treasury) -> None:
    treasury.runtime.stopping.set()
    answer = await treasury.dispatch()
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:qrtrack:problem:unavailable")
    assert await treasury.attempts() == []


def test_settings_of_the_gateway_are_checked(settings: Any) -> None:
    for name, value in [
        ("akselgate_amount_scale", 1),
        ("report_timezone", "Nowhere/Land"),
        ("akselgate_base_url", "x"),
    ]:
        with pytest.raises(ValueError, match="it must"):
            gateway_settings(settings, "http://127.0.0.1:1", uuid4(), **{name: value})
