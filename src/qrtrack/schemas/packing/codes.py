"""Codes: listing, revealing, marking as printed, voiding, readmitting."""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import Field, WithJsonSchema

from qrtrack.domain.packing.states import CodeStatus, LinkRefusal
from qrtrack.domain.scans import read_code
from qrtrack.schemas.base import PRINTABLE, Answer, Body, Id, ListQuery, Page, Reason, View, only, scanned, wrong_type

# Repeats and blanks are dropped before codes are counted. `parse_codes` checks the elements in a thread: for a list of
# numbers, pydantic would build an error for each.
MOST_ELEMENTS: Final = 200_000
ELEMENT: Final = {"type": "string", "maxLength": 16 * 1024 * 1024}

CodeList = Annotated[
    list[Any],
    WithJsonSchema({"type": "array", "items": ELEMENT, "maxItems": MOST_ELEMENTS}),
    Field(
        max_length=MOST_ELEMENTS,
        description="Codes as people paste and scan them. Each element is split at blanks, commas and semicolons, "
        "ranges such as `SKA000010-SKA000020` are expanded, scanned unit URLs reduced to their code, repeats dropped. "
        "At most 100,000 codes.",
        examples=[["SKA000007", "SKA000010-SKA000020"]],
    ),
]


ListedStatus = Literal["generated", "printed", "packed", "scanned", "redeemed", "void", "excluded", "prepared"]


class CodeFilter(ListQuery):
    """Which codes of a batch to list."""

    status: ListedStatus | None = Field(
        None, description="A status, or `excluded` or `prepared` as the reconciliation counts them."
    )
    code: Annotated[str, Field(pattern=PRINTABLE, min_length=1, max_length=20), scanned(read_code)] | None = Field(
        None, description="The beginning of the codes, such as `SKA0001`."
    )
    reveal: Literal["root_key"] | None = Field(
        None, description="Adds the clear root keys. Needs the role manager, and leaves a trace event."
    )


class ListedCode(View):
    """A code of a batch, and the case that holds it."""

    code: str
    sequence_number: int
    uniq_code: str
    variant: str | None
    status: CodeStatus
    is_excluded: bool = Field(description="A job or a station excluded the unit: it is not put into the queue.")
    is_prepared: bool = Field(description="The unit waits in the queue.")
    master_code: str | None
    case_number: int | None


class CodePage(Page):
    """Codes in serial order."""

    revealed: Literal[False] = False
    codes: list[ListedCode]


class RevealedCode(ListedCode):
    """A code with its clear root key. The key is null if it was deleted, or if the import had none."""

    root_key: str | None


class RevealedCodePage(Page):
    """Codes in serial order, with their root keys."""

    revealed: Literal[True] = True
    codes: list[RevealedCode]


class VoidRequest(Body):
    """Units that are damaged or withdrawn."""

    batch_id: Id
    codes: CodeList
    reason: Reason = Field(examples=["Label torn"])


class PrintedRequest(Body):
    """Units whose labels were printed: either `codes`, or `all` that are not marked yet."""

    batch_id: Id
    codes: CodeList | None = None
    all: Annotated[Literal[True], only(bool, wrong_type("boolean", "Send true, or leave it out"))] | None = None


class ReadmitRequest(Body):
    """Units that were excluded and are good after all."""

    batch_id: Id
    codes: CodeList


class CodeResult(View):
    """The result for one code: it was linked, could be linked, or was refused."""

    code: str
    accepted: bool
    reason: LinkRefusal | None = Field(description="Why it was not accepted.")
    detail: str | None = Field(description="The same as a sentence.")
    master_code: str | None = Field(description="The case that the code is in already.")


class CodesChangedAnswer(Answer):
    """How many codes changed their status."""

    batch_id: UUID
    changed: int


class CodesReadmittedAnswer(Answer):
    """How many codes are no longer excluded, and which of the list were not excluded."""

    batch_id: UUID
    readmitted: int
    not_excluded: list[str]
