"""The SQLAlchemy tables, one file for each subject."""

from qrtrack.models.accurate.documents import AccurateDocument
from qrtrack.models.accurate.forwarding import WebhookStream
from qrtrack.models.accurate.intake import WebhookConflict, WebhookEvent
from qrtrack.models.accurate.replays import WebhookReplay
from qrtrack.models.accurate.sources import AccurateSource, AccurateSubscription
from qrtrack.models.akselgate.attempts import Attempt, AttemptEvent, AttemptRow, OpenAttempt
from qrtrack.models.console_sessions import ConsoleSession, ConsoleSignInCode
from qrtrack.models.labels.label_formats import StoredLabelFormat
from qrtrack.models.labels.label_jobs import LabelFile, LabelJob
from qrtrack.models.labels.print_jobs import PrintJob
from qrtrack.models.labels.printed_hosts import PrintedHost
from qrtrack.models.labels.printers import Printer
from qrtrack.models.leased import LeasedGroup
from qrtrack.models.metadata import Table, TenantOwned
from qrtrack.models.notifications import Notification
from qrtrack.models.packing.batches import Batch, BatchStage, BatchVariant, SerialCounter
from qrtrack.models.packing.cases import Case
from qrtrack.models.packing.codes import Code, ExcludedCode
from qrtrack.models.packing.gtin_owners import GtinOwner
from qrtrack.models.packing.reverse_jobs import PreparedCode, ReverseJob, ReverseJobLog
from qrtrack.models.periodic_tasks import PeriodicTask
from qrtrack.models.progress.sync_batches import SyncBatch
from qrtrack.models.progress.sync_records import SyncRecord
from qrtrack.models.recalculation import CountRepair
from qrtrack.models.requests import IdempotencyKey, QueueTurn
from qrtrack.models.secret_keys import SecretKeyFingerprint
from qrtrack.models.trace import TraceEvent
from qrtrack.models.verification.alerts import VerificationAlert
from qrtrack.models.verification.checks import Verification
from qrtrack.models.verification.failures import VerificationFailure
from qrtrack.models.verification.recalls import Recall, RecalledCode
from qrtrack.models.verification.reports import VerificationReport
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
    "GtinOwner",
    "IdempotencyKey",
    "LabelFile",
    "LabelJob",
    "LeasedGroup",
    "Notification",
    "OpenAttempt",
    "PeriodicTask",
    "PreparedCode",
    "PrintJob",
    "PrintedHost",
    "Printer",
    "QueueTurn",
    "Recall",
    "RecalledCode",
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
    "Verification",
    "VerificationAlert",
    "VerificationFailure",
    "VerificationReport",
    "WebhookConflict",
    "WebhookEvent",
    "WebhookReplay",
    "WebhookStream",
    "WorkKind",
    "WorkerProcess",
]
