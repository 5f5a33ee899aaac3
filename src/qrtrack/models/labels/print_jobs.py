"""Print jobs."""

from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKeyConstraint, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.domain.labels.print_jobs import PrintStatus
from qrtrack.models.leased import QUEUE_STORAGE, Leased, claim_index, leased_constraints
from qrtrack.models.metadata import Instant, Table, child_of, one_of

UNSENT = "sending_at IS NULL AND status IN ('queued', 'running')"


class PrintJob(Leased, Table):
    """One file of a label job, or the label of one case, for one printer: sent at most once.

    `sending_at` is committed before the first byte leaves. From then on the job can only end as completed or unknown,
    unless sending failed before the first byte: then `sending_at` is NULL again. A printer has at most one unsent job
    for a case, whose label is drawn when it is sent. `station` is the station that
    packed the case; NULL if a person ordered the label.
    """

    __tablename__ = "print_jobs"
    __table_args__ = (
        *leased_constraints(max_attempts=5000, terminal=("completed", "failed", "cancelled", "unknown")),
        one_of("status", PrintStatus),
        CheckConstraint("(label_job_id IS NULL) = (case_id IS NOT NULL)", name="what"),
        CheckConstraint("(batch_id IS NULL) = (case_id IS NULL)", name="case"),
        CheckConstraint(
            "status = 'running' OR (sending_at IS NOT NULL) = (status IN ('completed', 'unknown'))", name="sent"
        ),
        CheckConstraint("sent_bytes >= 0", name="sent_bytes"),
        claim_index("ix_print_jobs_claim", live="status IN ('queued', 'running')"),
        child_of("printers", {"printer_id": "id"}, ondelete="CASCADE"),
        child_of("label_jobs", {"label_job_id": "id"}, ondelete="CASCADE"),
        child_of("qr_batches", {"batch_id": "id"}),
        ForeignKeyConstraint(["batch_id", "case_id"], ["qr_master_codes.batch_id", "qr_master_codes.id"]),
        Index("uq_print_jobs_running", "printer_id", unique=True, postgresql_where=text("status = 'running'")),
        Index("ix_print_jobs_live", "printer_id", "id", postgresql_where=text("status IN ('queued', 'running')")),
        Index(
            "uq_print_jobs_unsent_case",
            "case_id",
            "printer_id",
            unique=True,
            postgresql_where=text(f"{UNSENT} AND case_id IS NOT NULL"),
        ),
        Index("ix_print_jobs_printer_id_id", "printer_id", "id"),
        Index("ix_print_jobs_label_job_id", "label_job_id", postgresql_where=text("label_job_id IS NOT NULL")),
        # The packing page shows the labels of the last cases.
        Index("ix_print_jobs_case_id_id", "case_id", "id", postgresql_where=text("case_id IS NOT NULL")),
        Index("ix_print_jobs_finished_at", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
        Index(
            "ix_print_jobs_not_printed",
            "manufacturer_org_id",
            "finished_at",
            postgresql_where=text("status IN ('failed', 'unknown')"),
        ),
        {"postgresql_with": QUEUE_STORAGE},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    printer_id: Mapped[UUID]
    label_job_id: Mapped[UUID | None]
    batch_id: Mapped[UUID | None]
    case_id: Mapped[int | None] = mapped_column(BigInteger)
    station: Mapped[str | None]
    reason: Mapped[str | None]
    sending_at: Mapped[Instant | None]
    sent_bytes: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    created_by: Mapped[str]
