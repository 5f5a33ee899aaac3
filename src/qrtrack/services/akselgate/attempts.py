"""Attempts: the sweeper freezes those without an answer, an administrator resolves them, finance views them."""

from collections.abc import Sequence
from typing import NamedTuple

import structlog

from qrtrack.database import Database
from qrtrack.domain.akselgate.attempts import RESOLUTIONS, AttemptOutcome, EventKind
from qrtrack.domain.errors import Forbidden, InvalidState
from qrtrack.domain.identity import Caller, is_same_person
from qrtrack.metrics import DISPATCHES
from qrtrack.repositories.akselgate.attempt_events import FoundEvent
from qrtrack.repositories.akselgate.attempts import FoundAttempt, Payloads, SentRow
from qrtrack.repositories.akselgate.callbacks import FoundCallback
from qrtrack.services.akselgate.callbacks import close_if_complete

SHOWN_EVENTS = 1000

log = structlog.get_logger(__name__)


class SamePerson(Forbidden):
    """The person who sent an attempt may not resolve it."""

    slug = "same-person"
    title = "Another person has to decide"


def alarm_unknown(attempt: FoundAttempt, **facts: str) -> None:
    log.error(
        "alarm: the outcome of an attempt is unknown", attempt_id=attempt.id, kd_settle=attempt.kd_settle, **facts
    )


async def sweep_attempts(database: Database) -> int:
    """Sets attempts to unknown that have been `sending` for longer than `stale_after`: their senders no longer send.
    Returns how many.
    """
    async with database.write() as repositories:
        swept = await repositories.attempts.sweep()
        for attempt in swept:
            await repositories.attempt_events.add(attempt, EventKind.SWEPT, actor="sweeper")
            await close_if_complete(repositories, attempt.id)
    DISPATCHES.labels(AttemptOutcome.UNKNOWN).inc(len(swept))
    for attempt in swept:
        alarm_unknown(attempt)
    return len(swept)


class Resolved(NamedTuple):
    log_id: int
    outcome: AttemptOutcome
    resolved_by: str
    note: str


async def resolve_attempt(
    database: Database, *, caller: Caller, attempt_id: int, outcome: AttemptOutcome, note: str
) -> Resolved:
    """Records an administrator's decision about an unknown attempt. Raises NotFound, SamePerson, InvalidState."""
    assert outcome in RESOLUTIONS
    async with database.write(tenant=caller.organisation_id) as repositories:
        attempt = await repositories.attempts.lock(attempt_id)
        if is_same_person(attempt.sent_by, caller.user_id):
            raise SamePerson("You sent this attempt. Another administrator has to resolve it.")
        if attempt.outcome != AttemptOutcome.UNKNOWN:
            raise InvalidState(
                f"This attempt is {attempt.outcome}. Only an unknown attempt can be resolved.", outcome=attempt.outcome
            )
        paid = await repositories.callbacks.list_paid(attempt_id) if outcome is not AttemptOutcome.ACCEPTED else ()
        if paid:
            raise InvalidState(
                f"The gateway has reported {len(paid)} references of this attempt as paid. Resolve it as accepted.",
                paid_references=list(paid),
            )
        await repositories.attempt_events.add(
            attempt, EventKind.RESOLVED, actor=caller.user_id, outcome=outcome, note=note
        )
        await close_if_complete(repositories, attempt_id)
        return repositories.answer(Resolved(attempt_id, outcome, caller.user_id, note))


class AttemptView(NamedTuple):
    """An attempt with one page of its rows and their callbacks. Only the first page contains `payloads`, if they are
    wanted.
    """

    attempt: FoundAttempt
    payloads: Payloads | None
    rows: Sequence[SentRow]
    callbacks: Sequence[FoundCallback]
    events: Sequence[FoundEvent]


async def view_attempt(
    database: Database, *, caller: Caller, attempt_id: int, after: int, limit: int, with_payloads: bool = True
) -> AttemptView:
    """Returns the attempt with a page of its rows. The payloads of 10,000 rows have megabytes, so they are read only
    `with_payloads`. Raises NotFound.
    """
    async with database.read(tenant=caller.organisation_id) as repositories:
        attempt = await repositories.attempts.get(attempt_id)
        rows = await repositories.attempts.list_rows(attempt_id, after=after, limit=limit)
        return AttemptView(
            attempt,
            None if after or not with_payloads else await repositories.attempts.find_payloads(attempt_id),
            rows,
            await repositories.callbacks.list(attempt_id, [row.reference_number for row in rows]),
            await repositories.attempt_events.list(attempt_id, limit=SHOWN_EVENTS),
        )
