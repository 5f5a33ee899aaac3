"""The states of codes, batches, cases and rows of the queue, and the transitions of codes. Also the reasons why a code
is not linked or does not wait in the queue.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class CodeStatus(StrEnum):
    GENERATED = "generated"
    PRINTED = "printed"
    PACKED = "packed"
    SCANNED = "scanned"
    REDEEMED = "redeemed"
    VOID = "void"


class BatchStatus(StrEnum):
    """In `hashing` and `ready` all codes and cases exist, and may be packed. They also may in `failed`, if the batch
    failed in hashing.
    """

    CREATING = "creating"
    HASHING = "hashing"
    READY = "ready"
    FAILED = "failed"


class CaseStatus(StrEnum):
    """A case without units is open. Any other case is packed."""

    OPEN = "open"
    PACKED = "packed"


class PreparedStatus(StrEnum):
    """`invalid`: the code became unpackable while it waited in the queue."""

    PREPARED = "prepared"
    CONSUMED = "consumed"
    INVALID = "invalid"


class Completeness(StrEnum):
    """`verified`: the first and the last unit of the case were scanned, and the count was right."""

    VERIFIED = "verified"
    INFERRED = "inferred"


class LinkRefusal(StrEnum):
    """The reasons why a unit cannot be linked to a case."""

    UNKNOWN_CODE = "unknown-code"
    OTHER_BATCH = "other-batch"
    ALREADY_IN_CASE = "already-in-case"
    CODE_PACKED = "code-packed"
    CODE_SCANNED = "code-scanned"
    CODE_REDEEMED = "code-redeemed"
    CODE_VOID = "code-void"
    VARIANT_MISMATCH = "variant-mismatch"
    EXCLUDED = "excluded"
    CASE_FULL = "case-full"


class NotPrepared(StrEnum):
    """The reasons why a unit that could be packed is not waiting in the queue."""

    EXCLUDED = "excluded"
    NOT_PREPARED = "not prepared"


AVAILABLE = frozenset({CodeStatus.GENERATED, CodeStatus.PRINTED})
"""Codes with one of these states are in no case and may be prepared and packed."""

TRANSITIONS: Mapping[CodeStatus, frozenset[CodeStatus]] = MappingProxyType(
    {
        CodeStatus.GENERATED: frozenset(
            {CodeStatus.PRINTED, CodeStatus.PACKED, CodeStatus.SCANNED, CodeStatus.REDEEMED, CodeStatus.VOID}
        ),
        CodeStatus.PRINTED: frozenset({CodeStatus.PACKED, CodeStatus.SCANNED, CodeStatus.REDEEMED, CodeStatus.VOID}),
        CodeStatus.PACKED: frozenset({CodeStatus.SCANNED, CodeStatus.REDEEMED, CodeStatus.VOID}),
        CodeStatus.SCANNED: frozenset({CodeStatus.REDEEMED, CodeStatus.VOID}),
        CodeStatus.REDEEMED: frozenset(),
        CodeStatus.VOID: frozenset(),
    }
)
"""The steps forward. The only step back is unlinking: it takes a packed code back to the state it was packed from."""


def sources(target: CodeStatus) -> frozenset[CodeStatus]:
    """Returns the states from which a step leads to `target`."""
    return frozenset(status for status, targets in TRANSITIONS.items() if target in targets)
