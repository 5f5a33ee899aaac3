"""Short words for what most tests of the packing line begin with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from qrtrack.domain.batches import NewBatch, SerialMode, Variant
from qrtrack.domain.identity import Caller
from qrtrack.domain.stopping import StopSignal
from qrtrack.runtime import Runtime
from qrtrack.services.batches import create_batch, list_cases
from qrtrack.services.links import PackCase, PackedCase, pack_case
from qrtrack.services.reverse_jobs import submit_reverse_job
from qrtrack.worker.execution import Outcome, run_next
from qrtrack.worker.handlers import HANDLERS

BY_KIND = {handler.queue.kind: handler for handler in HANDLERS}


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
    """One organisation. Work is done by `work`, in the test's own time: nothing runs beside it."""

    runtime: Runtime
    caller: Caller
    order_id: UUID = field(default_factory=uuid4)

    async def order(self, quantity: int = 100, **asked: Any) -> Any:
        """A batch whose codes are yet to be made."""
        new = NewBatch(
            order_id=self.order_id,
            product_name="Gold 1 g",
            serial_prefix=asked.pop("serial_prefix", "SKA"),
            serial_mode=asked.pop("serial_mode", SerialMode.SEQUENTIAL),
            units_per_case=asked.pop("units_per_case", 100),
            variants=tuple(Variant(*part) for part in asked.pop("variants", [(None, quantity)])),
            **asked,
        )
        return await create_batch(self.runtime.database, caller=self.caller, new=new)

    async def batch(self, quantity: int = 100, **asked: Any) -> MadeBatch:
        """A batch whose codes exist; its keys are not hashed."""
        created = await self.order(quantity, **asked)
        await self.work("creating")
        boxes = await list_cases(
            self.runtime.database, caller=self.caller, batch_id=created.batch_id, status=None, after=0, limit=1000
        )
        return MadeBatch(
            created.batch_id,
            self.order_id,
            created.uniq_code,
            created.first_code,
            created.last_code,
            [box.master_code for box in boxes],
        )

    async def submit(self, batch: MadeBatch, exclude: Sequence[str] = (), **asked: Any) -> UUID:
        """A reverse job, waiting."""
        submitted = await submit_reverse_job(
            self.runtime.database,
            caller=self.caller,
            batch_id=batch.batch_id,
            order_id=batch.order_id,
            exclude_codes=list(exclude),
            **asked,
        )
        return submitted.job_id

    async def prepared(self, quantity: int = 100, exclude: Sequence[str] = (), **asked: Any) -> MadeBatch:
        """A batch all of whose good codes wait in the queue."""
        batch = await self.batch(quantity, **asked)
        await self.submit(batch, exclude)
        await self.work("reverse_job")
        return batch

    async def pack(self, batch: MadeBatch, case: int = 0, **asked: Any) -> PackedCase:
        order = PackCase(batch.batch_id, batch.order_id, batch.master_codes[case], **asked)
        return await pack_case(self.runtime.database, caller=self.caller, order=order)

    async def work(self, kind: str) -> list[Outcome]:
        """Does all that is due of a kind."""
        outcomes = []
        while (outcome := await run_next(self.runtime, BY_KIND[kind], StopSignal())) is not None:
            outcomes.append(outcome)
        return outcomes

    async def sql(self, statement: str, **values: Any) -> Sequence[Any]:
        """As the owner of the tables, past row-level security."""
        async with self.runtime.database.engine.begin() as connection:
            result = await connection.execute(text(statement), values)
            return result.all() if result.returns_rows else []
