"""The kinds of trace events and of events of attempts, each with what its `details` hold: for the OpenAPI document.

What is answered is not held against them: the details of an old event may lack what today's have.
"""

from collections.abc import Mapping
from functools import reduce
from operator import or_
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, TypeAdapter, create_model
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from qrtrack.domain.akselgate.dispatches import CallbackState, EventKind, Outcome
from qrtrack.domain.packing.states import Completeness
from qrtrack.repositories.recalculation import CountedKind
from qrtrack.schemas.packing.reverse_jobs import ResultSummary


class Details(BaseModel):
    """Details of one kind of event."""

    model_config = ConfigDict(extra="forbid")


class NoDetails(Details):
    """Nothing."""


class OrderDetails(Details):
    order_id: UUID


class PackDetails(Details):
    """The case as it then was."""

    master_code: str
    case_number: int
    first_code: str | None
    last_code: str | None
    completeness: Completeness | None


class MoveDetails(Details):
    """From which case to which one."""

    master_codes: list[str]
    from_master_code: str
    from_case_number: int
    master_code: str
    case_number: int


class CasesDetails(Details):
    master_codes: list[str] = Field(description="The cases that the units were in.")


class PossibleCasesDetails(Details):
    master_codes: list[str] = Field(
        default_factory=list, description="The cases that the units were in; left out where they were in none."
    )


class ForgottenDetails(Details):
    forgotten: int


class SubmittedDetails(Details):
    variant: str | None


class CompletedDetails(ResultSummary, Details):
    """The job's result."""


class CancelledDetails(Details):
    withdrawn: int


class RepairedDetails(Details):
    """Counters that were wrong, and what they were set to."""

    kind: CountedKind
    before: dict[str, int | str]
    after: dict[str, int | str]


TRACE_DETAILS: Final[Mapping[str, type[Details]]] = MappingProxyType(
    {
        "batch.created": OrderDetails,
        "batch.imported": OrderDetails,
        "batch.failed": NoDetails,
        "batch.retried": NoDetails,
        "batch.closed": NoDetails,
        "keys.revealed": NoDetails,
        "keys.forgotten": ForgottenDetails,
        "codes.printed": NoDetails,
        "codes.missing": NoDetails,
        "codes.checked_before_packed": NoDetails,
        "codes.readmitted": NoDetails,
        "codes.voided": PossibleCasesDetails,
        "codes.unlinked": CasesDetails,
        "case.packed": PackDetails,
        "case.linked": PackDetails,
        "case.moved": MoveDetails,
        "reverse_job.submitted": SubmittedDetails,
        "reverse_job.completed": CompletedDetails,
        "reverse_job.cancelled": CancelledDetails,
        "reverse_job.retried": NoDetails,
        "counters.repaired": RepairedDetails,
    }
)


class CallbackDetails(Details):
    query: str = Field(description="The query string as it came.")


class ConflictDetails(Details):
    """Either a callback that contradicts, or an answer that contradicts callbacks."""

    outcome: Outcome
    before: CallbackState = Field(default_factory=lambda: CallbackState.MISSING)
    reported: str = Field(default_factory=str, description="The callback's result.")
    paid_references: list[str] = Field(default_factory=list)


class LateResponseDetails(Details):
    """The gateway's answer, which came too late."""

    outcome: Outcome
    status_code: str
    response_code: str | None
    response_message: str | None
    response_payload: str | None


class SentBefore(BaseModel):
    """A reference, and the earlier attempt that sent it."""

    reference_number: str
    attempt_id: int


class DoubtedRefusalDetails(Details):
    """The gateway may have refused a duplicate of a request that it accepted before."""

    sent_before: list[SentBefore] = Field(description="The first of them.")
    count: int = Field(description="How many there are.")


ATTEMPT_DETAILS: Final[Mapping[EventKind, type[Details]]] = MappingProxyType(
    {
        EventKind.UNKNOWN_REFERENCE: CallbackDetails,
        EventKind.UNREADABLE_CALLBACK: CallbackDetails,
        EventKind.CONFLICT: ConflictDetails,
        EventKind.LATE_RESPONSE: LateResponseDetails,
        EventKind.DOUBTED_REFUSAL: DoubtedRefusalDetails,
        EventKind.SWEPT: NoDetails,
        EventKind.RESOLVED: NoDetails,
        EventKind.CLOSED: NoDetails,
    }
)


def event_kinds(base: type[BaseModel], tag: str, details: Mapping[Any, type[Details]], prefix: str = "") -> Any:
    """One event for each kind: the base with the kind as a constant in the field `tag`, and with its details."""
    models: list[Any] = []
    for kind, of_kind in details.items():
        name = "".join(word.capitalize() for word in str(kind).replace(".", "_").split("_"))
        fields: dict[str, Any] = {tag: (Literal[str(kind)], ...), "details": (of_kind, ...)}
        models.append(create_model(f"{prefix}{name}Event", __base__=base, __doc__=of_kind.__doc__, **fields))
    return Annotated[reduce(or_, models), Field(discriminator=tag)]


class ShownAs:
    """Annotation: in the OpenAPI document the field is of another type than the one that it is checked against."""

    def __init__(self, shown: Any) -> None:
        self.shown = shown

    def __get_pydantic_json_schema__(self, _core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(TypeAdapter(self.shown).core_schema)
