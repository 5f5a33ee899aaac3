"""The kinds of queued work of the service, and the tables they live on."""

from dataclasses import replace

from qrtrack.repositories.leased import Queue

CARRIED_BYTES = 8192

CREATING = Queue(
    kind="creating",
    table="qr_batch_stages",
    narrowed_to="job.stage = 'creating'",
    max_attempts=4,
    backoff_seconds=(0.1, 0.2, 0.3),
)
HASHING = Queue(
    kind="hashing",
    table="qr_batch_stages",
    narrowed_to="job.stage = 'hashing'",
    max_attempts=4,
    backoff_seconds=(0.1, 0.2, 0.3),
)
WEBHOOK_EVENTS = Queue(
    kind="webhook_event",
    table="webhook_queue",
    narrowed_to="job.attempts = 0",
    max_attempts=8,
    backoff_seconds=(1, 5, 25, 120, 600, 1800, 3600),
    queued="pending",
    running="processing",
    completed="done",
    failed="dead",
    error="error",
    # Of a long content only that it is there: a group of those would not fit into memory.
    carries=(
        "job.type",
        "job.database_id",
        "job.created_at",
        "job.forward_status",
        f"CASE WHEN octet_length(job.payload) <= {CARRIED_BYTES} THEN job.payload END AS payload",
    ),
)
# What was tried before is taken one by one: an event that kills its worker takes no neighbours with it.
WEBHOOK_RETRIES = replace(WEBHOOK_EVENTS, kind="webhook_retry", narrowed_to="job.attempts > 0")
WEBHOOK_STREAMS = Queue(kind="webhook_stream", table="webhook_streams", max_attempts=8, backoff_seconds=(5,))
REVERSE_JOBS = Queue(
    kind="reverse_job",
    table="qr_reverse_jobs",
    max_attempts=3,
    backoff_seconds=(2, 8),
    on_claim="progress = GREATEST(job.progress, 5)",
)
NOTIFICATIONS = Queue(
    kind="notification",
    table="notifications",
    max_attempts=8,
    backoff_seconds=(5, 30, 120, 600, 3600, 14400, 36000),
)
# Its rows are never finished: the end of a run sets the time of the next one (services/periodic_tasks.py).
PERIODIC_TASKS = Queue(kind="periodic_task", table="periodic_tasks", max_attempts=3, backoff_seconds=(1,))

QUEUES = (
    REVERSE_JOBS,
    CREATING,
    HASHING,
    WEBHOOK_EVENTS,
    WEBHOOK_RETRIES,
    WEBHOOK_STREAMS,
    NOTIFICATIONS,
    PERIODIC_TASKS,
)
