"""Executes a label job: draws page after page, stores the file in parts, marks the units as printed.

Each stored part is a checkpoint. If a worker is killed, the next one continues after the last checkpoint: no label is
in the file twice, and the file is the same as that of a single run.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Final, cast

import structlog

from qrtrack.database import Database
from qrtrack.domain.claims import Claim, Interrupted, PermanentFailure
from qrtrack.domain.estimates import percentage
from qrtrack.domain.identity import Caller
from qrtrack.domain.labels.documents import Checkpoint, FileFormat, LabelWriter, Printing
from qrtrack.domain.labels.formats import Calibration, format_of
from qrtrack.domain.labels.label_jobs import Labelled
from qrtrack.domain.labels.labels import Label
from qrtrack.domain.labels.zpl import Dpi
from qrtrack.domain.root_keys import KeyRing
from qrtrack.domain.stopping import StopSignal
from qrtrack.models import LabelJob
from qrtrack.repositories import Repositories
from qrtrack.repositories.labels.label_contents import LabelledBatch, LabelledCase, LabelledUnit
from qrtrack.repositories.labels.label_jobs import Drawn
from qrtrack.repositories.queues import LABEL_JOBS
from qrtrack.services.labels.label_contents import case_label, unit_label
from qrtrack.services.labels.label_jobs import traced_details
from qrtrack.services.stoppable_threads import run_in_thread

log = structlog.get_logger()

PART_BYTES: Final = 256 * 1024
# About this many labels fill a part. Drawing them takes some seconds.
LABELS_AT_A_TIME: Final = 400

Row = LabelledUnit | LabelledCase


async def draw_labels(database: Database, claim: Claim, *, keys: KeyRing, threads: Executor, stop: StopSignal) -> None:
    """Draws all labels of the job. Raises Interrupted when asked to stop (stored parts stay), and LeaseLost when
    another worker holds the job or it was cancelled.
    """
    async with database.read() as repositories:
        job = await repositories.label_jobs.get(claim.uuid)
        batch = await repositories.label_contents.get_batch(job.batch_id)
        offsets = await repositories.label_jobs.list_offsets(job.id)
    drawing = Drawing(job, batch, offsets, keys)
    while True:
        if stop.is_set():
            raise Interrupted
        async with database.read() as repositories:
            rows = await drawing.next_rows(repositories)
        pages = await run_in_thread(threads, partial(drawing.draw, rows), stop)
        async with database.write(batch_lock=job.batch_id if drawing.is_complete else None) as repositories:
            await _store(repositories, claim, drawing, pages)
        if drawing.is_complete:
            break
    log.info("label job completed", job_id=str(job.id), labels=drawing.drawn.drawn_count)


class Drawing:
    """The file of a job while it is drawn. Only the worker that holds the lease changes it."""

    def __init__(self, job: LabelJob, batch: LabelledBatch, offsets: Sequence[int], keys: KeyRing) -> None:
        self.job = job
        self.drawn = Drawn(job.drawn_through, job.drawn_count, job.part_count, job.file_bytes)
        self.is_complete = False
        self._batch = batch
        self._keys = keys
        self._printing = _printing(job)
        self._writer = LabelWriter(self._printing, Checkpoint(job.drawn_count, job.file_bytes, offsets))
        self._stored_offsets = len(offsets)
        self._are_last = False

    async def next_rows(self, repositories: Repositories) -> Sequence[Row]:
        """Reads the next rows, as many as fill whole pages. Only the last page of the file may have room left."""
        per_page = self._printing.label_format.labels_per_page
        limit = self._writer.room + (LABELS_AT_A_TIME // per_page) * per_page
        contents, job = repositories.label_contents, self.job
        asked = {"after": self.drawn.drawn_through, "last": job.last_number, "limit": limit}
        rows: Sequence[Row]
        if job.what == Labelled.UNITS:
            rows = await contents.list_units(job.batch_id, **asked, with_keys=job.with_root_key)
        else:
            rows = await contents.list_cases(job.batch_id, **asked)
        self._are_last = len(rows) < limit or _number(rows[-1]) == job.last_number
        return rows

    def draw(self, rows: Sequence[Row], is_stopped: Callable[[], bool]) -> bytes:
        """Draws pages until all rows are drawn, or stops after a page when `is_stopped` says so. Runs in a thread."""
        pages, done = bytearray(), 0
        while done < len(rows) and not is_stopped():
            page = rows[done : done + self._writer.room]
            pages += self._writer.page([self._printing.place(self._label(row)) for row in page])
            done += len(page)
        through = _number(rows[done - 1]) if done else self.drawn.drawn_through
        drawn_count = self.drawn.drawn_count + done
        if self._are_last and done == len(rows):
            if not drawn_count:
                raise PermanentFailure("Every unit of the range has become void: there is no label to draw.")
            pages += self._writer.close()
            through, self.is_complete = self.job.last_number, True
        self.drawn = self.drawn._replace(drawn_through=through, drawn_count=drawn_count)
        return bytes(pages)

    def take_parts(self, pages: bytes) -> tuple[Sequence[bytes], int, Sequence[int]]:
        """Returns the parts to store, the number of parts before them, and the offsets of their pages."""
        before = self.drawn.part_count
        parts = [pages[at : at + PART_BYTES] for at in range(0, len(pages), PART_BYTES)]
        offsets = self._writer.offsets[self._stored_offsets :]
        self._stored_offsets += len(offsets)
        self.drawn = self.drawn._replace(part_count=before + len(parts), file_bytes=self.drawn.file_bytes + len(pages))
        if self.job.with_root_key:
            parts = [self._keys.seal_part(self.job.id, before + place, part) for place, part in enumerate(parts, 1)]
        return parts, before, offsets

    def _label(self, row: Row) -> Label:
        if isinstance(row, LabelledCase):
            return case_label(self._batch, row)
        return unit_label(self.job.base_url, self._batch, row, self._root_key(row))

    def _root_key(self, unit: LabelledUnit) -> str | None:
        if not self.job.with_root_key:
            return None
        if unit.sealed is None:
            raise PermanentFailure(f"The root key of {unit.code} was deleted: print without `with_root_key`.")
        return self._keys.unseal(self._batch.id, unit.sequence_number, bytes(unit.sealed))


def _printing(job: LabelJob) -> Printing:
    return Printing(
        format_of(job.definition),
        FileFormat(job.file_format),
        job.start_at,
        job.at_tills,
        cast("Dpi", job.dpi),
        Calibration(**job.calibration),
    )


def _number(row: Row) -> int:
    return row.case_number if isinstance(row, LabelledCase) else row.sequence_number


async def _store(repositories: Repositories, claim: Claim, drawing: Drawing, pages: bytes) -> None:
    """Stores the checkpoint with a fenced update, and the parts. The transaction that stores the last parts also marks
    the units as printed.
    """
    parts, before, offsets = drawing.take_parts(pages)
    if drawing.is_complete:
        await _complete(repositories, claim, drawing)
    else:
        drawn = drawing.drawn
        progress = min(percentage(drawn.drawn_count, drawing.job.label_count), 99)
        await repositories.label_jobs.record_drawn(claim, drawn, progress=progress)
    await repositories.label_jobs.add_parts(claim, parts, before=before, offsets=offsets)


async def _complete(repositories: Repositories, claim: Claim, drawing: Drawing) -> None:
    job, ranges, first_prints = drawing.job, [], 0
    if job.what == Labelled.UNITS:
        marked = await repositories.label_contents.mark_printed(job.batch_id, job.first_number, job.last_number)
        ranges, first_prints = list(zip(marked.lows, marked.highs, strict=True)), marked.first_prints
    await repositories.trace.add(
        "label_job.completed",
        caller=Caller(job.created_by, job.manufacturer_org_id),
        batch_id=job.batch_id,
        reason=job.reason,
        ranges=ranges,
        details=traced_details(job) | {"label_count": drawing.drawn.drawn_count, "first_prints": first_prints},
    )
    await repositories.label_jobs.complete(claim, drawing.drawn)


async def fail_label_job(database: Database, claim: Claim, error: str, *, permanent: bool) -> float | None:
    """Records the failure. Returns the seconds until the next attempt, or None after the last attempt."""
    async with database.write() as repositories:
        return await repositories.leased(LABEL_JOBS).fail(claim, error, permanent=permanent)
