"""Worker processes that are alive, and when work of each kind last ended."""

from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.models.metadata import Instant, Now, Table


class WorkerProcess(Table):
    """A process with a worker loop. It reports every few seconds; after `alive_until` it counts as dead."""

    __tablename__ = "worker_processes"
    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    host: Mapped[str]
    started_at: Mapped[Now]
    polled_at: Mapped[Instant]
    alive_until: Mapped[Instant]


class WorkKind(Table):
    """When work of a kind last ended, in any process. Written every few seconds, not for each piece."""

    __tablename__ = "work_kinds"
    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)

    kind: Mapped[str] = mapped_column(primary_key=True)
    last_finished_at: Mapped[Instant]
