"""Dispatches a settlement: one commit with the whole attempt, one request to the gateway, one commit of the answer."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import structlog

from qrtrack.database import Database
from qrtrack.domain.akselgate.answers import Verdict
from qrtrack.domain.akselgate.attempts import RELEASING, AttemptOutcome, EventKind, TransactionType, stale_after
from qrtrack.domain.akselgate.callbacks import CallbackTokens
from qrtrack.domain.akselgate.dispatches import Transaction, check_transactions, payload_of
from qrtrack.domain.errors import DomainError
from qrtrack.domain.identity import Caller
from qrtrack.domain.masking import masked
from qrtrack.domain.requests import AlreadyAnswered, Unanswered
from qrtrack.integrations.akselgate import Akselgate
from qrtrack.limits.heavy_work import HeavyWork
from qrtrack.metrics import DISPATCHES
from qrtrack.repositories import Repositories
from qrtrack.repositories.akselgate.attempts import FoundAttempt
from qrtrack.repositories.constraints import DispatchInProgress, ReferenceLocked
from qrtrack.services.akselgate.answers import (
    DispatchAnswer,
    Dispatched,
    answer_for,
    has_answer,
    raise_in_progress,
    raise_locked,
    unrecorded_answer,
)
from qrtrack.services.akselgate.attempts import alarm_unknown
from qrtrack.services.akselgate.callbacks import close_if_complete

RETRY_SECONDS: Final = 0.5
NAMED_REFERENCES: Final = 100
# Checking this many rows takes 2 to 3 ms. More rows are checked in a thread.
ROWS_AT_ONCE: Final = 200

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DispatchRequest:
    """What the caller wants to send. `transactions` are not checked yet."""

    kd_settle: str
    transaction_type: TransactionType
    transactions: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """What a dispatch needs besides the database. `callback_base_url`: the address of callbacks, without the token."""

    gateway: Akselgate
    tokens: CallbackTokens
    callback_base_url: str
    heavy_work: HeavyWork

    def callback_url(self, attempt_id: int) -> str:
        return f"{self.callback_base_url}/{self.tokens.token_of(attempt_id)}"


async def dispatch_settlement(
    database: Database, *, caller: Caller, dispatcher: Dispatcher, request: DispatchRequest
) -> Dispatched:
    """Sends the batch at most once. Shield it from cancellation: money moves between its two commits.

    GatewayNotConfigured and InvalidTransactions come before anything is written. DispatchInProgress, OutcomeUnknown,
    AlreadyDispatched and ReferenceLocked roll back the attempt. GatewayRejected, GatewayNotReached and
    GatewayOutcomeUnknown come after the attempt is recorded.
    """
    terms = dispatcher.gateway.terms()
    if len(request.transactions) <= ROWS_AT_ONCE:
        rows = check_transactions(request.transactions, terms)
    else:
        rows = await dispatcher.heavy_work.run(caller.organisation_id, check_transactions, request.transactions, terms)
    not_after = time.monotonic() + stale_after(dispatcher.gateway.deadline_seconds)
    try:
        attempt, payload = await _add_attempt(
            database, caller, dispatcher, request, rows=rows, amount_scale=terms.amount_scale
        )
    except Unanswered:
        await _complete_key(database, caller)
        raise
    except DispatchInProgress as refusal:
        await raise_in_progress(database, caller, request.kd_settle, request.transaction_type, refusal)
    except ReferenceLocked as refusal:
        await raise_locked(database, caller, rows, refusal)
    verdict = await dispatcher.gateway.send(payload, not_after=not_after)
    _log_verdict(attempt, verdict)
    answer = await _persist_verdict(database, attempt, verdict, patience_seconds=dispatcher.gateway.deadline_seconds)
    if isinstance(answer, DomainError):
        raise answer
    return answer


async def _add_attempt(
    database: Database,
    caller: Caller,
    dispatcher: Dispatcher,
    request: DispatchRequest,
    *,
    rows: Sequence[Transaction],
    amount_scale: int,
) -> tuple[FoundAttempt, str]:
    """Commits the attempt with all its rows. Returns it and the payload to send."""
    organisation_id = caller.organisation_id
    async with database.write(tenant=organisation_id) as repositories:
        attempt_id = await repositories.dispatches.next_id()
        payload, control_sum = payload_of(
            str(attempt_id), rows, callback_url=dispatcher.callback_url(attempt_id), amount_scale=amount_scale
        )
        await repositories.dispatches.add(
            attempt_id,
            organisation_id=organisation_id,
            kd_settle=request.kd_settle,
            transaction_type=request.transaction_type,
            payload=payload,
            control_sum=control_sum,
            total=len(rows),
            sent_by=caller.user_id,
            stale_after=stale_after(dispatcher.gateway.deadline_seconds),
            idempotency_key=database.request.key if database.request else None,
        )
        await repositories.dispatches.add_rows(attempt_id, organisation_id, rows)
        return await repositories.attempts.get(attempt_id), payload


async def _persist_verdict(
    database: Database, attempt: FoundAttempt, verdict: Verdict, *, patience_seconds: float
) -> DispatchAnswer:
    """Records the verdict. Retries after any error, until `patience_seconds` are over. Then the attempt stays
    `sending`, and the sweeper sets it to unknown.
    """
    give_up = time.monotonic() + patience_seconds
    while True:
        try:
            return await _persist_once(database, attempt, verdict)
        except Exception:
            # Retries after any error, also after a defect of ours. The money may have moved, so the sender must not
            # read that nothing was sent.
            if time.monotonic() > give_up:
                log.exception("alarm: the gateway's answer could not be recorded", attempt_id=attempt.id)
                return unrecorded_answer(attempt, verdict)
            await asyncio.sleep(RETRY_SECONDS)


async def _persist_once(database: Database, attempt: FoundAttempt, verdict: Verdict) -> DispatchAnswer:
    async with database.write(tenant=attempt.manufacturer_org_id) as repositories:
        before = await repositories.attempts.lock(attempt.id)
        paid = await repositories.callbacks.list_paid(attempt.id) if verdict.outcome in RELEASING else ()
        is_recorded = has_answer(before, verdict)
        if not is_recorded:
            await _apply(repositories, attempt, verdict, paid)
        dispatched = Dispatched.of(await repositories.attempts.get(attempt.id))
        # An administrator has resolved the attempt as rejected or not sent, but the gateway accepts it.
        is_contradicted = verdict.outcome is AttemptOutcome.ACCEPTED and dispatched.outcome in RELEASING
        answer = unrecorded_answer(attempt, verdict) if is_contradicted else answer_for(dispatched)
        repositories.answer(answer)
    if is_recorded or before.outcome == AttemptOutcome.SENDING:
        DISPATCHES.labels(dispatched.outcome).inc()
    if dispatched.outcome is AttemptOutcome.UNKNOWN and verdict.outcome is not AttemptOutcome.UNKNOWN:
        alarm_unknown(attempt, answered=verdict.outcome)
    if paid or is_contradicted:
        log.error("alarm: the gateway contradicts what is recorded about a payment", attempt_id=attempt.id)
    return answer


def _log_verdict(attempt: FoundAttempt, verdict: Verdict) -> None:
    """Logs the verdict before it is committed, so that the line remains if the process ends in between."""
    facts = {"attempt_id": attempt.id, "kd_settle": attempt.kd_settle, "outcome": verdict.outcome}
    match verdict.outcome:
        case AttemptOutcome.NOT_SENT:
            log.warning("the batch was not sent", **facts, reason=masked(verdict.response_message or ""))
        case AttemptOutcome.UNKNOWN:
            alarm_unknown(attempt, outcome=verdict.outcome, status_code=verdict.status_code)
        case AttemptOutcome.REJECTED:
            log.info("the gateway refused the batch", **facts, status_code=verdict.status_code)
        case _:
            log.info("dispatched", **facts, status_code=verdict.status_code)


async def _apply(repositories: Repositories, attempt: FoundAttempt, verdict: Verdict, paid: Sequence[str]) -> None:
    """Writes the verdict. A verdict that would unlock the references becomes unknown if one of them is paid. A refusal
    becomes unknown also if one of them was sent before and may be paid: the gateway may refuse a repetition of what it
    paid.
    """
    is_rejected = verdict.outcome is AttemptOutcome.REJECTED
    doubted = await repositories.dispatches.find_sent_before(attempt.id) if is_rejected else ()
    judged = replace(verdict, outcome=AttemptOutcome.UNKNOWN) if paid or doubted else verdict
    events = repositories.attempt_events
    if not await repositories.attempts.record_answer(attempt.id, judged):
        await events.add(attempt, EventKind.LATE_RESPONSE, actor="gateway", details=asdict(verdict))
    if paid:
        contradiction = {"paid_references": list(paid), "outcome": verdict.outcome}
        await events.add(attempt, EventKind.CONFLICT, actor="gateway", details=contradiction)
    if doubted:
        doubt = {"sent_before": [row._asdict() for row in doubted[:NAMED_REFERENCES]], "count": len(doubted)}
        await events.add(attempt, EventKind.DOUBTED_REFUSAL, actor="gateway", details=doubt)
    await close_if_complete(repositories, attempt.id)


async def _complete_key(database: Database, caller: Caller) -> None:
    """Completes an Idempotency-Key whose process ended without an answer: stores the outcome of its attempt as the
    answer.

    Raises AlreadyAnswered. Returns if there is no attempt, or while it is `sending`.
    """
    request = database.request
    assert request is not None
    async with replace(database, request=None).write(tenant=caller.organisation_id) as repositories:
        attempt = await repositories.attempts.find_by_key(request.key)
        if attempt is None or attempt.outcome == AttemptOutcome.SENDING:
            return
        request.answer = request.render(answer_for(Dispatched.of(attempt)))
        await repositories.idempotency.keep(request)
    raise AlreadyAnswered(request.answer)
