"""What the sender of a batch is told: what became of its attempt, or which attempt kept it from being sent."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NoReturn

from qrtrack.database import Database
from qrtrack.domain.akselgate.dispatches import Outcome, RowError, Transaction, status_told
from qrtrack.domain.akselgate.gateway_answers import Verdict
from qrtrack.domain.errors import Conflict, DomainError, Unavailable, UpstreamFailed, UpstreamTimeout
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.identity import Caller
from qrtrack.domain.masking import masked
from qrtrack.repositories.constraints import ReferenceLocked, SettlementBusy


class GatewayRejected(UpstreamFailed):
    """The gateway refused the batch: correct it and dispatch again."""

    slug = "gateway-rejected"
    title = "The gateway refused the batch"


class GatewayNotReached(Unavailable):
    """The gateway was not reached: nothing was sent, dispatch again later."""

    slug = "gateway-not-reached"
    title = "The gateway was not reached"


class GatewayOutcomeUnknown(UpstreamTimeout):
    """The batch was sent and no answer came: the settlement is frozen until it is resolved."""

    slug = "gateway-outcome-unknown"
    title = "Nobody knows whether the gateway took the batch"


class OutcomeUnknown(Conflict):
    """An earlier attempt of the settlement may have been taken: nothing is sent until it is resolved."""

    slug = "outcome-unknown"
    title = "The settlement is frozen"


class AlreadyDispatched(Conflict):
    """An earlier attempt of the settlement was accepted, and its callbacks are not complete."""

    slug = "already-dispatched"
    title = "The settlement was dispatched already"


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


Told = Dispatched | DomainError


def as_dispatched(attempt: Any) -> Dispatched:
    return Dispatched(
        log_id=attempt.id,
        request_id=attempt.request_id,
        attempt_number=attempt.attempt_number,
        outcome=Outcome(attempt.outcome),
        total_transactions=attempt.total_transaksi,
        status_code=status_told(attempt.outcome, attempt.status_code_res),
        response_code=attempt.response_code,
        message=attempt.response_message and masked(attempt.response_message),
    )


def told_of(dispatched: Dispatched) -> Told:
    """What the sender of this attempt is told: it was accepted, or why not."""
    members = asdict(dispatched)
    match dispatched.outcome:
        case Outcome.ACCEPTED:
            return dispatched
        case Outcome.REJECTED:
            said = f" It says: {dispatched.message}" if dispatched.message else ""
            return GatewayRejected(f"{_refusal(dispatched.status_code)}{said}", **members)
        case Outcome.NOT_SENT:
            why = dispatched.message or "The gateway was not reached."
            return GatewayNotReached(f"Nothing was sent. {why} Dispatch again later.", **members)
        case _:
            return GatewayOutcomeUnknown(
                f"{_doubt(dispatched)} Do not pay in another way: the settlement is frozen until its callbacks come or "
                "an administrator resolves the attempt.",
                **members,
            )


def named(attempt_number: int, log_id: int) -> str:
    """An attempt as people read of it: its number within the settlement, and the id that routes and logs use."""
    return f"Attempt {attempt_number} (log_id {log_id})"


def _doubt(dispatched: Dispatched) -> str:
    attempt, status = named(dispatched.attempt_number, dispatched.log_id), dispatched.status_code or ""
    if not status.startswith("4"):
        return f"{attempt} may have been taken or not."
    said = f": {dispatched.message}" if dispatched.message else ""
    return (
        f"The gateway refused {attempt[0].lower()}{attempt[1:]} with status {status}{said}. It may have refused a "
        "repetition of what it took before, so nobody knows whether the references were paid."
    )


def _refusal(status_code: str | None) -> str:
    """What to do about a refusal that is not the batch's fault."""
    if status_code in {"401", "403"}:
        return "The gateway refused the token of the service, nothing was taken. A new one is fetched: dispatch again."
    if status_code == "429":
        return "The gateway is busy, nothing was taken. Dispatch again later."
    if status_code is not None and status_code.startswith("3"):
        return (
            "The gateway answered with a redirection, which is never followed: nothing was taken. Compare "
            "AKSELGATE_BASE_URL on the server with the bank's address, then dispatch again."
        )
    return "The gateway refused the batch, nothing was taken. Correct it and dispatch again."


def carries(attempt: Any, verdict: Verdict) -> bool:
    """Whether the attempt has this answer already: its commit came through, and the news of it did not."""
    recorded = (attempt.status_code_res, attempt.response_code, attempt.response_message)
    return recorded == (verdict.status_code, verdict.response_code, verdict.response_message)


def unrecorded(attempt: Any, verdict: Verdict) -> GatewayOutcomeUnknown:
    """What the sender is told where the attempt does not show what the gateway has answered."""
    dispatched = replace(
        as_dispatched(attempt),
        outcome=Outcome.UNKNOWN,
        status_code=verdict.status_code,
        response_code=verdict.response_code,
        message=verdict.response_message and masked(verdict.response_message),
    )
    return GatewayOutcomeUnknown(
        f"The gateway's answer to {named(attempt.attempt_number, attempt.id).lower()} could not be recorded. It is: "
        f"{verdict.outcome}, status {verdict.status_code}. Keep this for the administrator. Do not resend any of these "
        "payments until the bank confirms their state.",
        **asdict(dispatched),
    )


async def refuse_busy(
    database: Database, caller: Caller, kd_settle: str, transaction_type: str, refusal: SettlementBusy
) -> NoReturn:
    """Names the attempt that holds the settlement, or that ended in this very moment."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        attempt = await repositories.dispatches.newest(kd_settle, transaction_type)
    if attempt is None:
        raise refusal
    members = asdict(as_dispatched(attempt)) | {"kd_settle": attempt.kd_settle, "sent_at": attempt.sent_at}
    which = f"{named(attempt.attempt_number, attempt.id)} of settlement {attempt.kd_settle}"
    if attempt.outcome == Outcome.UNKNOWN:
        raise OutcomeUnknown(
            f"{which} may have been taken: nothing is sent until its callbacks come or it is resolved.", **members
        ) from refusal
    if attempt.outcome == Outcome.ACCEPTED and attempt.is_open:
        raise AlreadyDispatched(
            f"{which} was accepted. Once the gateway has called back for all of its references, those that failed may "
            "be dispatched again.",
            **members,
        ) from refusal
    raise SettlementBusy(f"{which} was sent a moment ago: look at its outcome first.", **members) from refusal


async def refuse_locked(
    database: Database, caller: Caller, transactions: Sequence[Transaction], refusal: ReferenceLocked
) -> NoReturn:
    rows = {transaction.reference.lower(): transaction for transaction in transactions}
    async with database.read(tenant=caller.organisation_id) as repositories:
        held = {line.reference_key: line for line in await repositories.dispatches.locked(list(rows))}
    errors = [
        RowError(
            pointer=f"/transactions/{row.row_number - 1}/referenceNumber",
            detail=f"{named(held[key].attempt_number, held[key].attempt_id)} of settlement {held[key].kd_settle} has "
            "sent this reference.",
            code=FieldCode.REFERENCE_SENT,
            params={"log_id": held[key].attempt_id, "kd_settle": held[key].kd_settle},
            row_number=row.row_number,
            reference=row.reference,
        )
        for key, row in rows.items()
        if key in held
    ]
    if not errors:
        raise refusal
    raise ReferenceLocked(
        "Nothing was sent: the references named in errors were sent before, and no failure of theirs was reported.",
        errors=errors,
    ) from refusal
