"""Accurate in tests: sends events, and reads the rows that the service stored."""

import json
from collections.abc import Sequence
from itertools import count
from operator import attrgetter
from typing import Any

from plant import run_sql
from qrtrack.domain.accurate.processing import ClaimedEvent
from qrtrack.domain.claims import Claim, Group
from qrtrack.domain.stopping import StopSignal
from qrtrack.repositories.queues import WEBHOOK_EVENTS, WEBHOOK_RETRIES
from qrtrack.runtime import Runtime
from qrtrack.services.accurate.intake import Receipt, receive_events
from qrtrack.services.claims import break_up_group, claim_group, claim_work
from qrtrack.worker.execution import run_next
from qrtrack.worker.handlers import HANDLERS

DATABASE = 1443290
STRANGE_DATABASE = 2886480
HANDLER_OF: dict[str, Any] = {handler.queue.kind: handler for handler in HANDLERS}

_numbers = count(1)


def event(kind: str = "SALES_INVOICE", *rows: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Returns an event with its own uuid. A member that `changes` sets to None is left out."""
    made = {
        "databaseId": DATABASE,
        "type": kind,
        "timestamp": "21/11/2026 10:00:00",
        "uuid": f"{kind.lower()}-{next(_numbers)}",
        "data": list(rows) or [{"salesInvoiceId": 88020, "salesInvoiceNo": "INV/1", "action": "WRITE"}],
    } | changes
    return {name: value for name, value in made.items() if value is not None}


class Accurate:
    """Accurate as a sender of webhooks, by calls of the use case. The runtime's settings must map DATABASE to an
    organisation.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    async def send(self, *events: Any) -> Sequence[Receipt]:
        body = json.dumps(events).encode()
        owners = self.runtime.settings.database_owners
        forward = self.runtime.forwarder is not None
        return await receive_events(self.runtime.database, body, owners=owners, forward=forward, wake=False)

    async def sql(self, statement: str, **values: Any) -> Sequence[Any]:
        """Runs as the owner of the tables, without row-level security."""
        return await run_sql(self.runtime.database, statement, **values)

    async def group(self, size: int = 1000) -> Group[ClaimedEvent]:
        """Claims the next events for a first attempt."""
        group = await claim_group(self.runtime.database, WEBHOOK_EVENTS, size, lease_seconds=30)
        assert group is not None
        return group

    async def one_by_one(self, group: Group[ClaimedEvent]) -> list[Claim]:
        """Breaks up the group and claims each of its events. Returns the claims in the order of arrival."""
        await break_up_group(self.runtime.database, WEBHOOK_EVENTS, group)
        claims = await claim_work(self.runtime.database, WEBHOOK_RETRIES, len(group.pieces), lease_seconds=30)
        return sorted(claims, key=attrgetter("id"))

    async def process(self) -> None:
        """Processes all due events in groups, then the retries."""
        for kind in ("webhook_event", "webhook_retry"):
            while await run_next(self.runtime, HANDLER_OF[kind], StopSignal()) is not None:
                pass

    async def rows(self) -> Sequence[Any]:
        return await self.sql("SELECT * FROM webhook_queue ORDER BY id")

    async def tries(self) -> list[tuple[str, int]]:
        return [(row.status, row.attempts) for row in await self.rows()]

    async def expire_groups(self) -> None:
        """Lets the leases of all groups expire, as if their workers had died."""
        await self.sql("UPDATE leased_groups SET lease_expires_at = now() - interval '1 s'")

    async def statuses(self) -> list[str]:
        return [row.status for row in await self.rows()]
