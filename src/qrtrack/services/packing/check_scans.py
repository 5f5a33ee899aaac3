"""Check scans: the first and the last unit in the operator's hands, and the units missing between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qrtrack.domain.errors import InvalidInput, InvalidState
from qrtrack.domain.packing.case_packing import CountDrift, DriftCause, PackCase, Run, ScannedUnit, VariantMismatch
from qrtrack.domain.packing.code_ranges import not_in_batch_error
from qrtrack.domain.packing.states import AVAILABLE, NotPrepared
from qrtrack.repositories import Repositories
from qrtrack.repositories.packing.codes import FoundCode

CODES_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class CheckScans:
    """The scanned first and last unit, and the sequence numbers of the missing units."""

    first: ScannedUnit | None
    last: ScannedUnit | None
    missing: frozenset[int]


async def find_scans(repositories: Repositories, request: PackCase, variant: str | None) -> CheckScans:
    """Looks up the scanned codes. `variant` is the variant of the case. Raises InvalidInput for a code that is not in
    the batch, VariantMismatch, and InvalidState for a missing unit that is packed, void or with a consumer.
    """
    fields = _scanned_fields(request)
    if not fields:
        return CheckScans(None, None, frozenset())
    rows = await repositories.codes.find(list(dict.fromkeys(fields.values())), batch_id=request.batch_id)
    found = {row.code: row for row in rows}
    errors = [not_in_batch_error(pointer, code) for pointer, code in fields.items() if code not in found]
    if errors:
        raise InvalidInput("A scanned code is not in this batch. Check the box and scan again.", errors=errors)
    if any(row.variant != variant for row in rows):
        raise VariantMismatch(master_code=request.master_code, variant=variant)
    _refuse_unavailable(found, request.missing_codes)
    return CheckScans(
        first=None if request.first_code is None else _scanned(found[request.first_code]),
        last=None if request.last_code is None else _scanned(found[request.last_code]),
        missing=frozenset(found[code].sequence_number for code in request.missing_codes),
    )


def _scanned_fields(request: PackCase) -> dict[str, str]:
    """Returns the codes that the request names, by JSON pointer."""
    named = {"/first_code": request.first_code, "/last_code": request.last_code}
    scanned = {pointer: code for pointer, code in named.items() if code is not None}
    return scanned | {f"/missing_codes/{place}": code for place, code in enumerate(request.missing_codes)}


def _refuse_unavailable(found: Mapping[str, FoundCode], codes: Sequence[str]) -> None:
    for code in codes:
        status = found[code].status
        if status not in AVAILABLE:
            raise InvalidState(
                f"{code} is {status} and cannot be missing from this box. Correct missing_codes.", state=status
            )


def _scanned(row: FoundCode) -> ScannedUnit:
    why = NotPrepared.EXCLUDED if row.excluded else NotPrepared.NOT_PREPARED
    return ScannedUnit(row.sequence_number, row.code, why if row.status in AVAILABLE else row.status)


async def refuse_crossing(repositories: Repositories, request: PackCase, run: Run, scans: CheckScans) -> None:
    """Raises CountDrift if another station packed a code between the check scans: the box cannot contain it."""
    first, last = run.rows[0], run.rows[-1]
    crossed = await repositories.prepared_codes.codes_of_other_stations(
        request.batch_id,
        first.sequence_number,
        last.sequence_number,
        prepared_ids=[row.prepared_id for row in run.rows],
        station=request.station,
        limit=CODES_LIMIT,
    )
    if crossed:
        raise CountDrift(
            f"Between {first.code} and {last.code} there are units that another station packed, such as {crossed[0]}: "
            "your roll ends before them. Pack the smaller case with target_units and allow_partial. If your own "
            "station packed them, name the same station with every case.",
            cause=DriftCause.OTHER_STATION,
            expected_code=last.code,
            scanned_code=(scans.last or scans.first or last).code,
            drift=len(crossed),
            codes=crossed,
        )
