"""Queues, lists and cancels print jobs, and records what the worker that holds a print job did."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from qrtrack.domain.claims import Claim, LeaseLost
from qrtrack.domain.errors import NotFound
from qrtrack.domain.labels.printers import Address
from qrtrack.repositories.base import Repository
from qrtrack.repositories.case_prints import NOT_PRINTED_LATER, UNSENT
from qrtrack.repositories.queues import PRINT_JOBS

# If a print job for the case waits for this printer already, no second one is added, and the id of the first is
# returned.
ADD_CASE: Final = f"""
INSERT INTO print_jobs (manufacturer_org_id, printer_id, batch_id, case_id, reason, status, created_by)
SELECT box.manufacturer_org_id, CAST(:printer_id AS uuid), box.batch_id, box.id, CAST(:reason AS text), 'queued',
       CAST(:actor AS text)
FROM qr_master_codes AS box
WHERE box.batch_id = :batch_id AND box.case_number = :case_number
ON CONFLICT (case_id, printer_id) WHERE {UNSENT} AND case_id IS NOT NULL DO UPDATE SET updated_at = now()
RETURNING id
"""
ADD_LABEL_JOB: Final = """
INSERT INTO print_jobs (manufacturer_org_id, printer_id, label_job_id, reason, status, created_by)
SELECT label_job.manufacturer_org_id, CAST(:printer_id AS uuid), label_job.id, CAST(:reason AS text), 'queued',
       CAST(:actor AS text)
FROM label_jobs AS label_job
WHERE label_job.id = :label_job_id
RETURNING id
"""
FIND_SENT: Final = """
SELECT id
FROM print_jobs
WHERE label_job_id = :label_job_id AND status NOT IN ('failed', 'cancelled')
ORDER BY id
LIMIT 1
"""
SELECT_LISTED: Final = """
SELECT job.id, job.printer_id, printer.name AS printer_name, job.label_job_id,
       COALESCE(job.batch_id, label_job.batch_id) AS batch_id, job.case_id, box.case_number, box.master_code,
       job.station, job.reason, job.status, job.attempts, job.error_message, job.sent_bytes, job.created_by,
       job.created_at, job.updated_at, job.started_at, job.sending_at, job.finished_at,
       CASE WHEN job.status = 'queued' AND job.attempts > 0 THEN job.run_at END AS next_attempt_at
FROM print_jobs AS job
JOIN printers AS printer ON printer.id = job.printer_id
LEFT JOIN qr_master_codes AS box ON box.id = job.case_id
LEFT JOIN label_jobs AS label_job ON label_job.id = job.label_job_id
"""
GET: Final = f"{SELECT_LISTED} WHERE job.id = :id"
LIST: Final = f"""
{SELECT_LISTED}
WHERE (CAST(:printer_id AS uuid) IS NULL OR job.printer_id = :printer_id)
  AND (CAST(:status AS text) IS NULL OR job.status = :status)
  AND (CAST(:before AS bigint) IS NULL OR job.id < :before)
ORDER BY job.id DESC
LIMIT :limit
"""
LIST_NOT_PRINTED: Final = f"""
{SELECT_LISTED}
WHERE job.status IN ('failed', 'unknown') AND job.finished_at > now() - make_interval(days => :days)
  AND {NOT_PRINTED_LATER}
ORDER BY job.finished_at DESC
LIMIT :limit
"""
LIST_OF_LABEL_JOBS: Final = f"""
{SELECT_LISTED}
WHERE job.id IN (
    SELECT newest.id
    FROM unnest(CAST(:label_job_ids AS uuid[])) AS wanted(id)
    CROSS JOIN LATERAL (
        SELECT id FROM print_jobs WHERE label_job_id = wanted.id ORDER BY id DESC LIMIT :each) AS newest)
ORDER BY job.id DESC
"""
LABELS_OF_CASES: Final = """
SELECT DISTINCT ON (box.case_number, job.printer_id)
       job.id, box.case_number, job.printer_id, printer.name AS printer_name, job.status, job.error_message
FROM qr_master_codes AS box
JOIN print_jobs AS job ON job.case_id = box.id
JOIN printers AS printer ON printer.id = job.printer_id
WHERE box.batch_id = :batch_id AND box.case_number = ANY(CAST(:case_numbers AS integer[]))
ORDER BY box.case_number, job.printer_id, job.id DESC
"""
GET_CLAIMED: Final = """
SELECT job.manufacturer_org_id, job.label_job_id, job.batch_id, box.case_number, job.sending_at,
       printer.name AS printer_name, printer.port, printer.ip, printer.file_format, printer.dpi, printer.preset,
       printer.calibration
FROM print_jobs AS job
JOIN printers AS printer ON printer.id = job.printer_id
LEFT JOIN qr_master_codes AS box ON box.id = job.case_id
WHERE job.id = :id
"""
BEGIN_SENDING: Final = f"""
UPDATE print_jobs
SET sending_at = clock_timestamp(), error_message = NULL, updated_at = now()
WHERE {PRINT_JOBS.fence} AND sending_at IS NULL
"""
TAKE_BACK_SENDING: Final = f"""
UPDATE print_jobs
SET sending_at = NULL, updated_at = now()
WHERE {PRINT_JOBS.fence}
"""
COMPLETE: Final = f"""
UPDATE print_jobs
SET {PRINT_JOBS.finished}, sent_bytes = :sent_bytes
WHERE {PRINT_JOBS.fence} AND sending_at IS NOT NULL
"""
RECORD_UNKNOWN: Final = f"""
UPDATE print_jobs
SET {PRINT_JOBS.ended("unknown")}, error_message = :error, sent_bytes = :sent_bytes
WHERE {PRINT_JOBS.fence} AND sending_at IS NOT NULL
"""
CANCEL: Final = f"""
UPDATE print_jobs
SET {PRINT_JOBS.ended("cancelled")}
WHERE id = :id AND {UNSENT}
"""
CONFIRM: Final = """
UPDATE print_jobs
SET status = 'completed', error_message = NULL, updated_at = now()
WHERE id = :id AND status = 'unknown'
"""
IS_LATE: Final = """
SELECT created_at < now() - make_interval(hours => :hours)
FROM print_jobs
WHERE id = :id
"""


class ListedPrint(NamedTuple):
    id: int
    printer_id: UUID
    printer_name: str
    label_job_id: UUID | None
    batch_id: UUID
    case_id: int | None
    case_number: int | None
    master_code: str | None
    station: str | None
    reason: str | None
    status: str
    attempts: int
    error_message: str | None
    sent_bytes: int
    created_by: str
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    sending_at: datetime | None
    finished_at: datetime | None
    next_attempt_at: datetime | None


class CaseLabel(NamedTuple):
    """The newest print job of a case on one printer."""

    id: int
    case_number: int
    printer_id: UUID
    printer_name: str
    status: str
    error_message: str | None


class ClaimedPrint(NamedTuple):
    manufacturer_org_id: UUID
    label_job_id: UUID | None
    batch_id: UUID | None
    case_number: int | None
    sending_at: datetime | None
    printer_name: str
    port: int
    ip: Address
    file_format: str
    dpi: int
    preset: str | None
    calibration: dict[str, float]


class PrintJobRepository(Repository):
    async def add_case(
        self, printer_id: UUID, batch_id: UUID, case_number: int, *, reason: str | None, actor: str
    ) -> int:
        """Returns the id of the new print job, or of the one that already waits for the same case and printer. Raises
        NotFound.
        """
        job_id = await self._find_value(
            int, ADD_CASE, printer_id=printer_id, batch_id=batch_id, case_number=case_number, reason=reason, actor=actor
        )
        if job_id is None:
            raise NotFound(f"The batch has no case number {case_number} in your organisation.")
        return job_id

    async def add_label_job(self, printer_id: UUID, label_job_id: UUID, *, reason: str | None, actor: str) -> int:
        """Returns the id of the new print job."""
        return await self._fetch_value(
            int, ADD_LABEL_JOB, printer_id=printer_id, label_job_id=label_job_id, reason=reason, actor=actor
        )

    async def labels_of_cases(self, batch_id: UUID, case_numbers: Sequence[int]) -> Sequence[CaseLabel]:
        """Lists the newest print job of each case on each printer. A case without print jobs is not listed."""
        return await self._fetch_all(CaseLabel, LABELS_OF_CASES, batch_id=batch_id, case_numbers=list(case_numbers))

    async def is_sent_before(self, label_job_id: UUID) -> bool:
        """Returns whether the file of the label job waits for a printer, is being sent, or may have been printed. The
        caller must hold the lock of the label job.
        """
        return await self._find_value(int, FIND_SENT, label_job_id=label_job_id) is not None

    async def get(self, job_id: int) -> ListedPrint:
        """Raises NotFound."""
        missing = NotFound(f"There is no print job {job_id} in your organisation.")
        return await self._fetch_existing(ListedPrint, GET, missing, id=job_id)

    async def list(
        self, *, printer_id: UUID | None, status: str | None, before: int | None, limit: int
    ) -> Sequence[ListedPrint]:
        """Lists print jobs, newest first."""
        return await self._fetch_all(
            ListedPrint, LIST, printer_id=printer_id, status=status, before=before, limit=limit
        )

    async def list_not_printed(self, *, days: int, limit: int) -> Sequence[ListedPrint]:
        """Lists the print jobs that ended in the last `days` days as failed or unknown, newest first. Leaves out those
        whose label was printed later.
        """
        return await self._fetch_all(ListedPrint, LIST_NOT_PRINTED, days=days, limit=limit)

    async def list_of_label_jobs(self, label_job_ids: Sequence[UUID], *, each: int) -> Sequence[ListedPrint]:
        """Lists the newest print jobs of each label job, at most `each` of them, newest first."""
        return await self._fetch_all(ListedPrint, LIST_OF_LABEL_JOBS, label_job_ids=list(label_job_ids), each=each)

    async def cancel(self, job_id: int) -> bool:
        """Returns False if the job is being sent or has ended."""
        return await self._execute(CANCEL, id=job_id) > 0

    async def confirm(self, job_id: int) -> bool:
        """Completes an unknown job. Returns False if it is not unknown."""
        return await self._execute(CONFIRM, id=job_id) > 0

    async def get_claimed(self, claim: Claim) -> ClaimedPrint:
        """Raises LeaseLost if the printer, and with it the job, was deleted."""
        return await self._fetch_existing(ClaimedPrint, GET_CLAIMED, LeaseLost(claim), id=claim.number)

    async def begin_sending(self, claim: Claim) -> None:
        """Records that sending begins. After the commit, the job is sent again only if `take_back_sending` undoes this.
        Raises LeaseLost.
        """
        await self._execute_fenced(claim, BEGIN_SENDING)

    async def take_back_sending(self, claim: Claim) -> bool:
        """Undoes `begin_sending` for a print job of which no byte was sent. Returns False if another worker holds the
        job.
        """
        return await self._execute(TAKE_BACK_SENDING, id=claim.id, lease_token=claim.token) > 0

    async def complete(self, claim: Claim, *, sent_bytes: int) -> None:
        """Raises LeaseLost."""
        await self._execute_fenced(claim, COMPLETE, sent_bytes=sent_bytes)

    async def record_unknown(self, claim: Claim, error: str, *, sent_bytes: int = 0) -> bool:
        """Returns False if the job was not being sent, or if another worker holds it."""
        values = {"id": claim.id, "lease_token": claim.token, "error": error, "sent_bytes": sent_bytes}
        return await self._execute(RECORD_UNKNOWN, **values) > 0

    async def is_late(self, claim: Claim, *, hours: int) -> bool:
        return bool(await self._find_value(bool, IS_LATE, id=claim.id, hours=hours))
