"""Dispatching a settlement to the bank gateway: written whole, then sent once, then answered once."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import structlog

from qrtrack.database import Database
from qrtrack.domain.akselgate.callbacks import CallbackTokens
from qrtrack.domain.akselgate.dispatches import (
    EventKind,
    Outcome,
    Transaction,
    TransactionType,
    check_transactions,
    payload_of,
    stale_after,
)
from qrtrack.domain.akselgate.gateway_answers import Verdict
from qrtrack.domain.errors import DomainError
from qrtrack.domain.identity import Caller
from qrtrack.domain.masking import masked
from qrtrack.domain.requests import AlreadyAnswered, Unanswered
from qrtrack.heavy_work import HeavyWork
from qrtrack.integrations.akselgate import Akselgate
from qrtrack.metrics import DISPATCHES
from qrtrack.repositories import Repositories
from qrtrack.repositories.constraints import ReferenceLocked, SettlementBusy
from qrtrack.services.akselgate.callbacks import close_if_complete
from qrtrack.services.akselgate.dispatch_answers import (
    Dispatched,
    Told,
    as_dispatched,
    carries,
    refuse_busy,
    refuse_locked,
    told_of,
    unrecorded,
)

RETRY_SECONDS = 0.5
CALLBACK_PATH = "/webhook/akselgate/callback"
NAMED_REFERENCES = 100
# So many are checked in two or three milliseconds.
ROWS_AT_ONCE = 200
UNKNOWN_ALARM = "alarm: the outcome of an attempt is unknown"
RELEASING = frozenset({Outcome.REJECTED, Outcome.NOT_SENT})

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DispatchOrder:
    """What is asked for; the transactions are as they came, unchecked."""

    kd_settle: str
    transaction_type: TransactionType
    transactions: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Post:
    """What a dispatch needs besides the database: the gateway, and the address that it shall call back."""

    gateway: Akselgate
    tokens: CallbackTokens
    public_base_url: str
    heavy_work: HeavyWork

    def callback_url(self, attempt_id: int) -> str:
        return f"{self.public_base_url}{CALLBACK_PATH}/{self.tokens.token_of(attempt_id)}"


async def dispatch_settlement(database: Database, *, caller: Caller, post: Post, order: DispatchOrder) -> Dispatched:
    """Sends the batch at most once. Run it so that nothing cancels it: between its two writes money is on the way.

    Raises GatewayNotConfigured and InvalidTransactions before anything is written, DispatchInProgress, OutcomeUnknown,
    AlreadyDispatched and ReferenceLocked with nothing left behind, and GatewayRejected, GatewayNotReached and
    GatewayOutcomeUnknown after the attempt was recorded.
    """
    terms = post.gateway.terms()
    if len(order.transactions) <= ROWS_AT_ONCE:
        transactions = check_transactions(order.transactions, terms)
    else:
        transactions = await post.heavy_work.run(caller.organisation_id, check_transactions, order.transactions, terms)
    not_after = time.monotonic() + stale_after(post.gateway.deadline_seconds)
    try:
        attempt, payload = await _write(
            database, caller, post, order, transactions=transactions, amount_scale=terms.amount_scale
        )
    except Unanswered:
        await _answer_for_the_dead(database, caller)
        raise
    except SettlementBusy as refusal:
        await refuse_busy(database, caller, order.kd_settle, order.transaction_type, refusal)
    except ReferenceLocked as refusal:
        await refuse_locked(database, caller, transactions, refusal)
    verdict = await post.gateway.send(payload, not_after=not_after)
    _log_verdict(attempt, verdict)
    told = await _record(database, attempt, verdict, patience_seconds=post.gateway.deadline_seconds)
    if isinstance(told, DomainError):
        raise told
    return told


async def _write(
    database: Database,
    caller: Caller,
    post: Post,
    order: DispatchOrder,
    *,
    transactions: Sequence[Transaction],
    amount_scale: int,
) -> tuple[Any, str]:
    """One commit with the whole attempt, and the text that it will send."""
    organisation_id = caller.organisation_id
    async with database.write(tenant=organisation_id) as repositories:
        attempt_id = await repositories.dispatches.next_id()
        payload, control_sum = payload_of(
            str(attempt_id), transactions, callback_url=post.callback_url(attempt_id), amount_scale=amount_scale
        )
        attempt = await repositories.dispatches.add(
            attempt_id,
            organisation_id=organisation_id,
            kd_settle=order.kd_settle,
            transaction_type=order.transaction_type,
            payload=payload,
            control_sum=control_sum,
            total=len(transactions),
            sent_by=caller.user_id,
            stale_after=stale_after(post.gateway.deadline_seconds),
            idempotency_key=database.request.key if database.request else None,
        )
        await repositories.dispatches.add_rows(attempt_id, organisation_id, transactions)
        return attempt, payload


async def _record(database: Database, attempt: Any, verdict: Verdict, *, patience_seconds: float) -> Told:
    """The answer, through a database that is away for a while; after that the sweeper finds the row `sending`."""
    give_up = time.monotonic() + patience_seconds
    while True:
        try:
            return await _record_once(database, attempt, verdict)
        except Exception:
            # Whatever it is, a defect too: the money may be gone, and its sender must not read that nothing happened.
            if time.monotonic() > give_up:
                log.exception("alarm: the gateway's answer could not be recorded", attempt_id=attempt.id)
                return unrecorded(attempt, verdict)
            await asyncio.sleep(RETRY_SECONDS)


async def _record_once(database: Database, attempt: Any, verdict: Verdict) -> Told:
    async with database.write(tenant=attempt.manufacturer_org_id) as repositories:
        before = await repositories.dispatches.lock(attempt.id)
        paid = await repositories.callbacks.paid(attempt.id) if verdict.outcome in RELEASING else ()
        is_recorded = carries(before, verdict)
        if not is_recorded:
            await _apply(repositories, attempt, verdict, paid)
        dispatched = as_dispatched(await repositories.dispatches.get(attempt.id))
        # A person has called it not taken meanwhile, and the gateway has it.
        is_contradicted = verdict.outcome is Outcome.ACCEPTED and dispatched.outcome in RELEASING
        told = unrecorded(attempt, verdict) if is_contradicted else told_of(dispatched)
        repositories.answer(told)
    if is_recorded or before.outcome == Outcome.SENDING:
        DISPATCHES.labels(dispatched.outcome).inc()
    if dispatched.outcome is Outcome.UNKNOWN and verdict.outcome is not Outcome.UNKNOWN:
        log.error(UNKNOWN_ALARM, attempt_id=attempt.id, kd_settle=attempt.kd_settle, answered=verdict.outcome)
    if paid or is_contradicted:
        log.error("alarm: the gateway contradicts itself about a payment", attempt_id=attempt.id)
    return told


def _log_verdict(attempt: Any, verdict: Verdict) -> None:
    """Before the answer is recorded: a process that ends in between leaves the line."""
    facts = {"attempt_id": attempt.id, "kd_settle": attempt.kd_settle, "outcome": verdict.outcome}
    match verdict.outcome:
        case Outcome.NOT_SENT:
            log.warning("the batch was not sent", **facts, reason=masked(verdict.response_message or ""))
        case Outcome.UNKNOWN:
            log.error(UNKNOWN_ALARM, **facts, status_code=verdict.status_code)
        case Outcome.REJECTED:
            log.info("the gateway refused the batch", **facts, status_code=verdict.status_code)
        case _:
            log.info("dispatched", **facts, status_code=verdict.status_code)


async def _apply(repositories: Repositories, attempt: Any, verdict: Verdict, paid: Sequence[str]) -> None:
    """Records the answer. An answer that would free the references is taken for unknown where one of them was paid, or
    was sent before and may be paid: the refusal of a repetition says nothing about the first request.
    """
    doubted = await repositories.dispatches.perhaps_paid(attempt.id) if verdict.outcome is Outcome.REJECTED else ()
    judged = replace(verdict, outcome=Outcome.UNKNOWN) if paid or doubted else verdict
    events = repositories.attempt_events
    if not await repositories.dispatches.answer(attempt.id, judged):
        await events.add(attempt, EventKind.LATE_RESPONSE, actor="gateway", details=asdict(verdict))
    if paid:
        contradiction = {"paid_references": list(paid), "outcome": verdict.outcome}
        await events.add(attempt, EventKind.CONFLICT, actor="gateway", details=contradiction)
    if doubted:
        doubt = {"sent_before": [row._asdict() for row in doubted[:NAMED_REFERENCES]], "count": len(doubted)}
        await events.add(attempt, EventKind.DOUBTED_REFUSAL, actor="gateway", details=doubt)
    await close_if_complete(repositories, attempt.id)


async def _answer_for_the_dead(database: Database, caller: Caller) -> None:
    """Completes a key whose process ended before its answer, once the sweeper has judged. Raises AlreadyAnswered."""
    request = database.request
    assert request is not None
    async with replace(database, request=None).write(tenant=caller.organisation_id) as repositories:
        attempt = await repositories.dispatches.of_key(request.key)
        if attempt is None or attempt.outcome == Outcome.SENDING:
            return
        dispatched = as_dispatched(attempt)
        request.answer = request.render(told_of(dispatched))
        await repositories.idempotency.keep(request)
    raise AlreadyAnswered(request.answer)
