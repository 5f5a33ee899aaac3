"""The finance department of one organisation: a gateway on a real socket, and helpers to dispatch to it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import httpx2
from sqlalchemy import text

import promised
from process import delete_rows
from qrtrack.domain.akselgate.faults import Fault
from qrtrack.domain.identity import Caller, Role
from qrtrack.integrations.tokens import sign_token
from qrtrack.runtime import Runtime, open_runtime
from qrtrack.sandbox import Sandbox
from qrtrack.settings import Settings

REPORT_ZONE = ZoneInfo("Asia/Jakarta")
PASSWORD = "pa55-of-the-gateway"
# Long enough for a request on a busy machine; a test that plays a silent gateway shortens it.
DEADLINE = 60


def rows(*references: str, **changes: Any) -> list[dict[str, Any]]:
    return [
        {
            "debitAccount": "1000000001",
            "creditAccount": "2000000002",
            "amount": "150000",
            "description": "Escrow",
            "referenceNumber": reference,
        }
        | changes
        for reference in references
    ]


def report_day(seconds_ago: float = 0) -> str:
    """Returns the date in REPORT_TIMEZONE, so many seconds ago."""
    return (datetime.now(REPORT_ZONE) - timedelta(seconds=seconds_ago)).date().isoformat()


@dataclass
class Treasury:
    """One organisation with an account at the gateway. `finance` sends, `admin` resolves."""

    runtime: Runtime
    gateway: Sandbox
    organisation_id: UUID
    stack: AsyncExitStack
    finance: Caller = field(init=False)
    admin: Caller = field(init=False)

    def __post_init__(self) -> None:
        self.finance = self.somebody(Role.FINANCE)
        self.admin = self.somebody(Role.ADMIN)

    def somebody(self, role: Role, organisation_id: UUID | None = None) -> Caller:
        return Caller(str(uuid4()), organisation_id or self.organisation_id, frozenset({role}))

    def client(self, caller: Caller | None = None) -> httpx2.AsyncClient:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await promised.application()({**scope, "state": {"runtime": self.runtime}}, receive, send)

        client = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app),
            base_url="http://test",
            event_hooks={"response": [promised.check]},
        )
        if caller is not None:
            client.headers["Authorization"] = f"Bearer {self.token(caller)}"
        self.stack.push_async_callback(client.aclose)
        return client

    def token(self, caller: Caller) -> str:
        secret = self.runtime.settings.jwt_secret
        assert secret is not None
        return sign_token(
            secret.get_secret_value(),
            organisation_id=caller.organisation_id,
            user_id=caller.user_id,
            roles=caller.roles,
            hours=1,
        )

    async def dispatch(
        self,
        kd_settle: str = "STL1",
        transactions: Sequence[Any] | None = None,
        *,
        kind: str = "CA_ESCROW",
        caller: Caller | None = None,
        key: str | None = None,
    ) -> httpx2.Response:
        body = {
            "transaction_type": kind,
            "kd_settle": kd_settle,
            "transactions": rows("REF1", "REF2") if transactions is None else transactions,
        }
        headers = {} if key is None else {"Idempotency-Key": key}
        client = self.client(caller or self.finance)
        return await client.post("/api/akselgate/dispatch", json=body, headers=headers)

    async def sent(self, *references: str, fault: Fault = Fault.NONE, kd_settle: str = "STL1") -> int:
        """Dispatches these references and returns the id of the attempt."""
        self.gateway.faults.append(fault)
        answer = await self.dispatch(kd_settle, rows(*references or ("REF1", "REF2")))
        return int(answer.json()["log_id"])

    async def get(self, path: str, caller: Caller | None = None, **query: Any) -> httpx2.Response:
        return await self.client(caller or self.finance).get(f"/api/akselgate/{path}", params=query)

    async def resolve(
        self, attempt_id: int, outcome: str = "not_sent", caller: Caller | None = None
    ) -> httpx2.Response:
        body = {"outcome": outcome, "note": "Ms Sari of the bank, by telephone"}
        client = self.client(caller or self.admin)
        return await client.post(f"/api/akselgate/attempts/{attempt_id}/resolve", json=body)

    async def call_back(
        self, attempt_id: int, reference: str, result: str = "00", *, bank_reference: str = "B1"
    ) -> httpx2.Response:
        query = urlencode({"ref": reference, "rescore": result, "rescoreref": bank_reference})
        token = self.runtime.dispatcher.tokens.token_of(attempt_id)
        return await self.client().get(f"/webhook/akselgate/callback/{token}?{query}")

    async def attempts(self) -> Sequence[Any]:
        return await self.sql("SELECT * FROM t_akselgate_transaction_log ORDER BY id")

    async def events(self, *kinds: str) -> list[str]:
        found = await self.sql("SELECT kind FROM t_akselgate_events ORDER BY id")
        return [row.kind for row in found if not kinds or row.kind in kinds]

    async def states(self) -> list[tuple[str, str, bool]]:
        """Returns reference, callback state and lock of every row, oldest first."""
        found = await self.sql(
            "SELECT reference_number, callback_state, locked FROM t_akselgate_transaction_rows"
            " ORDER BY attempt_id, row_number"
        )
        return [(row.reference_number, row.callback_state, row.locked) for row in found]

    async def age(self, seconds: float) -> None:
        """Moves the sending time of every attempt this far into the past."""
        await self.past_the_guards(
            "UPDATE t_akselgate_transaction_log SET sent_at = sent_at - make_interval(secs => :seconds),"
            " stale_at = stale_at - make_interval(secs => :seconds)",
            seconds=seconds,
        )

    async def past_the_guards(self, statement: str, **values: Any) -> None:
        """Runs a statement with triggers disabled."""
        async with self.runtime.database.engine.begin() as connection:
            await connection.execute(text("SET LOCAL session_replication_role = replica"))
            await connection.execute(text(statement), values)

    async def until_somebody_waits_for_a_lock(self) -> None:
        waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        while not await self.sql(waiting):
            await asyncio.sleep(0.01)

    async def sql(self, statement: str, **values: Any) -> Sequence[Any]:
        """Runs a statement as the owner of the tables, without row-level security."""
        async with self.runtime.database.engine.begin() as connection:
            result = await connection.execute(text(statement), values)
            return result.all() if result.returns_rows else []


def gateway_settings(settings: Settings, address: str, organisation_id: UUID, **changes: Any) -> Settings:
    wanted = {
        "akselgate_base_url": address,
        "akselgate_username": "qrtrack",
        "akselgate_password": PASSWORD,
        "akselgate_organisation": organisation_id,
        "akselgate_amount_scale": 0,
        "akselgate_deadline_seconds": DEADLINE,
    } | changes
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    return Settings(_env_file=None, **(given | wanted))


@asynccontextmanager
async def open_treasury(settings: Settings, **changes: Any) -> AsyncIterator[Treasury]:
    """Opens a treasury with its gateway. The gateway does not call back by itself: a test does it. Deletes all rows
    afterwards.

    The organisation is `akselgate_organisation`, or a new one if `changes` does not have it.
    """
    gateway = Sandbox(callback_seconds=None)
    await gateway.start()
    organisation_id = changes.get("akselgate_organisation") or uuid4()
    async with (
        open_runtime(gateway_settings(settings, gateway.address, organisation_id, **changes)) as runtime,
        AsyncExitStack() as stack,
    ):
        try:
            yield Treasury(runtime, gateway, organisation_id, stack)
        finally:
            await gateway.stop()
            await delete_rows(runtime.database)
