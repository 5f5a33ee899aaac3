"""Callbacks of the gateway: what each one changes in its row and in its attempt."""

from collections.abc import Set as AbstractSet
from dataclasses import replace

import structlog

from qrtrack.database import Database
from qrtrack.domain.akselgate.attempts import AttemptOutcome, EventKind
from qrtrack.domain.akselgate.callbacks import Callback, CallbackState, UnknownCallback, state_after
from qrtrack.domain.masking import masked
from qrtrack.repositories import Repositories
from qrtrack.repositories.akselgate.attempts import FoundAttempt
from qrtrack.repositories.akselgate.callbacks import CalledBackRow
from qrtrack.repositories.constraints import ReferenceLocked

log = structlog.get_logger(__name__)


async def receive_callback(
    database: Database, *, attempt_id: int, callback: Callback, failure_codes: AbstractSet[str]
) -> None:
    """Stores the callback and its effects. A repeated callback changes nothing. Raises UnknownCallback."""
    async with database.read() as repositories:
        organisation_id = await repositories.callbacks.find_organisation(attempt_id)
    if organisation_id is None:
        raise UnknownCallback("The service has no attempt for this callback address.")
    try:
        async with database.write(tenant=organisation_id) as repositories:
            alarm = await _store(repositories, attempt_id, callback, failure_codes)
    except ReferenceLocked:
        # The trigger found the reference free, but another attempt locked it before this transaction did. In the second
        # try, the trigger sees that lock.
        async with database.write(tenant=organisation_id) as repositories:
            alarm = await _store(repositories, attempt_id, callback, failure_codes)
    if alarm is not None:
        reference = masked(callback.reference)
        log.error("alarm: ask the bank about a payment", why=alarm, attempt_id=attempt_id, reference=reference)


async def _store(
    repositories: Repositories, attempt_id: int, callback: Callback, failure_codes: AbstractSet[str]
) -> str | None:
    """Returns the reason for an alarm, if any."""
    attempt = await repositories.attempts.lock(attempt_id)
    row = await repositories.callbacks.find_row(attempt_id, callback.reference)
    reported = callback.state(failure_codes)
    kind = EventKind.CALLBACK
    if reported is None:
        kind = EventKind.UNREADABLE_CALLBACK
    elif row is None:
        kind = EventKind.UNKNOWN_REFERENCE
    if row is not None:
        # Replaces the callback's spelling of the reference by the row's: a repeated report in other letter case then
        # counts as the same report.
        callback = replace(callback, reference=row.reference_number)
    if not await repositories.callbacks.add(attempt, kind, callback):
        return None
    if row is None:
        return "the callback names a reference that the attempt did not send"
    if reported is None:
        return "the result of the callback is neither success nor a known failure; it unlocks no reference"
    return await _apply(repositories, attempt, row, callback, reported)


async def _apply(
    repositories: Repositories,
    attempt: FoundAttempt,
    row: CalledBackRow,
    callback: Callback,
    reported: CallbackState,
) -> str | None:
    """Returns the reason for an alarm, if any."""
    before = CallbackState(row.callback_state)
    state = state_after(before, AttemptOutcome(attempt.outcome), reported)
    if state is not before:
        await repositories.callbacks.set_state(attempt.id, row.row_number, state)
    # A repeated callback returns earlier. So this second success names another reference of the bank.
    is_second_payment = before is state is CallbackState.OK
    if state is CallbackState.CONFLICT or is_second_payment:
        details = {"before": before, "outcome": attempt.outcome, "reported": callback.result}
        await repositories.attempt_events.add(
            attempt, EventKind.CONFLICT, actor="gateway", reference=callback.reference, details=details
        )
    await close_if_complete(repositories, attempt.id)
    if is_second_payment:
        return "the bank reports the payment twice, under two references of its own"
    return "the gateway contradicts what is recorded about a payment" if state is CallbackState.CONFLICT else None


async def close_if_complete(repositories: Repositories, attempt_id: int) -> None:
    """Closes an attempt when every row has its callback. An unknown attempt becomes accepted first: callbacks prove
    that the bank took it.
    """
    attempt = await repositories.attempts.lock(attempt_id)
    is_known = attempt.outcome in {AttemptOutcome.UNKNOWN, AttemptOutcome.ACCEPTED}
    if not is_known or not attempt.is_open or await repositories.callbacks.has_missing(attempt_id):
        return
    if attempt.outcome == AttemptOutcome.UNKNOWN:
        await repositories.attempt_events.add(
            attempt,
            EventKind.RESOLVED,
            actor="gateway",
            outcome=AttemptOutcome.ACCEPTED,
            note="The gateway has called back for every reference.",
        )
    await repositories.attempt_events.add(attempt, EventKind.CLOSED, actor="gateway")
