"""Which worker processes are alive, and when work of each kind last came to an end."""

from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.models.metadata import Instant, Now, Table


class WorkerProcess(Table):
    """A loop that looks for work. It says so every few seconds; one that has not until `alive_until` is gone."""

    __tablename__ = "worker_processes"
    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    host: Mapped[str]
    started_at: Mapped[Now]
    polled_at: Mapped[Instant]
    alive_until: Mapped[Instant]


class WorkKind(Table):
    """When work of a kind last came to an end, by any process: told every few seconds, not with each piece."""

    __tablename__ = "work_kinds"
    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)

    kind: Mapped[str] = mapped_column(primary_key=True)
    last_finished_at: Mapped[Instant]
