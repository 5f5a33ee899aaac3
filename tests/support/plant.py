"""Helpers that most tests of the packing line begin with: a batch, a queue, a packed case."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from process import PRINTED_HOST
from qrtrack.database import Database
from qrtrack.domain.identity import Caller
from qrtrack.domain.labels.label_jobs import Labelled, NewLabelJob
from qrtrack.domain.packing.batches import NewBatch, SerialMode, Variant
from qrtrack.domain.packing.case_packing import PackCase
from qrtrack.domain.packing.reverse_jobs import NewJob
from qrtrack.domain.stopping import StopSignal
from qrtrack.models import Table
from qrtrack.repositories import Repositories
from qrtrack.repositories.leased import ClaimedRow, LeasedRepository
from qrtrack.repositories.packing.reconciliation import Reconciliation
from qrtrack.repositories.queues import REVERSE_JOBS
from qrtrack.runtime import Runtime
from qrtrack.services.labels.label_files import open_label_file
from qrtrack.services.labels.label_jobs import submit_label_job
from qrtrack.services.packing.batches import create_batch
from qrtrack.services.packing.case_packing import PackedCase, pack_case
from qrtrack.services.packing.codes import list_codes
from qrtrack.services.packing.links import LinkCodes, LinkedCodes, UnlinkedCodes, link_codes, unlink_codes
from qrtrack.services.packing.moves import MovedCase, move_case
from qrtrack.services.packing.reconciliation import reconcile_batch
from qrtrack.services.packing.reverse_jobs import submit_reverse_job
from qrtrack.services.trace import Trace, trace_code
from qrtrack.settings import Settings
from qrtrack.worker.execution import WorkOutcome, run_next
from qrtrack.worker.handlers import HANDLERS


def ska(*numbers: int) -> list[str]:
    """Returns the codes of an organisation's first batch with these sequence numbers."""
    return [f"SKA{number:06d}" for number in numbers]


def one_slot(_settings: Settings) -> int:
    return 1


BASE_URL = f"https://{PRINTED_HOST}"
BY_KIND: dict[str, Any] = {handler.queue.kind: handler for handler in HANDLERS}


@dataclass(frozen=True)
class MadeBatch:
    batch_id: UUID
    order_id: UUID
    uniq_code: str
    first_code: str | None
    last_code: str | None
    master_codes: Sequence[str]


@dataclass(frozen=True)
class Plant:
    """One organisation. No worker runs beside the test: `work` executes what is due."""

    runtime: Runtime
    caller: Caller
    order_id: UUID = field(default_factory=uuid4)

    async def order(self, quantity: int = 100, **asked: Any) -> Any:
        """Creates a batch whose codes do not exist yet."""
        notify = asked.pop("notify", None)
        new = NewBatch(
            order_id=self.order_id,
            product_name=asked.pop("product_name", "Gold 1 g"),
            serial_prefix=asked.pop("serial_prefix", "SKA"),
            serial_mode=asked.pop("serial_mode", SerialMode.SEQUENTIAL),
            units_per_case=asked.pop("units_per_case", 100),
            variants=tuple(Variant(*part) for part in asked.pop("variants", [(None, quantity)])),
            **asked,
        )
        return await create_batch(self.runtime.database, caller=self.caller, new=new, notify=notify)

    def read(self) -> AbstractAsyncContextManager[Repositories]:
        return self.runtime.database.read(tenant=self.caller.organisation_id)

    async def batch(self, quantity: int = 100, **asked: Any) -> MadeBatch:
        """Creates a batch and its codes. The root keys are not hashed."""
        created = await self.order(quantity, **asked)
        await self.work("creating")
        async with self.read() as repositories:
            boxes = await repositories.cases.list_of_batch(created.batch_id, after=0, limit=1000)
        return MadeBatch(
            created.batch_id,
            self.order_id,
            created.uniq_code,
            created.first_code,
            created.last_code,
            [box.master_code for box in boxes],
        )

    async def submit(self, batch: MadeBatch, exclude: Sequence[str] = (), **asked: Any) -> UUID:
        """Submits a reverse job and returns its id. It stays queued."""
        notify = asked.pop("notify", None)
        new = NewJob(batch.batch_id, batch.order_id, list(exclude), **asked)
        submitted = await submit_reverse_job(self.runtime.database, caller=self.caller, new=new, notify=notify)
        return submitted.job_id

    async def prepared(self, quantity: int = 100, exclude: Sequence[str] = (), **asked: Any) -> MadeBatch:
        """Creates a batch whose good codes all wait in the queue."""
        batch = await self.batch(quantity, **asked)
        await self.submit(batch, exclude)
        await self.work("reverse_job")
        return batch

    async def pack(self, batch: MadeBatch, case: int = 0, **asked: Any) -> PackedCase:
        request = PackCase(batch.batch_id, batch.order_id, batch.master_codes[case], **asked)
        return await pack_case(self.runtime.database, caller=self.caller, request=request)

    async def link(self, batch: MadeBatch, codes: Sequence[str], case: int = 0, **asked: Any) -> LinkedCodes:
        request = LinkCodes(batch.batch_id, batch.order_id, batch.master_codes[case], list(codes), **asked)
        return await link_codes(self.runtime.database, caller=self.caller, request=request)

    async def unlink(
        self,
        codes: Sequence[str] | None = None,
        *,
        master_code: str | None = None,
        reason: str = "Seal broken",
        requeue: bool = True,
    ) -> UnlinkedCodes:
        return await unlink_codes(
            self.runtime.database,
            caller=self.caller,
            codes=codes,
            master_code=master_code,
            reason=reason,
            requeue=requeue,
        )

    async def label(self, batch: MadeBatch, what: Labelled = Labelled.UNITS, **asked: Any) -> UUID:
        """Submits a label job and returns its id. It stays queued."""
        submitted = await submit_label_job(
            self.runtime.database,
            caller=self.caller,
            batch_id=batch.batch_id,
            new=NewLabelJob(what, **asked),
            base_url=BASE_URL,
        )
        return submitted.label_job_id

    async def label_file(self, job_id: UUID) -> bytes:
        file = await open_label_file(
            self.runtime.database, caller=self.caller, keys=self.runtime.keys, job_id=job_id, may_reveal=True
        )
        content = b"".join([part async for part in file.parts])
        assert len(content) == file.size
        return content

    async def move(self, batch: MadeBatch, source: int, target: int | str) -> MovedCase:
        return await move_case(
            self.runtime.database,
            caller=self.caller,
            from_master_code=batch.master_codes[source],
            to_master_code=target if isinstance(target, str) else batch.master_codes[target],
            reason="Wrong case scanned",
        )

    async def trace(self, code: str) -> Trace:
        return await trace_code(self.runtime.database, caller=self.caller, code=code, limit=100)

    async def reconcile(self, batch: MadeBatch) -> Reconciliation:
        return await reconcile_batch(self.runtime.database, caller=self.caller, batch_id=batch.batch_id)

    async def listed(self, batch: MadeBatch, status: str) -> list[int]:
        """Returns the sequence numbers of the codes that the list shows for a status or place."""
        rows = await list_codes(
            self.runtime.database, caller=self.caller, batch_id=batch.batch_id, status=status, after=0, limit=1000
        )
        return [row.sequence_number for row in rows]

    async def states(self, batch: MadeBatch) -> dict[int, str]:
        """Returns the status of every code, by sequence number."""
        rows = await self.sql(
            "SELECT sequence_number, status FROM qr_codes WHERE batch_id = :id ORDER BY 1", id=batch.batch_id
        )
        return {row.sequence_number: row.status for row in rows}

    async def queue(self, batch: MadeBatch, status: str = "prepared") -> list[int]:
        """Returns the sequence numbers of the prepared codes in that status, in serial order."""
        rows = await self.sql(
            "SELECT sequence_number FROM qr_prepared_codes WHERE batch_id = :id AND status = :status"
            " ORDER BY sequence_number",
            id=batch.batch_id,
            status=status,
        )
        return [row.sequence_number for row in rows]

    async def events(self, batch: MadeBatch, *actions: str) -> list[tuple[str, str]]:
        """Returns action and sequence numbers (a PostgreSQL multirange) of the batch's trace events, oldest first."""
        rows = await self.sql(
            "SELECT action, COALESCE(sequences::text, '{}') AS sequences FROM trace_events WHERE batch_id = :id"
            " ORDER BY id",
            id=batch.batch_id,
        )
        return [(row.action, row.sequences) for row in rows if not actions or row.action in actions]

    async def work(self, kind: str) -> list[WorkOutcome]:
        """Executes all due work of a kind."""
        outcomes = []
        while (outcome := await run_next(self.runtime, BY_KIND[kind], StopSignal())) is not None:
            outcomes.append(outcome)
        return outcomes

    async def queued(self, count: int = 1, *, organisation_id: UUID | None = None, priority: int = 0) -> list[int]:
        """Stores queued chunks of a new batch, for tests of the queue itself. Returns their ids."""
        organisation_id = organisation_id or self.caller.organisation_id
        batch_id = uuid4()
        await self.sql(
            "INSERT INTO qr_batches (id, manufacturer_org_id, order_id, uniq_code, product_name, quantity,"
            " keys_to_hash, units_per_case, serial_mode, serial_prefix, first_number, key_length, status, created_by)"
            " VALUES (:batch_id, :organisation, :order_id, :uniq_code, 'Gold 1 g', :count, :count, 100, 'sequential',"
            " 'SKA', 1, 4, 'creating', 'test')",
            batch_id=batch_id,
            organisation=organisation_id,
            order_id=self.order_id,
            uniq_code=batch_id.hex,
            count=count,
        )
        rows = await self.sql(
            "INSERT INTO qr_batch_stages"
            " (batch_id, manufacturer_org_id, stage, status, first_sequence, last_sequence, priority)"
            " SELECT :batch_id, :organisation, 'creating', 'queued', number, number, :priority"
            " FROM generate_series(1, CAST(:count AS int)) AS number ORDER BY number RETURNING id",
            batch_id=batch_id,
            organisation=organisation_id,
            priority=priority,
            count=count,
        )
        return [row.id for row in rows]

    async def row(self, table: str, row_id: UUID | int) -> Any:
        """Returns all columns of a row, with its version and place in the table: two results are equal only if nothing
        was written in between.
        """
        rows = await self.sql(f"SELECT *, xmin::text, ctid::text FROM {table} WHERE id = :id", id=row_id)
        return rows[0]

    async def expire(self, table: str) -> None:
        """Lets every lease of the table expire."""
        await self.sql(
            f"UPDATE {table} SET lease_expires_at = clock_timestamp() - interval '1 second' WHERE status = 'running'"
        )

    async def sweep(self) -> None:
        """Deletes all rows, for a test that makes many batches."""
        async with self.runtime.database.engine.begin() as connection:
            await connection.execute(text("SET LOCAL session_replication_role = replica"))
            for table in Table.metadata.sorted_tables:
                await connection.execute(text(f"DELETE FROM {table.name}"))

    async def sql(self, statement: str, **values: Any) -> Sequence[Any]:
        """Runs a statement as the owner of the tables, without row-level security."""
        return await run_sql(self.runtime.database, statement, **values)


async def run_sql(database: Database, statement: str, /, **values: Any) -> Sequence[Any]:
    """Runs a statement in its own transaction. Returns its rows, or an empty list if it returns none."""
    async with database.engine.begin() as connection:
        result = await connection.execute(text(statement), values)
        if result.returns_rows:
            return result.all()
        selects = statement.lstrip().upper().startswith("SELECT")
        assert not selects, f"select a column: SQLAlchemy returns no row of a select without columns: {statement}"
        return []


class Kill:
    """`done` says whether the connection was killed."""

    done = False


@contextmanager
def killed_at(owner: type, step: str, *, call: int, moment: str) -> Iterator[Kill]:
    """Kills the connection just "before" or "after" the `call`-th call of a repository's method."""
    original, kill, calls = getattr(owner, step), Kill(), count(1)

    async def stumbling(self: Any, *arguments: Any, **values: Any) -> Any:
        fatal = next(calls) == call
        result = await original(self, *arguments, **values) if moment == "after" or not fatal else None
        if fatal:
            kill.done = True
            await self._session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return result

    with patch.object(owner, step, stumbling):
        yield kill


async def ended_and_queued_jobs(database: Database, *, ended: int, queued: int = 1000, organisations: int = 50) -> None:
    """Stores reverse jobs without their batches. The older ones are completed, the others queued."""
    async with database.engine.begin() as connection:
        # Without foreign keys: their checks would take most of the time.
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(
            text(
                "INSERT INTO qr_reverse_jobs (id, manufacturer_org_id, batch_id, order_id, exclude_codes,"
                " first_sequence, last_sequence, next_sequence, status, progress, result_summary, finished_at,"
                " created_by, run_at) SELECT lpad(to_hex(number), 32, '0')::uuid,"
                " md5((number % CAST(:organisations AS int))::text)::uuid, md5((number / 10)::text)::uuid,"
                " md5((number / 10)::text)::uuid, '{}', 1, 1, 1, CASE WHEN over THEN 'completed' ELSE 'queued' END,"
                " CASE WHEN over THEN 100 ELSE 0 END, CASE WHEN over THEN '{}'::jsonb END,"
                " CASE WHEN over THEN now() END, 'test',"
                " now() - (1 + CAST(:ended AS int) + CAST(:queued AS int) - number) * interval '1 ms'"
                " FROM (SELECT number, number <= CAST(:ended AS int) AS over"
                "  FROM generate_series(1, CAST(:ended AS int) + CAST(:queued AS int)) AS number) AS made"
            ),
            {"ended": ended, "queued": queued, "organisations": organisations},
        )
    async with database.engine.connect() as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await alone.execute(text("VACUUM ANALYZE qr_reverse_jobs"))


async def explained_claim(database: Database) -> Any:
    """Returns the plan of the repository's claim: the cheapest of five runs, each rolled back."""
    plans: list[Any] = []

    class Explained(LeasedRepository):
        async def _fetch_all(self, _kind: Any, sql: str, /, **values: Any) -> Any:
            plans.append((await self._fetch_scalar(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", **values))[0])
            return [ClaimedRow(0, None, UUID(int=0), UUID(int=0), attempts=0, exhausted=False, waited=None)]

    for _ in range(5):
        async with AsyncSession(database.engine) as session:
            await Explained(session, REVERSE_JOBS).claim(2, lease_seconds=30)
            await session.rollback()
    return min(plans, key=pages_of)


def pages_of(plan: Any) -> int:
    """Returns how many pages the statement read: a cost that does not depend on the machine."""
    return int(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])


def nodes_of(plan: Any) -> Iterator[Any]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes_of(part)
