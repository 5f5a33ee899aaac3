"""Check scans: what the operator has in hand at both ends of the box, and what is missing in between."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qrtrack.domain.errors import FieldError, InvalidInput, InvalidState
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.packing.case_packing import CountDrift, PackCase, Run, ScannedUnit, VariantMismatch
from qrtrack.domain.packing.states import AVAILABLE, NotPrepared
from qrtrack.repositories import Repositories


@dataclass(frozen=True, slots=True)
class CheckScans:
    """The check scans and missing units, found in the batch."""

    first: ScannedUnit | None
    last: ScannedUnit | None
    missing: frozenset[int]


async def find_scans(repositories: Repositories, order: PackCase, box: Any) -> CheckScans:
    """Raises InvalidInput for a code that is not in the batch, VariantMismatch for a unit of another variant."""
    named = {"first_code": order.first_code, "last_code": order.last_code}
    scanned = [code for code in named.values() if code is not None]
    if not scanned and not order.missing_codes:
        return CheckScans(None, None, frozenset())
    rows = await repositories.codes.find([*scanned, *order.missing_codes], batch_id=order.batch_id)
    by_code = {row.code: row for row in rows}
    errors = [
        _not_in_batch(f"/{field}", code)
        for field, code in named.items()
        if code is not None and by_code[code].id is None
    ] + [
        _not_in_batch(f"/missing_codes/{place}", code)
        for place, code in enumerate(order.missing_codes)
        if by_code[code].id is None
    ]
    if errors:
        raise InvalidInput("A scanned code is not in this batch. Check the box and scan again.", errors=errors)
    if any(row.variant != box.variant for row in rows):
        raise VariantMismatch(master_code=order.master_code, variant=box.variant)
    _refuse_unavailable(by_code, order.missing_codes)
    return CheckScans(
        first=None if order.first_code is None else _scanned(by_code[order.first_code]),
        last=None if order.last_code is None else _scanned(by_code[order.last_code]),
        missing=frozenset(by_code[code].sequence_number for code in order.missing_codes),
    )


def _not_in_batch(pointer: str, code: str) -> FieldError:
    return FieldError(pointer, f"{code} is not in this batch.", FieldCode.NOT_IN_BATCH, {"value": code})


def _refuse_unavailable(by_code: Mapping[str, Any], codes: Sequence[str]) -> None:
    for code in codes:
        row = by_code[code]
        if row.status not in AVAILABLE:
            raise InvalidState(f"{code} is {row.status} and cannot be missing from this box.", state=row.status)


def _scanned(row: Any) -> ScannedUnit:
    why = NotPrepared.EXCLUDED if row.excluded else NotPrepared.NOT_PREPARED
    return ScannedUnit(row.sequence_number, row.code, why if row.status in AVAILABLE else row.status)


async def refuse_crossing(repositories: Repositories, order: PackCase, run: Run, scans: CheckScans) -> None:
    """Check scans promise that the box holds what lies between them: a code that another station packed cannot."""
    rows = await repositories.prepared_codes.packed_between(
        order.batch_id,
        run.rows[0].sequence_number,
        run.rows[-1].sequence_number,
        prepared_ids=[row.prepared_id for row in run.rows],
        station=order.station,
        limit=1000,
    )
    if rows:
        crossed = [row.code for row in rows]
        remedy = " If your own station packed them, name the same station with every case."
        raise CountDrift(
            f"Between {run.rows[0].code} and {run.rows[-1].code} there are units that another station packed, such as "
            f"{crossed[0]}: your roll ends before them. Pack the smaller case with target_units and allow_partial."
            f"{remedy}",
            expected_code=run.rows[-1].code,
            scanned_code=(scans.last or scans.first or run.rows[-1]).code,
            drift=len(crossed),
            codes=crossed,
        )
