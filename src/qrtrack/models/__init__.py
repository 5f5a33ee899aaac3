"""The SQLAlchemy tables, one file per noun."""

from qrtrack.models.accurate import AccurateDocument, AccurateSource, AccurateSubscription
from qrtrack.models.batches import Batch, BatchStage, BatchVariant, SerialCounter
from qrtrack.models.cases import Case
from qrtrack.models.codes import Code, ExcludedCode
from qrtrack.models.dispatches import Attempt, AttemptEvent, AttemptRow, OpenAttempt
from qrtrack.models.leased import LeasedGroup
from qrtrack.models.metadata import Table, TenantOwned
from qrtrack.models.notifications import Notification
from qrtrack.models.periodic_tasks import PeriodicTask
from qrtrack.models.progress import SyncBatch, SyncRecord
from qrtrack.models.recounts import CountRepair
from qrtrack.models.requests import IdempotencyKey, QueueTurn
from qrtrack.models.reverse_jobs import PreparedCode, ReverseJob, ReverseJobLog
from qrtrack.models.secret_keys import SecretKeyFingerprint
from qrtrack.models.trace import TraceEvent
from qrtrack.models.webhook_events import WebhookConflict, WebhookEvent, WebhookReplay, WebhookStream
from qrtrack.models.workers import WorkerProcess, WorkKind

__all__ = [
    "AccurateDocument",
    "AccurateSource",
    "AccurateSubscription",
    "Attempt",
    "AttemptEvent",
    "AttemptRow",
    "Batch",
    "BatchStage",
    "BatchVariant",
    "Case",
    "Code",
    "CountRepair",
    "ExcludedCode",
    "IdempotencyKey",
    "LeasedGroup",
    "Notification",
    "OpenAttempt",
    "PeriodicTask",
    "PreparedCode",
    "QueueTurn",
    "ReverseJob",
    "ReverseJobLog",
    "SecretKeyFingerprint",
    "SerialCounter",
    "SyncBatch",
    "SyncRecord",
    "Table",
    "TenantOwned",
    "TraceEvent",
    "WebhookConflict",
    "WebhookEvent",
    "WebhookReplay",
    "WebhookStream",
    "WorkKind",
    "WorkerProcess",
]
