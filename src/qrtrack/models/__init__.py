"""The SQLAlchemy tables, one file per noun."""

from qrtrack.models.batches import Batch, BatchStage, BatchVariant, SerialCounter
from qrtrack.models.cases import Case
from qrtrack.models.codes import Code, ExcludedCode
from qrtrack.models.metadata import Table, TenantOwned
from qrtrack.models.requests import IdempotencyKey, QueueTurn
from qrtrack.models.reverse_jobs import PreparedCode, ReverseJob, ReverseJobLog
from qrtrack.models.trace import TraceEvent

__all__ = [
    "Batch",
    "BatchStage",
    "BatchVariant",
    "Case",
    "Code",
    "ExcludedCode",
    "IdempotencyKey",
    "PreparedCode",
    "QueueTurn",
    "ReverseJob",
    "ReverseJobLog",
    "SerialCounter",
    "Table",
    "TenantOwned",
    "TraceEvent",
]
