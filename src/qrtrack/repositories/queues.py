"""The kinds of queued work and their tables. Their handlers are in worker/handlers.py."""

from dataclasses import replace
from typing import Final, TypeVar

from qrtrack.domain.accurate.processing import ClaimedEvent
from qrtrack.domain.identity import Permission
from qrtrack.repositories.groups import GroupQueue
from qrtrack.repositories.leased import Queue

QueueT = TypeVar("QueueT", bound=Queue)

QUEUES: Final[list[Queue]] = []
# NOTIFY on it names the kind of work that has become due.
WAKE_UP_CHANNEL: Final = "qrtrack_queues"


def _registered(queue: QueueT) -> QueueT:
    QUEUES.append(queue)
    return queue


CREATING: Final = _registered(
    Queue(
        kind="creating",
        table="qr_batch_stages",
        narrowed_to="job.stage = 'creating'",
        max_attempts=4,
        backoff_seconds=(0.1, 0.2, 0.3),
        seen_with=Permission.PACK,
    )
)
HASHING: Final = _registered(replace(CREATING, kind="hashing", narrowed_to="job.stage = 'hashing'"))

CARRIED_BYTES: Final = 8192
WEBHOOK_EVENTS: Final = _registered(
    GroupQueue(
        kind="webhook_event",
        table="webhook_queue",
        narrowed_to="job.attempts = 0",
        max_attempts=8,
        backoff_seconds=(1, 5, 25, 120, 600, 1800, 3600),
        seen_with=Permission.RESOLVE_AND_REPLAY,
        queued="pending",
        running="processing",
        completed="done",
        failed="dead",
        error="error",
        piece=ClaimedEvent,
        # A claim returns no long payloads: those of a whole group may not fit into memory. Processing reads as many as
        # fit, and releases the other events.
        columns=f"""job.id, job.manufacturer_org_id, job.type, job.database_id, job.created_at, job.forward_status,
        CASE WHEN octet_length(job.payload) <= {CARRIED_BYTES} THEN job.payload END AS payload""",
    )
)
# Retries are claimed one by one, so that an event that crashes its worker does not take a group with it again.
WEBHOOK_RETRIES: Final = _registered(replace(WEBHOOK_EVENTS, kind="webhook_retry", narrowed_to="job.attempts > 0"))
WEBHOOK_STREAMS: Final = _registered(
    Queue(
        kind="webhook_stream",
        table="webhook_streams",
        max_attempts=8,
        backoff_seconds=(5,),
        seen_with=Permission.RESOLVE_AND_REPLAY,
    )
)
REVERSE_JOBS: Final = _registered(
    Queue(
        kind="reverse_job",
        table="qr_reverse_jobs",
        max_attempts=3,
        backoff_seconds=(2, 8),
        seen_with=Permission.PACK,
        on_claim="progress = GREATEST(job.progress, 5)",
    )
)
LABEL_JOBS: Final = _registered(
    Queue(kind="label_job", table="label_jobs", max_attempts=3, backoff_seconds=(2, 8), seen_with=Permission.PACK)
)
# Claimed by processes that may print into the printer's network, in the order of ids, one at a time per printer: the
# unique index on running rows refuses what two claims at the same moment would take.
PRINT_JOBS: Final = _registered(
    Queue(
        kind="print_job",
        table="print_jobs",
        max_attempts=5000,
        backoff_seconds=(1, 2, 5, 10, 30, 60),
        seen_with=Permission.PACK,
        claimed_if="""EXISTS (
            SELECT FROM printers AS printer
            WHERE printer.id = job.printer_id
              AND (printer.ip <<= ANY(CAST(CAST(:opened AS text[]) AS cidr[]))
                   OR printer.ip <<= ANY(CAST(CAST(:listed AS text[]) AS cidr[]))
                      AND NOT printer.ip <<= ANY(CAST(CAST(:special AS text[]) AS cidr[]))))
        AND NOT EXISTS (
            SELECT FROM print_jobs AS other
            WHERE other.printer_id = job.printer_id AND other.id <> job.id
              AND (other.status = 'running' OR other.status = 'queued' AND other.id < job.id))""",
    )
)
NOTIFICATIONS: Final = _registered(
    Queue(
        kind="notification",
        table="notifications",
        max_attempts=8,
        backoff_seconds=(5, 30, 120, 600, 3600, 14400, 36000),
        seen_with=Permission.PACK,
    )
)
# Rows of this table never end: the end of a run sets the time of the next one (worker/schedule.py).
PERIODIC_TASKS: Final = _registered(
    Queue(kind="periodic_task", table="periodic_tasks", max_attempts=3, backoff_seconds=(1,), seen_with=None)
)
