"""Label jobs, and their files in parts."""

from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.domain.jobs import JobStatus
from qrtrack.domain.labels.documents import FileFormat
from qrtrack.domain.labels.label_jobs import Labelled
from qrtrack.models.leased import QUEUE_STORAGE, Leased, claim_index, leased_constraints
from qrtrack.models.metadata import Table, TenantOwned, child_of, one_of


class LabelJob(Leased, Table):
    """Draws the labels of a range of units or cases, from `first_number` to `last_number` in their batch.

    `drawn_through` is the checkpoint: labels up to this number are in the parts of the file. `definition` and
    `base_url` are the label format and the public address at the time of the order, so that all parts of the file
    match, whichever worker draws them.
    """

    __tablename__ = "label_jobs"
    __table_args__ = (
        *leased_constraints(),
        one_of("status", JobStatus),
        one_of("what", Labelled),
        one_of("file_format", FileFormat),
        CheckConstraint("first_number >= 1 AND last_number >= first_number", name="numbers"),
        CheckConstraint("label_count BETWEEN 1 AND 100000", name="label_count"),
        CheckConstraint("drawn_count >= 0 AND part_count >= 0 AND file_bytes >= 0", name="drawn"),
        CheckConstraint("drawn_through BETWEEN first_number - 1 AND last_number", name="drawn_through"),
        CheckConstraint("progress BETWEEN 0 AND 100", name="progress"),
        CheckConstraint("(status = 'completed') = (progress = 100)", name="completed"),
        claim_index("ix_label_jobs_claim", live="status IN ('queued', 'running')"),
        child_of("qr_batches", {"batch_id": "id"}),
        UniqueConstraint("manufacturer_org_id", "id"),
        Index("ix_label_jobs_batch_id_id", "batch_id", "id"),
        Index("ix_label_jobs_finished_at", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
        Index("ix_label_jobs_failed", "manufacturer_org_id", "finished_at", postgresql_where=text("status = 'failed'")),
        {"postgresql_with": QUEUE_STORAGE},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    batch_id: Mapped[UUID]
    what: Mapped[str]
    file_format: Mapped[str]
    preset: Mapped[str]
    definition: Mapped[dict[str, Any]] = mapped_column(JSONB)
    calibration: Mapped[dict[str, float]] = mapped_column(JSONB)
    start_at: Mapped[int]
    dpi: Mapped[int] = mapped_column(SmallInteger)
    at_tills: Mapped[bool]
    with_root_key: Mapped[bool]
    reason: Mapped[str | None]
    base_url: Mapped[str]
    first_number: Mapped[int]
    last_number: Mapped[int]
    label_count: Mapped[int]
    drawn_through: Mapped[int]
    drawn_count: Mapped[int] = mapped_column(server_default=text("0"))
    part_count: Mapped[int] = mapped_column(server_default=text("0"))
    file_bytes: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    progress: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    created_by: Mapped[str]


class LabelFile(TenantOwned, Table):
    """A part of a job's file, sealed if the labels show root keys. `offsets` are the positions in the file of the PDF
    objects that were drawn together with this part. If a chunk of work adds several parts, the first has all of them.
    """

    __tablename__ = "label_files"
    __table_args__ = (child_of("label_jobs", {"job_id": "id"}, ondelete="CASCADE"),)

    job_id: Mapped[UUID] = mapped_column(primary_key=True)
    part: Mapped[int] = mapped_column(primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)
    offsets: Mapped[list[int]] = mapped_column(ARRAY(Integer))
