"""The gateway's callbacks: each kept, and what follows from it for its row and its attempt."""

from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

import structlog

from qrtrack.database import Database
from qrtrack.domain.akselgate.callbacks import Callback, UnknownCallback, state_after
from qrtrack.domain.akselgate.dispatches import CallbackState, EventKind, Outcome
from qrtrack.domain.masking import masked
from qrtrack.repositories import Repositories
from qrtrack.repositories.constraints import ReferenceLocked

log = structlog.get_logger(__name__)


async def receive_callback(
    database: Database, *, attempt_id: int, callback: Callback, failure_codes: AbstractSet[str]
) -> None:
    """Stores the report and what follows from it; a repeated one changes nothing. Raises UnknownCallback."""
    async with database.read() as repositories:
        organisation_id = await repositories.callbacks.organisation_of(attempt_id)
    if organisation_id is None:
        raise UnknownCallback("The attempt of this callback is not known here.")
    try:
        async with database.write(tenant=organisation_id) as repositories:
            alarm = await _store(repositories, attempt_id, callback, failure_codes)
    except ReferenceLocked:
        # Between the look for another lock and the taking of this one somebody else took it: now the look finds it.
        async with database.write(tenant=organisation_id) as repositories:
            alarm = await _store(repositories, attempt_id, callback, failure_codes)
    if alarm is not None:
        reference = masked(callback.reference)
        log.error("alarm: the bank has to be asked", why=alarm, attempt_id=attempt_id, reference=reference)


async def _store(
    repositories: Repositories, attempt_id: int, callback: Callback, failure_codes: AbstractSet[str]
) -> str | None:
    """What people must be told at once, if anything."""
    attempt = await repositories.dispatches.lock(attempt_id)
    row = await repositories.callbacks.row(attempt_id, callback.reference)
    reported = callback.state(failure_codes)
    kind = EventKind.CALLBACK
    if reported is None:
        kind = EventKind.UNREADABLE_CALLBACK
    elif row is None:
        kind = EventKind.UNKNOWN_REFERENCE
    if row is not None:
        # In the row's own spelling: a bank that changes the case of a reference repeats the same report.
        callback = replace(callback, reference=row.reference_number)
    if not await repositories.callbacks.add(attempt, kind, callback):
        return None
    if row is None:
        return "a callback that fits no row of its attempt"
    if reported is None:
        return "a callback whose result is neither success nor a known failure: it frees nothing"
    return await _apply(repositories, attempt, row, callback, reported)


async def _apply(
    repositories: Repositories, attempt: Any, row: Any, callback: Callback, reported: CallbackState
) -> str | None:
    before = CallbackState(row.callback_state)
    state = state_after(before, Outcome(attempt.outcome), reported)
    if state is not before:
        await repositories.callbacks.record(attempt.id, row.row_number, state)
    # The same success under another reference of the bank is no repetition.
    is_second_payment = before is state is CallbackState.OK
    if state is CallbackState.CONFLICT or is_second_payment:
        details = {"before": before, "outcome": attempt.outcome, "reported": callback.result}
        await repositories.attempt_events.add(
            attempt, EventKind.CONFLICT, actor="gateway", reference=callback.reference, details=details
        )
    await close_if_complete(repositories, attempt.id)
    if is_second_payment:
        return "a payment is reported twice, under two references of the bank"
    return "the gateway contradicts itself about a payment" if state is CallbackState.CONFLICT else None


async def close_if_complete(repositories: Repositories, attempt_id: int) -> None:
    """Once every row has its callback, an unknown attempt was evidently accepted, and an accepted one is over."""
    attempt = await repositories.dispatches.lock(attempt_id)
    known = attempt.outcome in {Outcome.UNKNOWN, Outcome.ACCEPTED}
    if not known or not attempt.is_open or await repositories.callbacks.lacks_some(attempt_id):
        return
    if attempt.outcome == Outcome.UNKNOWN:
        await repositories.attempt_events.add(
            attempt,
            EventKind.RESOLVED,
            actor="gateway",
            outcome=Outcome.ACCEPTED,
            note="The gateway has called back for every reference.",
        )
    await repositories.attempt_events.add(attempt, EventKind.CLOSED, actor="gateway")
