"""Batches: creating, describing, listing, retrying and closing them, and deleting their keys. code_creation.py creates
their codes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from uuid_utils.compat import uuid7

from qrtrack.database import Database
from qrtrack.domain.errors import FieldError, InvalidInput, InvalidState
from qrtrack.domain.estimates import percentage
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.identity import Caller
from qrtrack.domain.notifications import Notify
from qrtrack.domain.packing.batches import NewBatch, SerialMode
from qrtrack.domain.packing.numbering import LAST_NUMBER, random_tail_length, serial, uniq_code
from qrtrack.domain.packing.states import BatchStatus
from qrtrack.domain.root_keys import key_length
from qrtrack.models import Batch
from qrtrack.repositories import Repositories
from qrtrack.repositories.packing.batches import BatchCounts, VariantQuantity
from qrtrack.repositories.queues import CREATING, REVERSE_JOBS
from qrtrack.services.packing.gtin_owners import claim_gtin

CREATING_CHUNK = 10_000
HASHING_CHUNK = 100


@dataclass(frozen=True, slots=True)
class CreatedBatch:
    batch_id: UUID
    status: str
    quantity: int
    uniq_code: str
    first_code: str | None
    last_code: str | None


class NumbersUsedUp(InvalidInput):
    """The prefix has fewer numbers left than the batch needs."""

    slug = "numbers-used-up"
    title = "The prefix has too few numbers left"

    def __init__(self, prefix: str, *, left: int) -> None:
        detail = f"The prefix {prefix} has {left} numbers left: choose another prefix."
        error = FieldError("/serial_prefix", detail, FieldCode.NUMBERS_USED_UP, {"left": left})
        super().__init__(detail, errors=[error])


async def create_batch(
    database: Database, *, caller: Caller, new: NewBatch, notify: Notify | None = None
) -> CreatedBatch:
    """Reserves the numbers and queues the work; workers create the codes. Raises NumbersUsedUp, GtinTaken."""
    async with database.write(tenant=caller.organisation_id) as repositories:
        await claim_gtin(repositories, caller, new.gtin)
        first_number, tail_length = await _take_numbers(repositories, caller.organisation_id, new)
        batch = _new_batch(caller, new, first_number=first_number, tail_length=tail_length, notify=notify)
        await repositories.batches.add(batch, new.variants)
        await repositories.code_creation.queue_chunks(
            batch.id, caller.organisation_id, CREATING.kind, quantity=new.quantity, chunk_size=CREATING_CHUNK
        )
        await repositories.trace.add(
            "batch.created",
            caller=caller,
            batch_id=batch.id,
            ranges=[(1, new.quantity)],
            details={"order_id": new.order_id},
        )
        await repositories.wake_workers(CREATING)
        return repositories.answer(
            CreatedBatch(
                batch_id=batch.id,
                status=batch.status,
                quantity=batch.quantity,
                uniq_code=batch.uniq_code,
                first_code=None if first_number is None else serial(new.serial_prefix, first_number),
                last_code=None if first_number is None else serial(new.serial_prefix, first_number + new.quantity - 1),
            )
        )


def _new_batch(
    caller: Caller, new: NewBatch, *, first_number: int | None, tail_length: int | None, notify: Notify | None
) -> Batch:
    return Batch(
        id=uuid7(),
        manufacturer_org_id=caller.organisation_id,
        order_id=new.order_id,
        uniq_code=uniq_code(),
        product_name=new.product_name,
        quantity=new.quantity,
        keys_to_hash=new.quantity,
        units_per_case=new.units_per_case,
        serial_mode=new.serial_mode,
        serial_prefix=new.serial_prefix,
        first_number=first_number,
        random_tail_length=tail_length,
        key_length=key_length(new.quantity),
        gtin=new.gtin,
        lot=new.lot,
        expires_on=new.expires_on,
        requires_release=new.requires_release,
        status=BatchStatus.CREATING,
        created_by=caller.user_id,
        notify=notify and notify.addresses,
    )


async def _take_numbers(
    repositories: Repositories, organisation_id: UUID, new: NewBatch
) -> tuple[int | None, int | None]:
    """Returns the first serial number, or the length of the random tails."""
    if new.serial_mode is SerialMode.RANDOM:
        total = await repositories.numbering.count_random(organisation_id, new.serial_prefix, new.quantity)
        return None, random_tail_length(total)
    first = await repositories.numbering.take_numbers(organisation_id, new.serial_prefix, new.quantity)
    if first + new.quantity - 1 > LAST_NUMBER:
        raise NumbersUsedUp(new.serial_prefix, left=max(LAST_NUMBER - first + 1, 0))
    return first, None


@dataclass(frozen=True, slots=True)
class BatchDetails:
    """A batch with its counts."""

    batch: Batch
    eta_seconds: int | None
    counts: BatchCounts
    variants: Sequence[VariantQuantity]


async def describe_batch(database: Database, *, caller: Caller, batch_id: UUID) -> BatchDetails:
    async with database.read(tenant=caller.organisation_id) as repositories:
        batch = await repositories.batches.get(batch_id)
        rate = await repositories.batches.hashing_rate(batch_id)
        return BatchDetails(
            batch=batch,
            eta_seconds=_eta_seconds(batch, rate),
            counts=await repositories.batches.counts(batch_id),
            variants=await repositories.batches.variants(batch_id),
        )


def batch_progress(batch: Batch) -> int:
    """Returns the progress in percent over both stages. It is 100 only at the end."""
    return percentage(batch.items_created + batch.keys_hashed, batch.quantity + batch.keys_to_hash)


def _eta_seconds(batch: Batch, rate: float | None) -> int | None:
    """Returns the seconds until ready, at the rate of the last two minutes. None if there is no rate."""
    if batch.status == BatchStatus.READY:
        return 0
    if batch.status != BatchStatus.HASHING or not rate:
        return None
    return round((batch.keys_to_hash - batch.keys_hashed) / rate)


@dataclass(frozen=True, slots=True)
class RetriedBatch:
    batch_id: UUID
    status: str


async def retry_batch(database: Database, *, caller: Caller, batch_id: UUID) -> RetriedBatch:
    """Runs the failed stage again. Creating begins anew, because a batch that fails in it loses its codes. Hashing
    continues with the chunks that failed. Raises NotFound, InvalidState.
    """
    async with database.write(tenant=caller.organisation_id) as repositories:
        batch = await repositories.batches.get(batch_id)
        if not await repositories.batches.resume(batch_id):
            raise InvalidState(f"Only a failed batch can be retried; this one is {batch.status}.", state=batch.status)
        await repositories.code_creation.requeue_chunks(batch_id)
        await repositories.trace.add("batch.retried", caller=caller, batch_id=batch_id)
        await repositories.wake_workers(CREATING)
        status = BatchStatus.HASHING if batch.codes_created_at else BatchStatus.CREATING
        return repositories.answer(RetriedBatch(batch_id, status))


@dataclass(frozen=True, slots=True)
class ClosedBatch:
    batch_id: UUID
    voided: int
    cancelled_jobs: Sequence[UUID]


async def close_batch(database: Database, *, caller: Caller, batch_id: UUID, reason: str) -> ClosedBatch:
    """Voids all codes that are neither packed nor with a consumer, cancels the batch's reverse jobs and empties its
    queue.

    Exclusions stay: the reconciliation still counts the excluded units. Raises NotFound, BatchNotReady, BatchClosed.
    """
    async with database.write(tenant=caller.organisation_id, batch_lock=batch_id) as repositories:
        await repositories.batches.get_packable(batch_id)
        jobs = await repositories.reverse_jobs.lock_live_of_batch(batch_id)
        for job_id in jobs:
            await repositories.leased(REVERSE_JOBS).cancel(job_id)
            await repositories.reverse_jobs.log(
                job_id, caller.organisation_id, "Cancelled: the batch was closed.", level="warn"
            )
        await repositories.prepared_codes.invalidate_all(batch_id)
        voided = await repositories.codes.void_unpacked(batch_id, reason)
        await repositories.batches.close(batch_id, reason)
        await repositories.trace.add(
            "batch.closed", caller=caller, batch_id=batch_id, reason=reason, ranges=voided.ranges
        )
        return repositories.answer(ClosedBatch(batch_id, voided.codes, jobs))


@dataclass(frozen=True, slots=True)
class ForgottenKeys:
    batch_id: UUID
    forgotten: int


async def forget_keys(database: Database, *, caller: Caller, batch_id: UUID) -> ForgottenKeys:
    """Deletes the sealed keys, which labels are printed from. Keys can still be checked by their hashes.

    Takes the batch lock: it writes every code, in another order than packing does, and the two would deadlock. Raises
    NotFound, InvalidState.
    """
    async with database.write(tenant=caller.organisation_id, batch_lock=batch_id) as repositories:
        batch = await repositories.batches.get(batch_id)
        if batch.status != BatchStatus.READY:
            advice = "Retry the batch first" if batch.status == BatchStatus.FAILED else "Try again when it is ready"
            raise InvalidState(
                f"The root keys are still needed, because the batch is {batch.status}. {advice}.", state=batch.status
            )
        if await repositories.batches.is_printing_keys(batch_id):
            raise InvalidState(
                "A label job that prints root keys is queued or running. Wait until it has ended, or cancel it."
            )
        forgotten = await repositories.batches.forget_keys(batch_id)
        await repositories.trace.add(
            "keys.forgotten",
            caller=caller,
            batch_id=batch_id,
            details={"forgotten": forgotten},
        )
        return repositories.answer(ForgottenKeys(batch_id, forgotten))
