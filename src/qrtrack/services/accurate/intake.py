"""Stores Accurate's webhooks: they are committed before the answer, and each uuid is stored once."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import UUID

import structlog

from qrtrack.database import Database
from qrtrack.domain.accurate.intake import Element, split_body
from qrtrack.domain.accurate.processing import EventStatus
from qrtrack.domain.accurate.steps import in_steps
from qrtrack.repositories.accurate.intake import Arrival, KnownEvent
from qrtrack.repositories.queues import WEBHOOK_EVENTS

# One thread parses all longer bodies. It sleeps after each step: otherwise it would release the interpreter only every
# 5 ms, and each step of another request would wait that long.
SHORT_BODY_BYTES = 64 * 1024
REST_SECONDS = 0.0005
# The cost of any element, even the shortest, as a number of characters.
OVERHEAD_CHARACTERS = 200
# Logging this many lines blocks the event loop for 1 to 2 ms. Other requests run between two steps.
STEP_LINES = 100

READER = ThreadPoolExecutor(1, "webhook-bodies")

# NOTIFY serialises commits. One wake-up is enough for all events that have arrived meanwhile.
WAKE_UP_SECONDS = 0.1

log = structlog.get_logger()


@dataclass(slots=True)
class WakeUpThrottle:
    """Limits how often this process wakes the workers. They find the other events at their next poll."""

    _last: float = 0.0

    def due(self) -> bool:
        now = time.monotonic()
        if now - self._last < WAKE_UP_SECONDS:
            return False
        self._last = now
        return True


@dataclass(frozen=True, slots=True)
class Receipt:
    """The result for one element, with the names that it has in the answer. `queue_id`: for a duplicate, the id of the
    first event. `error_message`: why the element is not an event.
    """

    index: int
    queue_id: int
    type: str
    uuid: str | None
    duplicate: bool = False
    error_message: str | None = None
    conflict: bool = False

    @property
    def queued(self) -> bool:
        return not self.duplicate and self.error_message is None


async def receive_events(
    database: Database, body: bytes, *, owners: Mapping[int, UUID], forward: bool, wake: bool
) -> Sequence[Receipt]:
    """Stores all elements of a request in one statement, which is committed at once. Then looks up duplicates and
    stores conflicts. With `forward` the events are also forwarded. With `wake` the workers are woken.

    Raises UnreadableBody or TooManyElements.
    """
    if len(body) <= SHORT_BODY_BYTES:
        elements = list(split_body(body))
    else:
        elements = await asyncio.get_running_loop().run_in_executor(READER, _split_in_steps, body)
    log.info("received", types=sorted({element.type for element in elements}), count=len(elements))
    return await _store(database, elements, owners, forward=forward, wake=wake) if elements else []


def _split_in_steps(body: bytes) -> list[Element]:
    elements: list[Element] = []
    for step in in_steps(split_body(body), lambda element: len(element.payload) + OVERHEAD_CHARACTERS):
        elements += step
        time.sleep(REST_SECONDS)
    return elements


async def _store(
    database: Database, elements: Sequence[Element], owners: Mapping[int, UUID], *, forward: bool, wake: bool
) -> list[Receipt]:
    async with database.autocommit(apart=True) as repositories:
        intake = repositories.webhook_intake
        arrivals = [_arrival(element, owners) for element in elements]
        ids = await intake.insert(arrivals, forward=forward)
        taken = {element.uuid for element, new in zip(elements, ids, strict=True) if new is None and element.uuid}
        known = await intake.known(taken) if taken else {}
        receipts = [
            _receipt(index, element, new, known) for index, (element, new) in enumerate(zip(elements, ids, strict=True))
        ]
        if conflicts := [receipt for receipt in receipts if receipt.conflict]:
            await intake.keep_conflicts(
                [(known[receipt.uuid], arrivals[receipt.index]) for receipt in conflicts if receipt.uuid]
            )
        if wake:
            await repositories.wake_workers(WEBHOOK_EVENTS)
    return receipts


def _arrival(element: Element, owners: Mapping[int, UUID]) -> Arrival:
    owner = None if element.database_id is None else owners.get(element.database_id)
    if element.error is not None:
        return Arrival(element, owner, EventStatus.INVALID)
    return Arrival(element, owner, EventStatus.UNASSIGNED if owner is None else EventStatus.PENDING)


def _receipt(index: int, element: Element, new: int | None, known: Mapping[str, KnownEvent]) -> Receipt:
    if new is not None:
        return Receipt(index, new, element.type, element.uuid, error_message=element.error)
    assert element.uuid is not None
    first = known[element.uuid]
    conflict = first.content_hash != element.content_hash
    return Receipt(index, first.id, element.type, element.uuid, duplicate=True, conflict=conflict)


async def log_receipts(receipts: Sequence[Receipt]) -> None:
    """Logs a line for each receipt, after the answer: these lines are most of the cost of a large request."""
    lines = log.bind()
    for receipt in receipts:
        if receipt.index % STEP_LINES == STEP_LINES - 1:
            await asyncio.sleep(0)
        place = {"type": receipt.type, "uuid": receipt.uuid, "queue_id": receipt.queue_id}
        if receipt.conflict:
            lines.warning("Duplicate detected with other content, which is stored in webhook_conflicts", **place)
        elif receipt.duplicate:
            lines.info("Duplicate detected", **place)
        else:
            lines.info("queued %d/%d", receipt.index + 1, len(receipts), **place, **_reason(receipt))
    lines.info("finished", queue_ids=[receipt.queue_id for receipt in receipts])


def _reason(receipt: Receipt) -> dict[str, str]:
    return {"invalid": receipt.error_message} if receipt.error_message else {}
