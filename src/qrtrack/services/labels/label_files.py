"""Sends label files: the stored file of a job part by part, and the label of one case, which is drawn on request."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

from qrtrack.database import Database
from qrtrack.domain.errors import NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.jobs import JobStatus
from qrtrack.domain.labels.documents import FileFormat, write_labels
from qrtrack.domain.labels.label_jobs import PRESET_OF, FileNotReady, Labelled, NewLabelJob
from qrtrack.domain.root_keys import KeyRing, NotAskedFor
from qrtrack.models import LabelJob
from qrtrack.services.labels.label_contents import case_label
from qrtrack.services.labels.label_plans import choose_printing


@dataclass(frozen=True, slots=True)
class LabelFile:
    """A file to send. `name` is its file name, `size` its length in bytes."""

    name: str
    file_format: FileFormat
    size: int
    parts: AsyncIterator[bytes]


async def open_label_file(
    database: Database, *, caller: Caller, keys: KeyRing, job_id: UUID, may_reveal: bool
) -> LabelFile:
    """Opens the file of a job. No connection is held between two parts. A trace event records who fetched a file with
    root keys.

    Raises NotFound, FileNotReady, and NotAskedFor for a file with root keys without `may_reveal`.
    """
    async with database.write(tenant=caller.organisation_id) as repositories:
        job = await repositories.label_jobs.get(job_id)
        require_file(job)
        batch = await repositories.label_contents.get_batch(job.batch_id)
        if job.with_root_key:
            if not may_reveal:
                raise NotAskedFor
            await repositories.trace.add(
                "keys.revealed",
                caller=caller,
                batch_id=job.batch_id,
                ranges=[(job.first_number, job.last_number)],
            )
    name = f"{job.what}-{batch.uniq_code}-{job.first_number}-{job.last_number}.{job.file_format}"
    parts = read_parts(database, keys, job)
    return LabelFile(name, FileFormat(job.file_format), job.file_bytes, parts)


def require_file(job: LabelJob) -> None:
    """Raises FileNotReady if the job is not completed, NotFound if its file was deleted."""
    if job.status != JobStatus.COMPLETED:
        raise FileNotReady(job.status)
    if not job.part_count:
        raise NotFound("The file showed root keys, and was deleted with them.")


async def read_parts(database: Database, keys: KeyRing, job: LabelJob) -> AsyncIterator[bytes]:
    for part in range(1, job.part_count + 1):
        async with database.read(tenant=job.manufacturer_org_id) as repositories:
            content = await repositories.label_jobs.get_part(job.id, part)
        if content is None:
            raise NotFound("The file was deleted while it was being sent.")
        yield keys.unseal_part(job.id, part, content) if job.with_root_key else content


async def draw_case_label(
    database: Database, *, caller: Caller, batch_id: UUID, case_number: int, new: NewLabelJob
) -> bytes:
    """Raises NotFound, LabelTooSmall."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        batch = await repositories.label_contents.get_batch(batch_id)
        case = await repositories.label_contents.get_case(batch_id, case_number)
        preset = new.preset or PRESET_OF[Labelled.CASES, FileFormat.ZPL]
        printing = await choose_printing(repositories, preset, new)
    label = case_label(batch, case)

    def draw() -> bytes:
        return b"".join(write_labels(printing, [printing.place(label)]))

    return await asyncio.to_thread(draw)
