"""What happens to an attempt that was not answered: the sweeper, a person's decision; and looking at attempts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import structlog

from qrtrack.database import Database
from qrtrack.domain.akselgate.dispatches import RESOLUTIONS, EventKind, Outcome
from qrtrack.domain.errors import Forbidden, InvalidState
from qrtrack.domain.identity import Caller, is_same_person
from qrtrack.metrics import DISPATCHES
from qrtrack.services.akselgate.callbacks import close_if_complete

EVENTS = 1000

log = structlog.get_logger(__name__)


class SamePerson(Forbidden):
    """The person who sent an attempt may not resolve it."""

    slug = "same-person"
    title = "Another person has to decide"


async def sweep_attempts(database: Database) -> int:
    """Freezes what has been sending for twice its sender's deadline: who sent it is gone. Sends nothing. How many."""
    async with database.write() as repositories:
        swept = await repositories.dispatches.sweep()
        for attempt in swept:
            await repositories.attempt_events.add(attempt, EventKind.SWEPT, actor="sweeper")
            await close_if_complete(repositories, attempt.id)
    DISPATCHES.labels(Outcome.UNKNOWN).inc(len(swept))
    for attempt in swept:
        log.error("alarm: the outcome of an attempt is unknown", attempt_id=attempt.id)
    return len(swept)


@dataclass(frozen=True, slots=True)
class Resolved:
    log_id: int
    outcome: Outcome
    resolved_by: str
    note: str


async def resolve_attempt(
    database: Database, *, caller: Caller, attempt_id: int, outcome: Outcome, note: str
) -> Resolved:
    """A person's word for what the gateway did not say. Raises NotFound, SamePerson, InvalidState."""
    assert outcome in RESOLUTIONS
    async with database.write(tenant=caller.organisation_id) as repositories:
        attempt = await repositories.dispatches.lock(attempt_id)
        if is_same_person(attempt.sent_by, caller.user_id):
            raise SamePerson("You sent this attempt: another administrator has to resolve it.")
        if attempt.outcome != Outcome.UNKNOWN:
            raise InvalidState(
                f"Only an unknown attempt can be resolved; this one is {attempt.outcome}.", outcome=attempt.outcome
            )
        paid = await repositories.callbacks.paid(attempt_id) if outcome is not Outcome.ACCEPTED else ()
        if paid:
            raise InvalidState(
                f"The gateway has reported {len(paid)} of its references as paid: it can only be accepted.",
                paid_references=list(paid),
            )
        await repositories.attempt_events.add(
            attempt, EventKind.RESOLVED, actor=caller.user_id, outcome=outcome, note=note
        )
        await close_if_complete(repositories, attempt_id)
        return repositories.answer(Resolved(attempt_id, outcome, caller.user_id, note))


async def list_attempts(
    database: Database,
    *,
    caller: Caller,
    kd_settle: str | None,
    transaction_type: str | None,
    outcome: str | None,
    is_latest: int | None,
    before: int | None,
    limit: int,
) -> Sequence[Any]:
    """Newest first."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        return await repositories.dispatches.list(
            kd_settle=kd_settle,
            transaction_type=transaction_type,
            outcome=outcome,
            is_latest=is_latest,
            before=before,
            limit=limit,
        )


@dataclass(frozen=True, slots=True)
class AttemptView:
    """An attempt with one page of its rows and their callbacks; the bytes come with the first page."""

    attempt: Any
    payloads: Any | None
    rows: Sequence[Any]
    callbacks: Sequence[Any]
    events: Sequence[Any]


async def view_attempt(database: Database, *, caller: Caller, attempt_id: int, after: int, limit: int) -> AttemptView:
    """Raises NotFound."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        attempt = await repositories.dispatches.get(attempt_id)
        rows = await repositories.dispatches.rows(attempt_id, after=after, limit=limit)
        return AttemptView(
            attempt,
            None if after else await repositories.dispatches.payloads(attempt_id),
            rows,
            await repositories.callbacks.of_rows(attempt_id, [row.reference_number for row in rows]),
            await repositories.attempt_events.of_attempt(attempt_id, limit=EVENTS),
        )


async def report_day(database: Database, *, caller: Caller, day: date, timezone: str) -> Sequence[Any]:
    """What became of a day's money, a row a settlement."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        return await repositories.dispatch_reports.of_day(day, timezone)
