"""The answers for monitoring."""

from typing import Literal

from pydantic import Field

from qrtrack.schemas.base import Answer, View


class LivenessAnswer(Answer):
    """The process answers."""

    status: Literal["alive"] = "alive"


class AccurateState(View):
    """The state of Accurate's webhooks."""

    oldest_pending_seconds: int | None = Field(
        description="How long the oldest event has waited to be processed; null if none waits."
    )
    dead: int = Field(description="Events that failed their last attempt.")
    conflicts: int = Field(description="How often a known uuid came again with other content.")
    to_pass_on: int = Field(description="Events that wait to be forwarded. The count stops at 100,000.")
    subscription_days_left: int | None = Field(description="Null if no subscription is known.")
    renewal_failures: int = Field(description="Failed renewals of the subscription since the beginning.")


class AccurateTotals(AccurateState):
    """The figures that anybody may see. They name no database and no type."""

    silent_seconds: int | None = Field(description="Seconds since the last event; null before the first one.")
    unassigned_events: int = Field(description="Events that belong to no organisation.")


class AccurateSource(View):
    """Events of one type from one database."""

    database_id: int
    type: str
    silent_seconds: int


class UnassignedDatabase(View):
    """A database that belongs to no organisation."""

    database_id: int | None = Field(description="Null for events that name no database.")
    events: int


class AccurateFigures(AccurateState):
    """The figures for callers with `METRICS_TOKEN` or a machine secret. They name databases and types."""

    sources: list[AccurateSource]
    unassigned: list[UnassignedDatabase]
    renewal_error: str | None


class ReadinessAnswer(Answer):
    """The process can serve. Values that could not be read in time are null."""

    status: Literal["ready"] = "ready"
    database: Literal["ok"]
    # Named differently, since a field `schema` would hide a method of pydantic.
    schema_state: Literal["ok"] = Field(alias="schema")
    loop_silent_seconds: float | None = Field(
        description="Seconds since this process's loop last looked for work; null if it has no loop."
    )
    workers_alive: int | None = Field(description="In the whole service.")
    oldest_queued_seconds: dict[str, float | None] | None = Field(
        description="By kind of work: how many seconds the oldest piece has been due; null if nothing is due."
    )
    dispatches_unknown: int | None = Field(description="Attempts at the gateway whose outcome is unknown.")
    accurate: AccurateTotals | AccurateFigures | None
