import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import text
from structlog.testing import capture_logs

from accurate import DATABASE, STRANGE_DATABASE, Accurate, event
from plant import Plant
from process import settings_of
from qrtrack.domain.errors import Unavailable
from qrtrack.domain.identity import Caller
from qrtrack.postgresql.database_checks import DatabaseUnfit
from qrtrack.postgresql.tenant_role import TenantRoleUnusable
from qrtrack.routers import health
from qrtrack.routers.problems import install_problem_handlers
from qrtrack.runtime import Runtime
from qrtrack.services import gauges
from qrtrack.settings import Settings

ClientOf = Callable[..., httpx2.AsyncClient]


class FakeDatabase:
    def __init__(self, *, is_there: bool) -> None:
        self.is_there = is_there

    async def ready(self) -> dict[str, Any]:
        if not self.is_there:
            raise Unavailable("The database does not answer.")
        return {"schema_revision": "abc"}


@pytest.fixture
def settings(migrated_url: str, tmp_path: Path, caller: Caller) -> Settings:
    return settings_of(
        migrated_url, tmp_path, accurate_databases=f"{DATABASE}={caller.organisation_id}", metrics_token=TOKEN
    )


TOKEN = "p0Zr4vLx0TnB7mWcYd2HsKfJp6GuEa9R"


@pytest.fixture
def anybody(app: FastAPI, runtime: Runtime, client_of: ClientOf) -> httpx2.AsyncClient:
    return client_of(app, runtime)


@pytest.fixture
def watcher(app: FastAPI, runtime: Runtime, client_of: ClientOf) -> httpx2.AsyncClient:
    """Prometheus, or a person of operations."""
    client = client_of(app, runtime)
    client.headers["Authorization"] = f"Bearer {TOKEN}"
    return client


@pytest.fixture
def client(client_of: ClientOf, request: pytest.FixtureRequest) -> httpx2.AsyncClient:
    app = FastAPI()
    install_problem_handlers(app)
    app.include_router(health.router)
    return client_of(app, SimpleNamespace(database=FakeDatabase(is_there=request.param)))


@pytest.mark.parametrize("client", [True, False], indirect=True)
async def test_liveness_does_not_depend_on_the_database(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"success": True, "status": "alive"})


async def test_with_its_database_the_service_is_ready(watcher: httpx2.AsyncClient) -> None:
    answer = (await watcher.get("/readyz")).json()
    assert answer.pop("accurate")["sources"] == []
    assert set(answer.pop("oldest_queued_seconds").values()) == {None}
    assert answer == {
        "success": True,
        "status": "ready",
        "database": "ok",
        "schema": "ok",
        "loop_silent_seconds": None,
        "workers_alive": 0,
        "dispatches_unknown": 0,
    }


async def test_other_troubles_are_shown_but_do_not_change_readiness(
    watcher: httpx2.AsyncClient, runtime: Runtime, plant: Plant
) -> None:
    accurate = Accurate(runtime)
    await accurate.send(event(), event(databaseId=STRANGE_DATABASE), event(databaseId=None))
    await plant.work("webhook_event")
    await plant.sql("UPDATE accurate_sources SET last_event_at = now() - interval '9 days'")
    await plant.submit(await plant.batch(10))
    await plant.sql("UPDATE qr_reverse_jobs SET run_at = now() - interval '3 hours'")
    runtime.activity.polled = time.monotonic() - 600
    answer = await watcher.get("/readyz")
    said = answer.json()
    assert answer.status_code == 200
    assert said["loop_silent_seconds"] >= 600
    assert said["oldest_queued_seconds"]["reverse_job"] >= 3 * 3600
    assert [source["silent_seconds"] // 86400 for source in said["accurate"]["sources"]] == [9]
    assert said["accurate"]["unassigned"] == [
        {"database_id": STRANGE_DATABASE, "events": 1},
        {"database_id": None, "events": 1},
    ]


@pytest.mark.parametrize("path", ["/readyz", "/metrics"])
@pytest.mark.parametrize("secret", [None, "", "wrong", TOKEN[:-1], TOKEN.lower(), "\xff"])
async def test_others_see_totals_only(
    anybody: httpx2.AsyncClient, runtime: Runtime, plant: Plant, path: str, secret: str | None
) -> None:
    await Accurate(runtime).send(event(), event("ITEM"), event(databaseId=STRANGE_DATABASE))
    await plant.work("webhook_event")
    await plant.sql("INSERT INTO accurate_subscription (id, error_message) VALUES (1, 'the contract has ended')")
    headers = [] if secret is None else [(b"authorization", f"Bearer {secret}".encode("latin-1"))]
    answer = await anybody.get(path, headers=headers)
    assert answer.status_code == 200
    for told in (f'database_id="{DATABASE}"', '"database_id"', "SALES_INVOICE", "ITEM", "the contract has ended"):
        assert told not in answer.text
    if path == "/readyz":
        accurate = answer.json()["accurate"]
        assert (accurate["unassigned_events"], accurate["dead"]) == (1, 0)
        assert accurate["silent_seconds"] < 60
        assert "sources" not in accurate
    else:
        assert 'qrtrack_webhook_silence_seconds{database_id="",type=""}' in answer.text
        assert "qrtrack_webhooks_unassigned 1.0" in answer.text


@pytest.mark.parametrize("path", ["/readyz", "/metrics"])
@pytest.mark.parametrize("name", ["metrics_token", "cron_secret", "worker_secret"])
async def test_a_secret_of_machines_shows_databases_and_types(
    anybody: httpx2.AsyncClient, runtime: Runtime, plant: Plant, path: str, name: str
) -> None:
    secrets = {"metrics_token": "", "cron_secret": "", "worker_secret": ""} | {name: TOKEN}
    for setting, value in secrets.items():
        runtime.settings.__dict__[setting] = SecretStr(value) if value else None
    await Accurate(runtime).send(event())
    await plant.work("webhook_event")
    answer = await anybody.get(path, headers={"Authorization": f"Bearer {TOKEN}"})
    assert str(DATABASE) in answer.text
    assert "SALES_INVOICE" in answer.text


@pytest.mark.parametrize("refusal", [DatabaseUnfit, TenantRoleUnusable])
async def test_the_log_and_watchers_alone_read_the_names_of_database_and_roles(
    client_of: ClientOf, refusal: type[Unavailable]
) -> None:
    app = FastAPI()
    install_problem_handlers(app)
    app.include_router(health.router)
    settings = SimpleNamespace(metrics_token=SecretStr(TOKEN), cron_secret=None, worker_secret=None)
    database = SimpleNamespace(ready=AsyncMock(side_effect=refusal('Run: GRANT qr_tenant TO "qr_owner"')))
    client = client_of(app, SimpleNamespace(database=database, settings=settings))
    with capture_logs() as logs:
        hidden = await client.get("/readyz")
    shown = await client.get("/readyz", headers={"Authorization": f"Bearer {TOKEN}"})
    assert (hidden.status_code, hidden.json()["type"]) == (503, f"urn:qrtrack:problem:{refusal.slug}")
    assert "qr_" not in hidden.text
    assert [line["reason"] for line in logs] == ['Run: GRANT qr_tenant TO "qr_owner"']
    assert (shown.status_code, shown.json()["detail"]) == (503, 'Run: GRANT qr_tenant TO "qr_owner"')


async def test_a_busy_pool_does_not_change_readiness(
    watcher: httpx2.AsyncClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "READ_SECONDS", 0.2)
    async with AsyncExitStack() as held:
        for _ in range(runtime.settings.database_pool_size):
            _ = await held.enter_async_context(runtime.database.engine.begin())
        answer = await watcher.get("/readyz")
    assert (answer.status_code, answer.json()["database"]) == (200, "ok")


async def test_details_that_cannot_be_read_are_left_out(
    watcher: httpx2.AsyncClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "READ_SECONDS", 0.2)
    async with runtime.database.engine.begin() as blocker:
        await blocker.execute(text("LOCK TABLE qr_reverse_jobs IN ACCESS EXCLUSIVE MODE"))
        answer = await watcher.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["accurate"] is None
    assert answer.json()["oldest_queued_seconds"] is None


async def test_slow_details_do_not_delay_readiness_and_come_with_the_next_answer(
    watcher: httpx2.AsyncClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with runtime.database.engine.begin() as blocker:
        await blocker.execute(text("LOCK TABLE qr_reverse_jobs IN ACCESS EXCLUSIVE MODE"))
        with monkeypatch.context() as hurried:
            hurried.setattr(gauges, "SOON_SECONDS", 0.05)
            first = await watcher.get("/readyz")
        look = runtime.gauges._reading
        assert look is not None, "the look goes on behind the answer"
    await look
    second = await watcher.get("/readyz")
    assert (first.status_code, first.json()["accurate"]) == (200, None)
    assert second.json()["accurate"] is not None


async def test_a_defect_in_the_details_does_not_change_readiness(
    watcher: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "read_gauges", None)
    with capture_logs() as logs:
        answer = await watcher.get("/readyz")
    assert (answer.status_code, answer.json()["workers_alive"]) == (200, None)
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["the gauges could not be read"]


@pytest.mark.parametrize(
    ("revision", "problem", "said"),
    [
        ("0004_akselgate", "schema-behind", "Run: qrtrack migrate"),
        *(
            (revision, "database-unfit", f"development version from before the first release (revision {revision})")
            for revision in ("20261122_packing_line", "20261122_progress", "20261126_interrupted")
        ),
        (
            "9999_later",
            "schema-newer",
            "migrated by a newer version (revision 9999_later): install that version",
        ),
    ],
)
async def test_with_a_schema_of_another_version_readiness_says_what_to_do(
    watcher: httpx2.AsyncClient, plant: Plant, revision: str, problem: str, said: str
) -> None:
    [known] = await plant.sql("SELECT version_num FROM alembic_version")
    await plant.sql("UPDATE alembic_version SET version_num = :revision", revision=revision)
    try:
        answer = await watcher.get("/readyz")
    finally:
        await plant.sql("UPDATE alembic_version SET version_num = :known", known=known.version_num)
    assert (answer.status_code, answer.json()["type"]) == (503, f"urn:qrtrack:problem:{problem}")
    assert said in answer.json()["detail"]


@pytest.mark.parametrize("client", [False], indirect=True)
async def test_a_watcher_may_ask_with_head(client: httpx2.AsyncClient) -> None:
    assert (await client.head("/healthz")).status_code == 200
    assert (await client.head("/readyz")).status_code == 503


@pytest.mark.parametrize("client", [False], indirect=True)
async def test_without_its_database_the_service_is_not_ready(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "The database does not answer."
    assert "retry-after" in answer.headers
