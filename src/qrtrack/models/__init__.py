"""The SQLAlchemy tables, one file per noun."""

from qrtrack.models.accurate.documents import AccurateDocument
from qrtrack.models.accurate.forwarding import WebhookStream
from qrtrack.models.accurate.intake import WebhookConflict, WebhookEvent
from qrtrack.models.accurate.replays import WebhookReplay
from qrtrack.models.accurate.sources import AccurateSource, AccurateSubscription
from qrtrack.models.akselgate.attempts import Attempt, AttemptEvent, AttemptRow, OpenAttempt
from qrtrack.models.console_sessions import ConsoleSession, ConsoleSignInCode
from qrtrack.models.labels.label_formats import StoredLabelFormat
from qrtrack.models.labels.label_jobs import LabelFile, LabelJob
from qrtrack.models.leased import LeasedGroup
from qrtrack.models.metadata import Table, TenantOwned
from qrtrack.models.notifications import Notification
from qrtrack.models.packing.batches import Batch, BatchStage, BatchVariant, SerialCounter
from qrtrack.models.packing.cases import Case
from qrtrack.models.packing.codes import Code, ExcludedCode
from qrtrack.models.packing.reverse_jobs import PreparedCode, ReverseJob, ReverseJobLog
from qrtrack.models.periodic_tasks import PeriodicTask
from qrtrack.models.progress.sync_batches import SyncBatch
from qrtrack.models.progress.sync_records import SyncRecord
from qrtrack.models.recalculation import CountRepair
from qrtrack.models.requests import IdempotencyKey, QueueTurn
from qrtrack.models.secret_keys import SecretKeyFingerprint
from qrtrack.models.trace import TraceEvent
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
    "ConsoleSession",
    "ConsoleSignInCode",
    "CountRepair",
    "ExcludedCode",
    "IdempotencyKey",
    "LabelFile",
    "LabelJob",
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
    "StoredLabelFormat",
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
