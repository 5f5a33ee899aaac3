"""Label jobs and the parts of their files."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select

from qrtrack.domain.claims import Claim
from qrtrack.domain.errors import NotFound
from qrtrack.models import LabelJob
from qrtrack.repositories.base import Repository
from qrtrack.repositories.queues import LABEL_JOBS

FIND_RESERVING = """
SELECT id
FROM label_jobs
WHERE batch_id = :batch_id AND what = 'units' AND status IN ('queued', 'running')
  AND first_number <= :last AND last_number >= :first
ORDER BY id
LIMIT 1
"""
ADD_PARTS = """
INSERT INTO label_files (manufacturer_org_id, job_id, part, content, offsets)
SELECT :organisation, :job_id, CAST(:before AS int) + place, content,
       CASE WHEN place = 1 THEN CAST(:offsets AS int[]) ELSE '{}' END
FROM unnest(CAST(:contents AS bytea[])) WITH ORDINALITY AS piece(content, place)
"""
DRAWN = """
drawn_through = :drawn_through, drawn_count = :drawn_count, part_count = :part_count, file_bytes = :file_bytes
"""
RECORD_DRAWN = f"""
UPDATE label_jobs
SET {DRAWN}, progress = GREATEST(progress, :progress), updated_at = now()
WHERE {LABEL_JOBS.fence}
"""
COMPLETE = f"""
UPDATE label_jobs
SET {LABEL_JOBS.finished}, {DRAWN}, progress = 100
WHERE {LABEL_JOBS.fence}
"""
DELETE_FILE = "DELETE FROM label_files WHERE job_id = :job_id"
LIST_OFFSETS = """
SELECT entry
FROM label_files, unnest(offsets) WITH ORDINALITY AS list(entry, place)
WHERE job_id = :job_id
ORDER BY part, place
"""
GET_PART = """
SELECT content
FROM label_files
WHERE job_id = :job_id AND part = :part
"""


class Drawn(NamedTuple):
    """The checkpoint of a job: how much of its file is stored."""

    drawn_through: int
    drawn_count: int
    part_count: int
    file_bytes: int


class LabelJobRepository(Repository):
    async def get(self, job_id: UUID) -> LabelJob:
        """Raises NotFound."""
        return _found(await self._session.scalar(select(LabelJob).where(LabelJob.id == job_id)), job_id)

    async def lock(self, job_id: UUID) -> LabelJob:
        """Reads the job and locks it until the transaction ends. Raises NotFound."""
        query = select(LabelJob).where(LabelJob.id == job_id).with_for_update()
        return _found(await self._session.scalar(query.execution_options(populate_existing=True)), job_id)

    async def list(
        self, *, batch_id: UUID | None, status: str | None, before: UUID | None, limit: int
    ) -> Sequence[LabelJob]:
        """Lists label jobs, newest first."""
        query = select(LabelJob).order_by(LabelJob.id.desc()).limit(limit)
        if batch_id is not None:
            query = query.where(LabelJob.batch_id == batch_id)
        if status is not None:
            query = query.where(LabelJob.status == status)
        if before is not None:
            query = query.where(LabelJob.id < before)
        return (await self._session.scalars(query)).all()

    async def add(self, job: LabelJob) -> None:
        self._session.add(job)
        await self._session.flush()

    async def find_reserving(self, batch_id: UUID, first: int, last: int) -> UUID | None:
        """Returns a queued or running job that prints some of these units. Needs the batch lock."""
        return await self._find_value(UUID, FIND_RESERVING, batch_id=batch_id, first=first, last=last)

    async def add_parts(self, claim: Claim, contents: Sequence[bytes], *, before: int, offsets: Sequence[int]) -> None:
        """Adds parts after the first `before` parts of the file. The same transaction must have made a fenced write
        before.
        """
        if contents:
            await self._execute(
                ADD_PARTS,
                organisation=claim.organisation_id,
                job_id=claim.uuid,
                before=before,
                contents=list(contents),
                offsets=list(offsets),
            )

    async def record_drawn(self, claim: Claim, drawn: Drawn, *, progress: int) -> None:
        """Raises LeaseLost."""
        await self._execute_fenced(claim, RECORD_DRAWN, **drawn._asdict(), progress=progress)

    async def complete(self, claim: Claim, drawn: Drawn) -> None:
        """Raises LeaseLost."""
        await self._execute_fenced(claim, COMPLETE, **drawn._asdict())

    async def delete_file(self, job_id: UUID) -> None:
        await self._execute(DELETE_FILE, job_id=job_id)

    async def list_offsets(self, job_id: UUID) -> Sequence[int]:
        return await self._fetch_values(int, LIST_OFFSETS, job_id=job_id)

    async def get_part(self, job_id: UUID, part: int) -> bytes | None:
        return await self._find_value(bytes, GET_PART, job_id=job_id, part=part)


def _found(job: LabelJob | None, job_id: UUID) -> LabelJob:
    if job is None:
        raise NotFound(f"There is no label job {job_id} in your organisation.")
    return job
