"""Dispatching a settlement to the bank gateway: written whole, then sent once, then answered once."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NoReturn

import structlog

from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.domain.callbacks import CallbackTokens
from qrtrack.domain.dispatches import (
    EventKind,
    Outcome,
    RowError,
    Transaction,
    TransactionType,
    check_transactions,
    masked,
    payload_of,
)
from qrtrack.domain.errors import Conflict, DomainError, Unavailable, UpstreamFailed, UpstreamTimeout
from qrtrack.domain.gateway_answers import Verdict
from qrtrack.domain.identity import Caller
from qrtrack.domain.requests import AlreadyAnswered, Unanswered
from qrtrack.integrations.akselgate import Akselgate
from qrtrack.metrics import DISPATCHES
from qrtrack.repositories import Repositories
from qrtrack.repositories.constraints import ReferenceLocked, SettlementBusy

RETRY_SECONDS = 0.5
CALLBACK_PATH = "/webhook/akselgate/callback"
RELEASING = frozenset({Outcome.REJECTED, Outcome.NOT_SENT})

log = structlog.get_logger(__name__)


class GatewayRejected(UpstreamFailed):
    slug = "gateway-rejected"
    title = "The gateway refused the batch"


class GatewayNotReached(Unavailable):
    slug = "gateway-not-reached"
    title = "The gateway was not reached"


class GatewayOutcomeUnknown(UpstreamTimeout):
    slug = "gateway-outcome-unknown"
    title = "Nobody knows whether the gateway took the batch"


class OutcomeUnknown(Conflict):
    slug = "outcome-unknown"
    title = "The settlement is frozen"


class DispatchInProgress(Conflict):
    slug = "dispatch-in-progress"
    title = "The settlement is being dispatched"


class AlreadyDispatched(Conflict):
    slug = "already-dispatched"
    title = "The settlement was dispatched already"


class LockedReferences(Conflict):
    slug = "reference-locked"
    title = "A reference has been sent already"


@dataclass(frozen=True, slots=True)
class DispatchOrder:
    """What is asked for; the transactions are as they came, unchecked."""

    kd_settle: str
    transaction_type: TransactionType
    transactions: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Dispatched:
    """An attempt as its sender is told of it. `message` is the gateway's, with account numbers masked."""

    log_id: int
    request_id: str
    attempt_number: int
    outcome: Outcome
    total_transactions: int
    status_code: str | None
    response_code: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class Post:
    """What a dispatch needs besides the database: the gateway, and the address that it shall call back."""

    gateway: Akselgate
    tokens: CallbackTokens
    public_base_url: str

    def callback_url(self, attempt_id: int) -> str:
        return f"{self.public_base_url}{CALLBACK_PATH}/{self.tokens.token_of(attempt_id)}"


async def dispatch_settlement(database: Database, *, caller: Caller, post: Post, order: DispatchOrder) -> Dispatched:
    """Sends the batch at most once. Run it so that nothing cancels it: between its two writes money is on the way.

    Raises GatewayNotConfigured and InvalidTransactions before anything is written, DispatchInProgress, OutcomeUnknown,
    AlreadyDispatched and ReferenceLocked with nothing left behind, and GatewayRejected, GatewayNotReached and
    GatewayOutcomeUnknown after the attempt was recorded.
    """
    terms = post.gateway.terms()
    transactions = await asyncio.to_thread(check_transactions, order.transactions, terms)
    try:
        attempt, payload = await _write(
            database, caller, post, order, transactions=transactions, amount_scale=terms.amount_scale
        )
    except Unanswered:
        await _answer_for_the_dead(database, caller)
        raise
    except SettlementBusy as refusal:
        await _refuse_busy(database, caller, order, refusal)
    except ReferenceLocked as refusal:
        await _refuse_locked(database, caller, transactions, refusal)
    verdict = await post.gateway.send(payload)
    log.info("dispatched", attempt_id=attempt.id, kd_settle=attempt.kd_settle, outcome=verdict.outcome)
    dispatched = await _record(database, attempt, verdict, patience_seconds=post.gateway.deadline_seconds)
    failure = failure_of(dispatched)
    if failure is not None:
        raise failure
    return dispatched


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
            idempotency_key=database.request.key if database.request else None,
        )
        await repositories.dispatches.add_rows(attempt_id, organisation_id, transactions)
        return attempt, payload


async def _record(database: Database, attempt: Any, verdict: Verdict, *, patience_seconds: float) -> Dispatched:
    """The answer, through a database that is away for a while; after that the sweeper finds the row `sending`."""
    give_up = time.monotonic() + patience_seconds
    while True:
        try:
            return await _record_once(database, attempt, verdict)
        except DatabaseUnavailable:
            if time.monotonic() > give_up:
                log.error("alarm: the gateway's answer could not be recorded", attempt_id=attempt.id)  # noqa: TRY400
                raise
            await asyncio.sleep(RETRY_SECONDS)


async def _record_once(database: Database, attempt: Any, verdict: Verdict) -> Dispatched:
    async with database.write(tenant=attempt.manufacturer_org_id) as repositories:
        is_first = await repositories.dispatches.answer(attempt.id, verdict)
        paid = await repositories.callbacks.paid(attempt.id) if verdict.outcome in RELEASING else ()
        if not is_first:
            await repositories.dispatches.add_event(
                attempt, EventKind.LATE_RESPONSE, actor="gateway", details=asdict(verdict)
            )
        elif paid:
            await repositories.dispatches.add_event(
                attempt, EventKind.CONFLICT, actor="gateway", details={"paid_references": list(paid)}
            )
        await close_if_complete(repositories, attempt.id)
        dispatched = as_dispatched(await repositories.dispatches.get(attempt.id))
        repositories.answer(failure_of(dispatched) or dispatched)
    if is_first:
        DISPATCHES.labels(dispatched.outcome).inc()
    if paid:
        log.error("alarm: the gateway contradicts itself about a payment", attempt_id=attempt.id)
    return dispatched


async def close_if_complete(repositories: Repositories, attempt_id: int) -> None:
    """Once every row has its callback, an unknown attempt was evidently accepted, and an accepted one is over."""
    attempt = await repositories.dispatches.lock(attempt_id)
    known = attempt.outcome in {Outcome.UNKNOWN, Outcome.ACCEPTED}
    if not known or not attempt.is_open or await repositories.callbacks.lacks_some(attempt_id):
        return
    if attempt.outcome == Outcome.UNKNOWN:
        await repositories.dispatches.add_event(
            attempt,
            EventKind.RESOLVED,
            actor="gateway",
            outcome=Outcome.ACCEPTED,
            note="The gateway has called back for every reference.",
        )
    await repositories.dispatches.add_event(attempt, EventKind.CLOSED, actor="gateway")


def as_dispatched(attempt: Any) -> Dispatched:
    return Dispatched(
        log_id=attempt.id,
        request_id=attempt.request_id,
        attempt_number=attempt.attempt_number,
        outcome=Outcome(attempt.outcome),
        total_transactions=attempt.total_transaksi,
        status_code=attempt.status_code_res,
        response_code=attempt.response_code,
        message=attempt.response_message and masked(attempt.response_message),
    )


def failure_of(dispatched: Dispatched) -> DomainError | None:
    """What the sender of this attempt is told, where it is not a success."""
    members = asdict(dispatched)
    said = f" It says: {dispatched.message}" if dispatched.message else ""
    match dispatched.outcome:
        case Outcome.ACCEPTED:
            return None
        case Outcome.REJECTED:
            return GatewayRejected(
                f"The gateway refused the batch, nothing was taken. Correct it and dispatch again.{said}", **members
            )
        case Outcome.NOT_SENT:
            return GatewayNotReached(
                f"Nothing was sent: the gateway was not reached. Dispatch again later.{said}", **members
            )
        case _:
            return GatewayOutcomeUnknown(
                f"Attempt {dispatched.log_id} may have been taken or not. Do not pay in another way: the settlement is "
                "frozen until its callbacks come or an administrator resolves the attempt.",
                **members,
            )


async def _answer_for_the_dead(database: Database, caller: Caller) -> None:
    """Completes a key whose process ended before its answer, once the sweeper has judged. Raises AlreadyAnswered."""
    request = database.request
    assert request is not None
    async with replace(database, request=None).write(tenant=caller.organisation_id) as repositories:
        attempt = await repositories.dispatches.of_key(request.key)
        if attempt is None or attempt.outcome == Outcome.SENDING:
            return
        dispatched = as_dispatched(attempt)
        request.answer = request.render(failure_of(dispatched) or dispatched)
        await repositories.idempotency.keep(request)
    raise AlreadyAnswered(request.answer)


async def _refuse_busy(database: Database, caller: Caller, order: DispatchOrder, refusal: SettlementBusy) -> NoReturn:
    """Names the attempt that holds the settlement, or that ended in this very moment."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        attempt = await repositories.dispatches.newest(order.kd_settle, order.transaction_type)
    if attempt is None:
        raise refusal
    members = asdict(as_dispatched(attempt)) | {"kd_settle": attempt.kd_settle, "sent_at": attempt.sent_at}
    named = f"Attempt {attempt.id} of settlement {attempt.kd_settle}"
    if attempt.outcome == Outcome.UNKNOWN:
        raise OutcomeUnknown(
            f"{named} may have been taken: nothing is sent until its callbacks come or it is resolved.", **members
        ) from refusal
    if attempt.outcome == Outcome.ACCEPTED and attempt.is_open:
        raise AlreadyDispatched(
            f"{named} was accepted. Once the gateway has called back for all of its references, those that failed may "
            "be dispatched again.",
            **members,
        ) from refusal
    raise DispatchInProgress(f"{named} was sent a moment ago: look at its outcome first.", **members) from refusal


async def _refuse_locked(
    database: Database, caller: Caller, transactions: Sequence[Transaction], refusal: ReferenceLocked
) -> NoReturn:
    rows = {transaction.reference: transaction.row_number for transaction in transactions}
    async with database.read(tenant=caller.organisation_id) as repositories:
        held = await repositories.dispatches.locked(list(rows))
    errors = [
        RowError(
            f"/transactions/{rows[line.reference_number] - 1}/referenceNumber",
            f"Attempt {line.attempt_id} of settlement {line.kd_settle} has sent this reference.",
            rows[line.reference_number],
            line.reference_number,
        )
        for line in sorted(held, key=lambda line: rows[line.reference_number])
    ]
    if not errors:
        raise refusal
    raise LockedReferences(
        f"{len(errors)} of the references were sent before, and no failure was reported: nothing was sent.",
        errors=errors,
    ) from refusal
