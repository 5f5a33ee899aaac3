"""The answer to a dispatch: the outcome of its attempt, or the attempt that prevented it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import NoReturn, Self, TypeAlias

from qrtrack.database import Database
from qrtrack.domain.akselgate.answers import Verdict
from qrtrack.domain.akselgate.attempts import AttemptOutcome, shown_status
from qrtrack.domain.akselgate.dispatches import RowError, Transaction
from qrtrack.domain.errors import Conflict, DomainError, Unavailable, UpstreamFailed, UpstreamTimeout
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.identity import Caller
from qrtrack.domain.masking import masked
from qrtrack.repositories.akselgate.attempts import FoundAttempt
from qrtrack.repositories.constraints import DispatchInProgress, ReferenceLocked


class GatewayRejected(UpstreamFailed):
    """The gateway refused the batch and took nothing. `detail` says what to do."""

    slug = "gateway-rejected"
    title = "The gateway refused the batch"


class GatewayNotReached(Unavailable):
    """The batch did not reach the gateway: no connection, no login, or no time left. `detail` names the cause."""

    slug = "gateway-not-reached"
    title = "The batch did not reach the gateway"


class GatewayOutcomeUnknown(UpstreamTimeout):
    """The batch was sent, and no clear answer came. The settlement is frozen until the bank has called back for every
    reference or an administrator resolves the attempt.
    """

    slug = "gateway-outcome-unknown"
    title = "It is not known whether the gateway took the batch"


class OutcomeUnknown(Conflict):
    """The bank may have taken an earlier attempt of the settlement. Nothing is sent until the bank has called back for
    every reference of that attempt or an administrator resolves it.
    """

    slug = "outcome-unknown"
    title = "The settlement is frozen"


class AlreadyDispatched(Conflict):
    """An earlier attempt of the settlement was accepted, and callbacks for it are still missing."""

    slug = "already-dispatched"
    title = "The settlement has been dispatched already"


@dataclass(frozen=True, slots=True)
class Dispatched:
    """An attempt as its sender sees it. `message` is the gateway's message, with account numbers masked."""

    log_id: int
    request_id: str
    attempt_number: int
    outcome: AttemptOutcome
    total_transactions: int
    status_code: str | None
    response_code: str | None
    message: str | None

    @classmethod
    def of(cls, attempt: FoundAttempt) -> Self:
        return cls(
            log_id=attempt.id,
            request_id=attempt.request_id,
            attempt_number=attempt.attempt_number,
            outcome=AttemptOutcome(attempt.outcome),
            total_transactions=attempt.total_transaksi,
            status_code=shown_status(attempt.outcome, attempt.status_code_res),
            response_code=attempt.response_code,
            message=attempt.response_message and masked(attempt.response_message),
        )


DispatchAnswer: TypeAlias = Dispatched | DomainError


def answer_for(dispatched: Dispatched) -> DispatchAnswer:
    """Returns the attempt itself if it was accepted. Otherwise returns the error, which the caller raises."""
    members = asdict(dispatched)
    match dispatched.outcome:
        case AttemptOutcome.ACCEPTED:
            return dispatched
        case AttemptOutcome.REJECTED:
            quoted = f" It says: {dispatched.message}" if dispatched.message else ""
            return GatewayRejected(f"{_refusal(dispatched.status_code)}{quoted}", **members)
        case AttemptOutcome.NOT_SENT:
            why = dispatched.message or "The batch did not reach the gateway."
            return GatewayNotReached(f"Nothing was sent. {why} Dispatch again later.", **members)
        case _:
            return GatewayOutcomeUnknown(
                f"{_doubt(dispatched)} Do not pay in another way. The settlement is frozen until the bank has called "
                "back for every reference or an administrator resolves the attempt.",
                **members,
            )


def attempt_label(attempt_number: int, log_id: int) -> str:
    """Names an attempt, such as `attempt 2 (log_id 17)`: by its number within the settlement, and by the id that routes
    and logs use.
    """
    return f"attempt {attempt_number} (log_id {log_id})"


def _doubt(dispatched: Dispatched) -> str:
    label, status = attempt_label(dispatched.attempt_number, dispatched.log_id), dispatched.status_code or ""
    if not status.startswith("4"):
        return f"The bank may or may not have taken {label}."
    quoted = f": {dispatched.message}" if dispatched.message else ""
    return (
        f"The gateway refused {label} with status {status}{quoted}. It may have refused a repetition of what it took "
        "before, so it is not known whether the references are paid."
    )


def _refusal(status_code: str | None) -> str:
    """Returns what happened and what to do. Some refusals are not the batch's fault."""
    if status_code in {"401", "403"}:
        return (
            "The gateway refused the token of the service and took nothing. The service fetches a new one: dispatch "
            "again."
        )
    if status_code == "429":
        return "The gateway is busy and took nothing. Dispatch again later."
    if status_code is not None and status_code.startswith("3"):
        return (
            "The gateway answered with a redirect, which the service never follows. Nothing was taken. Compare "
            "AKSELGATE_BASE_URL on the server with the bank's address, then dispatch again."
        )
    return "The gateway refused the batch and took nothing. Correct it and dispatch again."


def has_answer(attempt: FoundAttempt, verdict: Verdict) -> bool:
    """Returns whether the attempt already contains this answer: an earlier commit may have succeeded although the
    connection broke.
    """
    recorded = (attempt.status_code_res, attempt.response_code, attempt.response_message)
    return recorded == (verdict.status_code, verdict.response_code, verdict.response_message)


def unrecorded_answer(attempt: FoundAttempt, verdict: Verdict) -> GatewayOutcomeUnknown:
    """Builds the answer to the sender when the attempt does not show what the gateway answered."""
    dispatched = replace(
        Dispatched.of(attempt),
        outcome=AttemptOutcome.UNKNOWN,
        status_code=verdict.status_code,
        response_code=verdict.response_code,
        message=verdict.response_message and masked(verdict.response_message),
    )
    return GatewayOutcomeUnknown(
        f"The log does not show the gateway's answer to {attempt_label(attempt.attempt_number, attempt.id)}. The "
        f"answer is: {verdict.outcome}, status {verdict.status_code}. Keep this text for the administrator. Do not "
        "resend any of these payments until the bank confirms their state.",
        **asdict(dispatched),
    )


async def raise_in_progress(
    database: Database, caller: Caller, kd_settle: str, transaction_type: str, refusal: DispatchInProgress
) -> NoReturn:
    """Looks up the newest attempt of the settlement. Raises OutcomeUnknown, AlreadyDispatched or DispatchInProgress,
    which name that attempt.
    """
    async with database.read(tenant=caller.organisation_id) as repositories:
        attempt = await repositories.attempts.find_latest(kd_settle, transaction_type)
    if attempt is None:
        raise refusal
    members = asdict(Dispatched.of(attempt)) | {"kd_settle": attempt.kd_settle, "sent_at": attempt.sent_at}
    label = f"{attempt_label(attempt.attempt_number, attempt.id)} of settlement {attempt.kd_settle}"
    if attempt.outcome == AttemptOutcome.UNKNOWN:
        raise OutcomeUnknown(
            f"Nothing was sent. The bank may or may not have taken {label}. Wait until the bank has called back for "
            "every reference or an administrator resolves that attempt.",
            **members,
        ) from refusal
    if attempt.outcome == AttemptOutcome.ACCEPTED and attempt.is_open:
        raise AlreadyDispatched(
            f"Nothing was sent. The bank has accepted {label}. Wait until it has called back for every reference, then "
            "dispatch again those that failed.",
            **members,
        ) from refusal
    raise DispatchInProgress(
        f"Nothing was sent. Another request has started {label}. Look at the outcome of that attempt before you "
        "dispatch again.",
        **members,
    ) from refusal


async def raise_locked(
    database: Database, caller: Caller, transactions: Sequence[Transaction], refusal: ReferenceLocked
) -> NoReturn:
    """Raises ReferenceLocked with each locked reference and the attempt that locked it."""
    rows = {transaction.reference.lower(): transaction for transaction in transactions}
    async with database.read(tenant=caller.organisation_id) as repositories:
        locked = {line.reference_key: line for line in await repositories.dispatches.find_locked(list(rows))}
    errors = [
        RowError(
            pointer=f"/transactions/{row.row_number - 1}/referenceNumber",
            detail=f"This reference was sent in {attempt_label(held.attempt_number, held.attempt_id)} of settlement "
            f"{held.kd_settle}.",
            code=FieldCode.REFERENCE_SENT,
            params={"log_id": held.attempt_id, "kd_settle": held.kd_settle},
            row_number=row.row_number,
            reference=row.reference,
        )
        for key, row in rows.items()
        if (held := locked.get(key)) is not None
    ]
    if not errors:
        raise refusal
    raise ReferenceLocked(
        "Nothing was sent. The references in `errors` were sent before, and the bank has not reported them as failed. "
        "Take them out of the batch; do not pay them in another way.",
        errors=errors,
    ) from refusal
