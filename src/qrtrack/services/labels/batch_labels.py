"""What the labels page of a batch shows: what can be labelled, and the batch's label jobs with their print jobs."""

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from qrtrack.database import Database
from qrtrack.domain.identity import Caller
from qrtrack.domain.labels.label_jobs import LABELS_IN_JOB, Labelled
from qrtrack.domain.labels.print_jobs import printer_kind
from qrtrack.models import LabelJob
from qrtrack.repositories.labels.label_contents import LabelledBatch
from qrtrack.repositories.labels.print_jobs import ListedPrint

PRINTS: Final = 3
"""The page shows this many print jobs of each label job, newest first."""


class Labelling(NamedTuple):
    """What can be labelled. Until the codes exist, the codes are None and `case_count` is 0. `end_of_file` is the last
    code of the first file, if the batch needs more than one file.
    """

    batch: LabelledBatch
    first_code: str | None
    last_code: str | None
    end_of_file: str | None
    case_count: int


class ShownLabelJob(NamedTuple):
    """`first` and `last` are codes of units, or numbers of cases. `kind` is the kind of printer that can print the
    file, such as `zpl 203`.
    """

    job: LabelJob
    first: str
    last: str
    kind: str
    prints: Sequence[ListedPrint]


class ShownLabelJobs(NamedTuple):
    """The label jobs, newest first. `printer_kinds` are the kinds of the organisation's printers."""

    jobs: Sequence[ShownLabelJob]
    printer_kinds: frozenset[str]


async def view_labelling(database: Database, *, caller: Caller, batch_id: UUID) -> Labelling:
    """Raises NotFound."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        batch = await repositories.label_contents.get_batch(batch_id)
        if batch.codes_created_at is None:
            return Labelling(batch, None, None, None, 0)
        ends = {1, batch.quantity, LABELS_IN_JOB}
        codes = await repositories.label_contents.find_codes(batch_id, ends)
        cases = await repositories.label_contents.last_case(batch_id)
    end_of_file = codes[LABELS_IN_JOB] if batch.quantity > LABELS_IN_JOB else None
    return Labelling(batch, codes[1], codes[batch.quantity], end_of_file, cases)


async def view_label_jobs(
    database: Database, *, caller: Caller, batch_id: UUID, before: UUID | None, limit: int
) -> ShownLabelJobs:
    async with database.read(tenant=caller.organisation_id) as repositories:
        jobs = await repositories.label_jobs.list(batch_id=batch_id, status=None, before=before, limit=limit)
        numbers = {number for job in jobs for number in (job.first_number, job.last_number)}
        codes = await repositories.label_contents.find_codes(batch_id, numbers)
        prints = await repositories.print_jobs.list_of_label_jobs([job.id for job in jobs], each=PRINTS)
        printers = await repositories.printers.list()

    def name(job: LabelJob, number: int) -> str:
        return codes[number] if job.what == Labelled.UNITS else str(number)

    shown = [
        ShownLabelJob(
            job,
            name(job, job.first_number),
            name(job, job.last_number),
            printer_kind(job.file_format, job.dpi),
            [row for row in prints if row.label_job_id == job.id],
        )
        for job in jobs
    ]
    return ShownLabelJobs(shown, frozenset(printer_kind(row.format, row.dpi) for row in printers))
