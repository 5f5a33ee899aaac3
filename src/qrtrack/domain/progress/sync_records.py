"""Records of progress batches: the outcome of a record, and the refusal of surplus records."""

from collections.abc import Sequence
from dataclasses import dataclass

from qrtrack.domain.errors import Conflict


@dataclass(frozen=True, slots=True)
class RecordOutcome:
    """How one record ended. `key` identifies the record within its batch."""

    key: str
    success: bool
    error: str | None = None


class SurplusRecords(Conflict):
    """More records were reported than announced: the total is wrong, or one record was reported with two keys."""

    slug = "surplus-records"
    title = "More records than announced"

    def __init__(self, *, total: int, processed: int, new_keys: Sequence[str]) -> None:
        surplus = max(processed + len(new_keys) - total, 1)
        super().__init__(
            f"Too many records: {total} were announced, {processed} were counted before, and this request has "
            f"{len(new_keys)} new ones. Nothing of it was counted. Compare its keys with the records that you meant to "
            "send.",
            total_records=total,
            processed_records=processed,
            surplus=surplus,
            keys=list(new_keys[-surplus:]),
        )
