"""Refusals as `application/problem+json` (RFC 9457): the members of all, and the members of some."""

from collections.abc import Mapping
from datetime import date
from types import MappingProxyType
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field, create_model

from qrtrack.domain.akselgate.attempts import AttemptOutcome
from qrtrack.domain.batches import BatchNotReady
from qrtrack.domain.errors import DomainError, InvalidInput, InvalidState, NotFound
from qrtrack.domain.jobs import JobStatus
from qrtrack.domain.labels.label_jobs import AlreadyPrinted, FileNotReady, LabelsReserved
from qrtrack.domain.packing.case_packing import (
    CaseAlreadyPacked,
    CountDrift,
    DriftCause,
    FirstCodeNotPrepared,
    NotEnoughPrepared,
)
from qrtrack.domain.packing.code_lists import UnknownCodes
from qrtrack.domain.packing.gtin_owners import GtinTaken
from qrtrack.domain.packing.states import BatchStatus, CaseStatus, CodeStatus, NotPrepared
from qrtrack.domain.progress.sync_batches import SyncCancelled, SyncStatus
from qrtrack.domain.progress.sync_records import SurplusRecords
from qrtrack.domain.requests import AnswerTooLong, KeyReused
from qrtrack.domain.verification.checks import NotRedeemable, Result
from qrtrack.domain.verification.limits import TooManyFailures
from qrtrack.integrations.akselgate import GatewayNotConfigured
from qrtrack.repositories.constraints import DispatchInProgress, ReferenceLocked
from qrtrack.schemas.akselgate.dispatches import AttemptMembers
from qrtrack.schemas.base import Instant
from qrtrack.schemas.packing.cases import CaseInfo
from qrtrack.schemas.packing.codes import CodeResult
from qrtrack.schemas.problem_fields import ProblemField, left_out
from qrtrack.services.akselgate.answers import (
    AlreadyDispatched,
    GatewayNotReached,
    GatewayOutcomeUnknown,
    GatewayRejected,
    OutcomeUnknown,
)
from qrtrack.services.packing.codes import IllegalTransition
from qrtrack.services.packing.links import CodesNotLinkable, CodesNotPacked
from qrtrack.services.packing.moves import CaseTooSmall
from qrtrack.services.packing.reverse_jobs import UnknownExcludeCodes
from qrtrack.services.recalls import AlreadyRecalled
from qrtrack.services.verification.checks import KeyNotProven
from qrtrack.services.verification.reports import TooManyReports


class ProblemBase(BaseModel):
    """The members of every refusal."""

    success: Literal[False]
    title: str = Field(description="The kind of refusal, the same for every occurrence.")
    detail: str = Field(description="A sentence that says what to do, in English.")


class NoMembers(BaseModel):
    """No further members."""


class FieldErrors(BaseModel):
    errors: list[ProblemField] = Field(description="The bad fields.")
    error_count: int = Field(description="How many bad fields there are. `errors` may contain only the first ones.")


class UnknownCodesMembers(FieldErrors):
    codes: list[str] = Field(description="The unknown codes, as ranges: the first 1,000.")
    unknown_count: int = Field(description="How many codes are unknown.")


class PossibleErrors(BaseModel):
    errors: list[ProblemField] = left_out("The rows whose reference was sent before.")
    error_count: int = left_out("How many there are.")


class NotFoundMembers(BaseModel):
    codes: list[str] = left_out("For a list of codes: those that do not exist.")


class StateMembers(BaseModel):
    state: BatchStatus | CaseStatus | CodeStatus | JobStatus | SyncStatus = left_out(
        "The state that does not allow the step."
    )
    outcome: AttemptOutcome = left_out("For an attempt: its outcome.")
    paid_references: list[str] = left_out("For an attempt: the references that the gateway has reported as paid.")


class BatchNotReadyMembers(BaseModel):
    status_of_batch: BatchStatus


class NotEnoughPreparedMembers(BaseModel):
    available: int = Field(
        description="How many units of the queue the case could take now, from the scanned first unit on."
    )


class CountDriftMembers(BaseModel):
    cause: DriftCause = Field(
        description="`unit_missing`: one of `codes` is not in the box. `last_not_queued`: `scanned_code` may not be "
        "packed. `unit_not_queued`: one of `codes` is in the box, and may not be packed. `too_few_units`: the box is "
        "not full. `wrong_start`: `scanned_code` comes before the case's first unit. `wrong_end`: it lies several "
        "cases further on. `other_station`: another station packed `codes`, which lie between the ends of the box."
    )
    expected_code: str = Field(description="Where the case should end.")
    scanned_code: str = Field(description="What was scanned as its end.")
    drift: int = Field(description="How many units the box ends after the expected end. Negative: before it.")
    codes: list[str] = Field(description="The codes that `cause` is about.")


class FirstCodeNotPreparedMembers(BaseModel):
    state: CodeStatus | NotPrepared = Field(description="The unit's state, which is not `prepared`.")


class PackedCaseInfo(CaseInfo):
    """A case as it was packed."""

    packed_at: Instant
    packed_by: str | None
    station: str | None


class CaseAlreadyPackedMembers(BaseModel):
    master_code_info: PackedCaseInfo


class CaseTooSmallMembers(BaseModel):
    expected_units: int = Field(description="How many units the case takes.")
    units: int = Field(description="How many units were to be moved.")


class CodesNotLinkableMembers(BaseModel):
    results: list[CodeResult] = Field(description="One result for each code of the request, at most the first 1,000.")
    result_count: int = Field(description="How many there are.")


class CodeState(BaseModel):
    """A code and the state that it is in."""

    code: str
    state: CodeStatus


class CodeStatesMembers(BaseModel):
    codes: list[CodeState] = Field(description="The codes that are in a wrong state: the first 1,000.")
    code_count: int = Field(description="How many there are.")


class PrintedRange(BaseModel):
    """Units that follow each other in serial order."""

    first_code: str
    last_code: str
    units: int


class AlreadyPrintedMembers(BaseModel):
    printed: list[PrintedRange] = Field(description="The units that were printed before: the first 1,000 ranges.")
    printed_count: int = Field(description="How many units were printed before, in all ranges.")


class GtinTakenMembers(BaseModel):
    gtin: str = Field(description="In 14 digits.")


class AlreadyRecalledMembers(BaseModel):
    recall_id: UUID = Field(description="The recall that is in force.")


class LabelsReservedMembers(BaseModel):
    label_job_id: UUID = Field(description="The job that prints them.")


class SurplusMembers(BaseModel):
    total_records: int
    processed_records: int
    surplus: int = Field(description="How many records are too many.")
    keys: list[str] = Field(description="The keys of these records.")


class SyncCancelledMembers(BaseModel):
    state: Literal["cancelled"]


class EarlierAttemptMembers(AttemptMembers):
    kd_settle: str
    sent_at: Instant


def all_left_out(members: type[BaseModel], name: str, doc: str) -> type[BaseModel]:
    """Returns a model with the same members, all optional: an occurrence has all of them or none."""
    fields: dict[str, Any] = {
        name: (field.annotation, left_out(field.description or "")) for name, field in members.model_fields.items()
    }
    return create_model(name, __doc__=doc, **fields)


PossibleAttemptMembers: Final = all_left_out(
    EarlierAttemptMembers,
    "PossibleAttemptMembers",
    "The attempt that the other request has made. Left out while that request has not committed it.",
)


class NotRedeemableMembers(BaseModel):
    result: Result = Field(description="What a check of the unit would answer.")
    redeemed_on: date | None = Field(description="The day on which the unit was redeemed; null if it was not.")


class RetryMembers(BaseModel):
    retry_after: float = Field(description="The number of seconds to wait before the next try.")


class TooManyFailuresMembers(RetryMembers):
    retry_at: Instant = Field(description="The time from which a right key is accepted again.")


class NotConfiguredMembers(BaseModel):
    missing: list[str] = left_out("The settings that are not set.")


class InternalErrorMembers(BaseModel):
    request_id: str | None = Field(description="Quote this id when you report the defect.")


MEMBERS: Final[Mapping[type[DomainError], type[BaseModel]]] = MappingProxyType(
    {
        InvalidInput: FieldErrors,
        AnswerTooLong: NoMembers,
        KeyReused: NoMembers,
        UnknownCodes: UnknownCodesMembers,
        UnknownExcludeCodes: UnknownCodesMembers,
        NotFound: NotFoundMembers,
        InvalidState: StateMembers,
        BatchNotReady: BatchNotReadyMembers,
        NotEnoughPrepared: NotEnoughPreparedMembers,
        CountDrift: CountDriftMembers,
        FirstCodeNotPrepared: FirstCodeNotPreparedMembers,
        CaseAlreadyPacked: CaseAlreadyPackedMembers,
        CaseTooSmall: CaseTooSmallMembers,
        CodesNotLinkable: CodesNotLinkableMembers,
        CodesNotPacked: CodeStatesMembers,
        IllegalTransition: CodeStatesMembers,
        AlreadyPrinted: AlreadyPrintedMembers,
        AlreadyRecalled: AlreadyRecalledMembers,
        GtinTaken: GtinTakenMembers,
        LabelsReserved: LabelsReservedMembers,
        FileNotReady: StateMembers,
        SurplusRecords: SurplusMembers,
        SyncCancelled: SyncCancelledMembers,
        GatewayNotConfigured: NotConfiguredMembers,
        GatewayRejected: AttemptMembers,
        GatewayNotReached: AttemptMembers,
        GatewayOutcomeUnknown: AttemptMembers,
        OutcomeUnknown: EarlierAttemptMembers,
        AlreadyDispatched: EarlierAttemptMembers,
        DispatchInProgress: PossibleAttemptMembers,
        ReferenceLocked: PossibleErrors,
        KeyNotProven: NoMembers,
        NotRedeemable: NotRedeemableMembers,
        TooManyFailures: TooManyFailuresMembers,
        TooManyReports: RetryMembers,
    }
)
"""The members of a refusal in addition to ProblemBase. Of the refusals that are not listed, bad input has FieldErrors,
and all others have none.
"""


def members_of(refusal: type[DomainError]) -> type[BaseModel]:
    """Returns the members of this refusal, or those of bad input."""
    if refusal in MEMBERS:
        return MEMBERS[refusal]
    return FieldErrors if issubclass(refusal, InvalidInput) else NoMembers
