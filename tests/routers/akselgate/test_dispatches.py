"""Settlement dispatch over HTTP: who may, what is shown masked, and what a repeated request gets."""

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from process import SECRET
from qrtrack.domain.akselgate.faults import Fault
from qrtrack.domain.identity import Role
from qrtrack.integrations.akselgate import Akselgate
from qrtrack.sandbox import Request, Scripted
from qrtrack.schemas.base import encode_cursor
from qrtrack.services.akselgate.attempts import sweep_attempts
from qrtrack.settings import Settings
from treasury import PASSWORD, Treasury, gateway_settings, open_treasury, rows

ACCOUNTS = ("1000000001", "2000000002")
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


async def test_for_other_organisations_none_of_it_exists(treasury: Treasury) -> None:
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
    assert "set AKSELGATE_USERNAME, AKSELGATE_PASSWORD and AKSELGATE_AMOUNT_SCALE on the server" in problem["detail"]
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
async def test_in_production_money_travels_sealed_and_the_bank_can_call_back(
    settings: Settings, gateway: str, public: str, complaint: str | None
) -> None:
    """The packing line goes on meanwhile: only dispatches are refused, and nothing is recorded of them."""
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
        (Scripted(401, ECHO), "A new one is fetched: dispatch again. It says: Account ******0001 is closed"),
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
    assert detail.startswith("Nothing was sent. The gateway gave no token for the login (status 401). Compare")


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
async def test_a_mistaken_body_is_refused_and_leaves_no_row(treasury: Treasury, body: dict[str, Any]) -> None:
    sound = {"transaction_type": "CA_ESCROW", "kd_settle": "S", "transactions": rows("R1")}
    content = sound | body if body else {}
    answer = await treasury.client(treasury.finance).post("/api/akselgate/dispatch", json=content)
    assert answer.status_code in {403, 422}
    assert answer.json()["success"] is False
    assert await treasury.attempts() == []


@pytest.mark.parametrize("path", ["dispatch", "attempts/1/resolve"])
async def test_a_key_that_stands_twice_is_refused(treasury: Treasury, path: str) -> None:
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
async def test_a_repeated_key_gets_the_first_answer_whatever_it_was(
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


async def test_a_batch_that_was_refused_before_any_effect_leaves_no_key(treasury: Treasury) -> None:
    await treasury.dispatch("S1", rows("R1"))
    assert (await treasury.dispatch("S2", rows("R1"), key="K")).status_code == 409
    assert (await treasury.dispatch("S2", rows("R2"), key="K")).status_code == 200


async def test_while_the_first_is_on_its_way_its_key_is_in_use(treasury: Treasury) -> None:
    answers: list[Any] = []

    async def again(_request: Request) -> None:
        answers.append(await treasury.dispatch(key="K"))

    treasury.gateway.on_insert = again
    assert (await treasury.dispatch(key="K")).status_code == 200
    assert (answers[0].status_code, answers[0].json()["type"]) == (409, "urn:qrtrack:problem:idempotency-key-in-use")
    assert len(treasury.gateway.requests) == 1


async def test_a_key_whose_process_died_is_answered_once_the_sweeper_has_judged(treasury: Treasury) -> None:
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


async def test_accounts_are_whole_on_the_attempts_own_page_alone(treasury: Treasury) -> None:
    treasury.gateway.faults.append(Scripted(400, ECHO))
    with capture_logs() as logs:
        refused = await treasury.dispatch()
        attempt_id = refused.json()["log_id"]
        listed = await treasury.get("attempts")
        report = await treasury.get("report", date=today())
        page = await treasury.get(f"attempts/{attempt_id}")
        invalid = await treasury.dispatch("S3", rows("R1", debitAccount="1000000001x"))
    shown = refused.text + listed.text + report.text + invalid.text + repr(logs)
    assert all(account not in shown for account in ACCOUNTS)
    assert refused.json()["message"] == "Account ******0001 is closed"
    assert listed.json()["attempts"][0]["message"] == "Account ******0001 is closed"
    assert all(account in page.text for account in ACCOUNTS)
    assert PASSWORD not in shown + page.text
    assert treasury.runtime.post.tokens.token_of(attempt_id) not in shown


async def test_attempts_are_listed_newest_first_filtered_and_paged(treasury: Treasury) -> None:
    treasury.gateway.faults.extend([Fault.REJECT, Fault.NONE, Fault.ERROR])
    for name in ("A", "A", "B"):
        await treasury.dispatch(name, rows(f"{name}1"))
    found = (await treasury.get("attempts")).json()["attempts"]
    assert [(row["kd_settle"], row["attempt_number"], row["outcome"]) for row in found] == [
        ("B", 1, "unknown"),
        ("A", 2, "accepted"),
        ("A", 1, "rejected"),
    ]
    assert [row["is_open"] for row in found] == [True, True, False]
    filters: list[tuple[dict[str, Any], int]] = [
        ({"kd_settle": "A"}, 2),
        ({"is_latest": 1}, 2),
        ({"outcome": "unknown"}, 1),
        ({"transaction_type": "ESCROW_BILLER_PL"}, 0),
        ({"kd_settle": "A", "is_latest": 0}, 1),
    ]
    for query, count in filters:
        assert len((await treasury.get("attempts", **query)).json()["attempts"]) == count
    first = (await treasury.get("attempts", limit=2)).json()
    second = (await treasury.get("attempts", limit=2, cursor=first["next_cursor"])).json()
    assert [row["log_id"] for row in first["attempts"] + second["attempts"]] == [row["log_id"] for row in found]
    assert second["next_cursor"] is None
    assert (await treasury.get("attempts", is_latest=2)).status_code == 422


async def test_the_page_of_an_attempt_shows_rows_callbacks_and_events(treasury: Treasury) -> None:
    attempt_id = (await treasury.dispatch(transactions=rows("R1", "R2", "R3"))).json()["log_id"]
    await treasury.call_back(attempt_id, "R1")
    await treasury.call_back(attempt_id, "ELSEWHERE")
    page = (await treasury.get(f"attempts/{attempt_id}", limit=2)).json()
    assert [(row["reference_number"], row["callback_state"]) for row in page["rows"]] == [
        ("R1", "ok"),
        ("R2", "missing"),
    ]
    assert [(entry["reference_number"], entry["result_code"]) for entry in page["callbacks"]] == [("R1", "00")]
    assert [event["kind"] for event in page["events"]] == ["unknown_reference"]
    token = treasury.runtime.post.tokens.token_of(attempt_id)
    sent = treasury.gateway.requests[0].body.decode()
    assert page["attempt"]["request_payload"] == sent.replace(token, f"{attempt_id}-***") != sent
    assert page["rows"][0]["amount"] == "150000"
    more = (await treasury.get(f"attempts/{attempt_id}", limit=2, cursor=page["next_cursor"])).json()
    assert [row["reference_number"] for row in more["rows"]] == ["R3"]
    assert more["attempt"]["request_payload"] is None
    assert (await treasury.get("attempts/999999")).status_code == 404
    beyond = await treasury.get(f"attempts/{attempt_id}", cursor=encode_cursor(2**63 - 1))
    assert (beyond.status_code, beyond.json()["rows"]) == (200, [])


async def test_of_what_was_never_sent_every_answer_has_no_status(treasury: Treasury) -> None:
    await treasury.gateway.stop()
    told = (await treasury.dispatch()).json()
    listed = (await treasury.get("attempts")).json()["attempts"][0]
    page = (await treasury.get(f"attempts/{told['log_id']}")).json()["attempt"]
    shown = [(one["outcome"], one["status_code"]) for one in (told, listed, page)]
    assert shown == [("not_sent", None)] * 3
    assert (await treasury.attempts())[0].status_code_res == "unknown"


async def test_nobody_who_looks_at_an_attempt_can_report_on_it_in_the_banks_name(treasury: Treasury) -> None:
    """The gateway repeats the callback address in its answer, which comes after the sweeper too."""
    next_id = (await treasury.sent("R0")) + 1
    token = treasury.runtime.post.tokens.token_of(next_id)
    said = json.dumps({"responseMessage": f"Cannot call {token}", "echo": [token]}).encode()

    async def sweep(_request: Request) -> None:
        await treasury.age(3600)
        await sweep_attempts(treasury.runtime.database)

    for is_late in (False, True):
        treasury.gateway.faults.append(Scripted(400, said))
        treasury.gateway.on_insert = sweep if is_late else None
        answer = await treasury.dispatch("S2", rows("R1"))
        page = await treasury.get(f"attempts/{answer.json()['log_id']}")
        listed = await treasury.get("attempts")
        assert "***" in page.text
        assert token[-64:] not in answer.text + page.text + listed.text


OUTCOMES = ("accepted", "unknown", "sending", "rejected", "not_sent")


def today() -> str:
    return datetime.now(UTC).astimezone(ZoneInfo("Asia/Jakarta")).date().isoformat()


async def test_the_report_of_a_day_adds_up(treasury: Treasury) -> None:
    treasury.gateway.faults.extend([Fault.NONE, Fault.REJECT, Fault.ERROR])
    attempt_id = (await treasury.dispatch("A", rows("R1", "R2", "R3", amount="10"))).json()["log_id"]
    await treasury.dispatch("B", rows("R4", amount="7"))
    unknown_id = (await treasury.dispatch("C", rows("R5", "R6", amount="9"))).json()["log_id"]
    await treasury.call_back(unknown_id, "R6")
    await treasury.call_back(attempt_id, "R1")
    await treasury.call_back(attempt_id, "R2", "51")
    report = (await treasury.get("report", date=today())).json()
    assert (report["date"], report["timezone"]) == (today(), "Asia/Jakarta")
    first, second, third = report["settlements"]
    assert first | {
        "kd_settle": "A", "sent": 1, "accepted": 1, "callbacks_ok": 1, "callbacks_failed": 1, "callbacks_missing": 1,
        "sum_in": "30", "sum_out": "30", "sums_agree": True, "sum_accepted": "30", "sum_paid": "10", "unknown": 0,
    } == first  # fmt: skip
    assert (second["rejected"], second["sum_rejected"], second["sum_in"], second["sum_out"]) == (1, "7", "0", "0")
    assert (second["callbacks_missing"], third["callbacks_missing"]) == (0, 1)
    assert (third["unknown"], third["unknown_by_age"]) == (1, {"under_1_hour": 1, "under_1_day": 0, "older": 0})
    assert (third["callbacks_ok"], third["sum_paid"], third["sum_accepted"]) == (1, "9", "0")
    totals = report["totals"]
    assert (totals["sent"], totals["sum_in"], totals["sum_out"], totals["sums_agree"]) == (3, "48", "48", True)
    assert [totals[f"sum_{outcome}"] for outcome in OUTCOMES] == ["30", "18", "0", "7", "0"]
    assert totals["unknown_by_age"] == {"under_1_hour": 1, "under_1_day": 0, "older": 0}
    await treasury.age(7200)
    ages = [
        entry["unknown_by_age"]["under_1_day"]
        for day in {today(), treasury_day(7200)}
        for entry in (await treasury.get("report", date=day)).json()["settlements"]
    ]
    assert sum(ages) == 1
    for day in ("2001-01-01", "0001-01-01", "9999-12-31"):
        assert (await treasury.get("report", date=day)).json()["settlements"] == []
    assert (await treasury.get("report", date="yesterday")).status_code == 422


@pytest.mark.parametrize(
    ("zone", "instant", "day"),
    [
        ("Asia/Jakarta", "2026-11-21 16:59:59.999+00", "2026-11-21"),
        ("Asia/Jakarta", "2026-11-21 17:00+00", "2026-11-22"),
        # The day on which clocks go back has 25 hours, and the one on which they go forward 23.
        ("Europe/Berlin", "2026-10-24 21:59:59+00", "2026-10-24"),
        ("Europe/Berlin", "2026-10-24 22:00+00", "2026-10-25"),
        ("Europe/Berlin", "2026-10-25 22:59:59+00", "2026-10-25"),
        ("Europe/Berlin", "2026-10-25 23:00+00", "2026-10-26"),
    ],
)
async def test_a_day_is_that_of_the_reports_time_zone(settings: Settings, zone: str, instant: str, day: str) -> None:
    async with open_treasury(settings, report_timezone=zone) as treasury:
        await treasury.sent("R1")
        await treasury.past_the_guards(
            "UPDATE t_akselgate_transaction_log SET sent_at = CAST(CAST(:instant AS text) AS timestamptz)",
            instant=instant,
        )
        around = [date.fromisoformat(day) + timedelta(days=days) for days in (-1, 0, 1)]
        reports = [(await treasury.get("report", date=each.isoformat())).json()["settlements"] for each in around]
        assert [len(report) for report in reports] == [0, 1, 0]


def treasury_day(seconds_ago: float) -> str:
    then = datetime.fromtimestamp(datetime.now(UTC).timestamp() - seconds_ago, ZoneInfo("Asia/Jakarta"))
    return then.date().isoformat()


async def test_a_process_that_is_told_to_stop_begins_no_dispatch(treasury: Treasury) -> None:
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
