"""Case labels that packing orders from the printers of its station, and withdraws when the pack is undone.

The areas `packing` and `labels` do not import each other. The statements that both need are here.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from qrtrack.domain.identity import Caller
from qrtrack.repositories.base import DriverRepository
from qrtrack.repositories.queues import PRINT_JOBS, WAKE_UP_CHANNEL

UNSENT: Final = "sending_at IS NULL AND status IN ('queued', 'running')"
NOT_PRINTED_LATER: Final = """
    NOT EXISTS (
        SELECT 1 FROM print_jobs AS later
        WHERE later.id > job.id AND later.status = 'completed'
          AND (later.case_id = job.case_id OR later.label_job_id = job.label_job_id))
"""
"""Of a print job `job`: neither its case nor its label job was printed afterwards."""

# DO NOTHING: one waiting print job is enough, because its label is drawn when it is sent. NOTIFY wakes the workers;
# without a printer for the station no row is added and nothing is sent.
ORDER_PRINTS: Final = f"""
    INSERT INTO print_jobs (manufacturer_org_id, printer_id, batch_id, case_id, station, status, created_by)
    SELECT printer.manufacturer_org_id, printer.id, CAST(:batch_id AS uuid), CAST(:case_id AS bigint),
           CAST(:station AS text), 'queued', CAST(:user_id AS text)
    FROM printers AS printer
    WHERE printer.manufacturer_org_id = CAST(:organisation_id AS uuid)
      AND CAST(:station AS text) = ANY(printer.stations)
    ON CONFLICT (case_id, printer_id) WHERE {UNSENT} AND case_id IS NOT NULL DO NOTHING
    RETURNING 1
"""
WAKE_PRINTING: Final = f"SELECT count(pg_notify('{WAKE_UP_CHANNEL}', '{PRINT_JOBS.kind}')::text) FROM ordered"
"""Reads the CTE `ordered`, which contains ORDER_PRINTS."""

ORDER: Final = f"""
WITH ordered AS ({ORDER_PRINTS})
{WAKE_PRINTING}
"""


def withdraw_prints(cases: str) -> str:
    """Returns SQL that cancels the unsent print jobs of these cases. `cases` is a sub-select of ids. A label that is
    being sent cannot be stopped.
    """
    return f"""
UPDATE print_jobs AS job
SET {PRINT_JOBS.ended("cancelled")}
WHERE job.case_id IN ({cases}) AND {UNSENT}
"""


WITHDRAW: Final = withdraw_prints("SELECT unnest(CAST(:case_ids AS bigint[]))")


class CasePrintRepository(DriverRepository):
    """Orders and withdraws case labels, in the transaction that packs the case or undoes the pack."""

    async def order(self, caller: Caller, batch_id: UUID, case_id: int, *, station: str | None) -> None:
        """Queues one print job for each printer that prints the cases of the station."""
        await self._execute(
            ORDER,
            organisation_id=caller.organisation_id,
            user_id=caller.user_id,
            batch_id=batch_id,
            case_id=case_id,
            station=station,
        )

    async def withdraw(self, case_ids: Sequence[int]) -> None:
        await self._execute(WITHDRAW, case_ids=case_ids)
