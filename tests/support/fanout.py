"""A progress batch as other systems use it, and helpers to report records to it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self
from uuid import UUID

import httpx2
from sqlalchemy import text

from qrtrack.database import Database
from qrtrack.domain.identity import Caller
from qrtrack.domain.progress.sync_records import RecordOutcome
from qrtrack.models import SyncBatch
from qrtrack.services.progress.sync_batches import cancel_sync_batch, create_sync_batch, view_sync_batch
from qrtrack.services.progress.sync_records import CountedReport, ReportGroups, report_records

API = "/api/progress/batches"


def done(*keys: object) -> list[RecordOutcome]:
    return [RecordOutcome(str(key), success=True) for key in keys]


def failed(*keys: object, error: str | None = "refused") -> list[RecordOutcome]:
    return [RecordOutcome(str(key), success=False, error=error) for key in keys]


@dataclass(frozen=True)
class FanOut:
    """One progress batch."""

    database: Database
    caller: Caller
    batch_id: UUID
    groups: ReportGroups = field(default_factory=ReportGroups)

    @classmethod
    async def announce(cls, database: Database, caller: Caller, total: int) -> Self:
        created = await create_sync_batch(
            database, caller=caller, name="Price list", kind="prices", total_records=total
        )
        return cls(database, caller, created.batch_id)

    def through(self, database: Database) -> Self:
        """Returns the same batch, used through another database object (another process, or a request with an
        Idempotency-Key).
        """
        return replace(self, database=database, groups=ReportGroups())

    async def report(self, outcomes: Sequence[RecordOutcome]) -> CountedReport:
        return await report_records(
            self.database, self.groups, caller=self.caller, batch_id=self.batch_id, outcomes=outcomes
        )

    async def cancel(self) -> SyncBatch:
        return await cancel_sync_batch(self.database, caller=self.caller, batch_id=self.batch_id)

    async def view(self) -> SyncBatch:
        return await view_sync_batch(self.database, caller=self.caller, batch_id=self.batch_id)

    async def counts(self) -> tuple[str, int, int, int, int]:
        """Returns status, processed, succeeded, failed and percentage."""
        batch = await self.view()
        return (
            batch.status,
            batch.processed_records,
            batch.success_count,
            batch.failed_records,
            batch.progress_percentage,
        )

    async def recorded(self) -> dict[str, bool]:
        """Returns the outcome of every record, by key."""
        rows = await self.sql("SELECT record_key, success FROM sync_batch_records WHERE batch_id = :batch_id")
        return {row.record_key: row.success for row in rows}

    async def set(self, assignments: str) -> None:
        """Changes the row as the owner of the tables, without row-level security."""
        await self.sql(f"UPDATE sync_batch_progress SET {assignments} WHERE batch_id = :batch_id")

    async def sql(self, statement: str) -> Sequence[Any]:
        async with self.database.engine.begin() as connection:
            result = await connection.execute(text(statement), {"batch_id": self.batch_id})
            return result.all() if result.returns_rows else []


async def announce(client: httpx2.AsyncClient, total: int = 4) -> str:
    """Creates a progress batch over HTTP and returns its address."""
    answer = await client.post(API, json={"name": "Price list", "total_records": total})
    assert answer.status_code == 201, answer.text
    return f"{API}/{answer.json()['batch_id']}"


def good(*keys: object) -> dict[str, Any]:
    """Returns the body of a report of successes."""
    return {"records": [{"key": str(key), "success": True} for key in keys]}


def bad(*keys: object) -> dict[str, Any]:
    """Returns the body of a report of failures."""
    return {"records": [{"key": str(key), "success": False, "error": "timeout"} for key in keys]}
