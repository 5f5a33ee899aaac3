"""Settlements: the list of attempts to send them, one attempt with its history, and the report of a day. Resolving
calls the JSON API.

Nothing is dispatched here: the plant's own system sends settlements, with their rows.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, Literal, NamedTuple
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from qrtrack.console.access import ConsoleRoute, Financier
from qrtrack.domain.akselgate.attempts import AttemptFilter, AttemptOutcome, TransactionType, shown_status
from qrtrack.domain.errors import NotFound
from qrtrack.domain.identity import Permission, is_same_person
from qrtrack.domain.masking import masked
from qrtrack.routers.akselgate.callers import check_account_holder
from qrtrack.schemas.base import LARGEST_SEQUENCE, PRINTABLE, RowId
from qrtrack.services.akselgate.attempts import AttemptView, view_attempt
from qrtrack.services.akselgate.reports import report_day

router = APIRouter(route_class=ConsoleRoute, prefix="/console/settlements", include_in_schema=False)

PAGE: Final = 50
ROWS: Final = 50
SHOWN_RESPONSE: Final = 4_000
TONES: Final[Mapping[str, str]] = {
    "sending": "busy", "accepted": "good", "rejected": "warn", "not_sent": "warn", "unknown": "bad",
}  # fmt: skip
CALLBACK_TONES: Final[Mapping[str, str]] = {"ok": "good", "failed": "warn", "conflict": "bad"}

Settlement = Annotated[str, Query(max_length=50, pattern=PRINTABLE)]
LogId = Annotated[RowId, Path()]
Before = Annotated[RowId | None, Query()]
After = Annotated[int, Query(ge=0, le=LARGEST_SEQUENCE)]


class ListFilter(NamedTuple):
    """The filter in the address of the list. Without `all`, the list shows only the last attempt of each settlement."""

    outcome: str
    kd_settle: str
    type: str
    all: str

    @property
    def query(self) -> str:
        return urlencode({name: value for name, value in self._asdict().items() if value})

    def attempts(self) -> AttemptFilter:
        return AttemptFilter(
            self.kd_settle or None,
            TransactionType(self.type) if self.type else None,
            AttemptOutcome(self.outcome) if self.outcome else None,
            None if self.all else 1,
        )


@router.get("")
async def show_attempts(
    visitor: Financier,
    *,
    outcome: AttemptOutcome | Literal[""] = "",
    kd_settle: Settlement = "",
    kind: Annotated[TransactionType | Literal[""], Query(alias="type")] = "",
    older: Annotated[Literal["", "1"], Query(alias="all")] = "",
    before: Before = None,
) -> Response:
    """Lists the attempts. For an organisation without an account at the gateway, says so instead."""
    try:
        check_account_holder(visitor.runtime, visitor.caller)
    except NotFound:
        return visitor.page("settlements_none.html")
    wanted = ListFilter(outcome, kd_settle.strip(), kind, older)
    async with visitor.read() as repositories:
        attempts = await repositories.attempts.list(wanted.attempts(), before=before, limit=PAGE + 1)
    return visitor.page(
        "settlements.html",
        attempts=attempts[:PAGE],
        before=before,
        more=attempts[PAGE - 1].id if len(attempts) > PAGE else None,
        wanted=wanted,
        outcomes=list(AttemptOutcome),
        types=list(TransactionType),
        tones=TONES,
        masked=masked,
    )


@router.get("/report")
async def show_report(visitor: Financier, day: Annotated[date | Literal[""], Query(alias="date")] = "") -> Response:
    check_account_holder(visitor.runtime, visitor.caller)
    timezone = visitor.runtime.settings.report_timezone
    today = datetime.now(UTC).astimezone(ZoneInfo(timezone)).date()
    report = await report_day(visitor.database, caller=visitor.caller, day=day or today, timezone=timezone)
    return visitor.page("settlements_report.html", report=report)


@router.get("/{log_id}")
async def show_attempt(visitor: Financier, log_id: LogId, after: After = 0) -> Response:
    view = await _view(visitor, log_id, after, with_payloads=True)
    response = view.payloads.response_payload if view.payloads else None
    return visitor.page(
        "settlement.html",
        response=masked(response)[:SHOWN_RESPONSE] if response else None,
        **_attempt(visitor, view, after),
    )


@router.get("/{log_id}/now")
async def show_attempt_now(visitor: Financier, log_id: LogId, after: After = 0) -> Response:
    view = await _view(visitor, log_id, after, with_payloads=False)
    return visitor.page("settlement_now.html", **_attempt(visitor, view, after))


async def _view(visitor: Financier, log_id: int, after: int, *, with_payloads: bool) -> AttemptView:
    check_account_holder(visitor.runtime, visitor.caller)
    return await view_attempt(
        visitor.database,
        caller=visitor.caller,
        attempt_id=log_id,
        after=after,
        limit=ROWS + 1,
        with_payloads=with_payloads,
    )


def _attempt(visitor: Financier, view: AttemptView, after: int) -> dict[str, Any]:
    attempt = view.attempt
    return {
        "attempt": attempt,
        "http_status": shown_status(attempt.outcome, attempt.status_code_res),
        "message": masked(attempt.response_message) if attempt.response_message else None,
        "rows": view.rows[:ROWS],
        "more": view.rows[ROWS - 1].row_number if len(view.rows) > ROWS else None,
        "after": after,
        "story": _story(view),
        "tones": TONES,
        "callback_tones": CALLBACK_TONES,
        "masked": masked,
        "resolver": _resolver(visitor, view),
    }


def _resolver(visitor: Financier, view: AttemptView) -> str:
    """Returns who may resolve the attempt: nobody (it is not unknown), an administrator (the visitor is none), another
    person (the visitor sent it), or the visitor.
    """
    if view.attempt.outcome != AttemptOutcome.UNKNOWN:
        return "nobody"
    if not visitor.may(Permission.RESOLVE_AND_REPLAY):
        return "administrator"
    return "other_person" if is_same_person(view.attempt.sent_by, visitor.caller.user_id) else "visitor"


class Step(NamedTuple):
    """One line of an attempt's history: its time, the key of its text, the values in the text, and a person's note."""

    at: datetime
    key: str
    facts: Mapping[str, Any]
    note: str | None = None
    is_alarming: bool = False


def _story(view: AttemptView) -> list[Step]:
    """Returns the history, oldest first: the dispatch, the callbacks of the shown rows, and the events."""
    attempt = view.attempt
    steps = [Step(attempt.sent_at, "sent", {"actor": attempt.sent_by, "count": attempt.total_transaksi})]
    steps += [Step(callback.occurred_at, "callback", callback._asdict()) for callback in view.callbacks[:ROWS]]
    for event in view.events:
        is_alarming = event.kind in {"conflict", "unknown_reference", "unreadable_callback", "late_response"}
        steps.append(Step(event.occurred_at, event.kind, event._asdict(), event.note, is_alarming))
    return sorted(steps, key=lambda step: step.at)
