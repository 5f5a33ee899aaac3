"""The kinds of queued work of the service, and the tables they live on."""

from qrtrack.repositories.leased import Queue

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
REVERSE_JOBS = Queue(
    kind="reverse_job",
    table="qr_reverse_jobs",
    max_attempts=3,
    backoff_seconds=(2, 8),
    on_claim="progress = GREATEST(job.progress, 5)",
)
