"""The SQL of the program's areas: one repository for each subject, bound to one transaction."""

from collections.abc import Sequence
from functools import cached_property
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from qrtrack.domain.claims import PieceT
from qrtrack.domain.requests import RepeatableRequest
from qrtrack.repositories.accurate.documents import AccurateDocumentRepository
from qrtrack.repositories.accurate.forwarding import WebhookForwardingRepository
from qrtrack.repositories.accurate.intake import WebhookIntakeRepository
from qrtrack.repositories.accurate.processing import WebhookProcessingRepository, WebhookRetryRepository
from qrtrack.repositories.accurate.replays import WebhookReplayRepository
from qrtrack.repositories.accurate.sources import AccurateSourceRepository
from qrtrack.repositories.akselgate.attempt_events import AttemptEventRepository
from qrtrack.repositories.akselgate.attempts import AttemptRepository
from qrtrack.repositories.akselgate.callbacks import CallbackRepository
from qrtrack.repositories.akselgate.dispatches import DispatchRepository
from qrtrack.repositories.akselgate.reports import ReportRepository
from qrtrack.repositories.base import Connection, DriverRepository
from qrtrack.repositories.case_prints import CasePrintRepository
from qrtrack.repositories.console_sessions import ConsoleSessionRepository
from qrtrack.repositories.gauges import GaugeRepository
from qrtrack.repositories.groups import GroupQueue, GroupRepository
from qrtrack.repositories.idempotency import IdempotencyRepository
from qrtrack.repositories.labels.label_contents import LabelContentRepository
from qrtrack.repositories.labels.label_formats import LabelFormatRepository
from qrtrack.repositories.labels.label_jobs import LabelJobRepository
from qrtrack.repositories.labels.print_jobs import PrintJobRepository
from qrtrack.repositories.labels.printed_hosts import PrintedHostRepository
from qrtrack.repositories.labels.printers import PrinterRepository
from qrtrack.repositories.leased import LeasedRepository, Queue
from qrtrack.repositories.notifications import NotificationRepository
from qrtrack.repositories.overviews import OverviewRepository
from qrtrack.repositories.packing.batch_lists import BatchListRepository
from qrtrack.repositories.packing.batches import BatchRepository
from qrtrack.repositories.packing.case_packing import CasePackingRepository
from qrtrack.repositories.packing.cases import CaseRepository
from qrtrack.repositories.packing.code_creation import CodeCreationRepository
from qrtrack.repositories.packing.codes import CodeRepository
from qrtrack.repositories.packing.exports import ExportRepository
from qrtrack.repositories.packing.gtin_owners import GtinOwnerRepository
from qrtrack.repositories.packing.job_groups import JobGroupRepository
from qrtrack.repositories.packing.numbering import NumberingRepository
from qrtrack.repositories.packing.prepared_codes import PreparedCodeRepository
from qrtrack.repositories.packing.reconciliation import ReconciliationRepository
from qrtrack.repositories.packing.reverse_jobs import ReverseJobRepository
from qrtrack.repositories.periodic_tasks import PeriodicTaskRepository
from qrtrack.repositories.progress.sync_batches import SyncBatchRepository
from qrtrack.repositories.progress.sync_records import SyncRecordRepository
from qrtrack.repositories.queues import WAKE_UP_CHANNEL
from qrtrack.repositories.recalculation import RecalculationRepository
from qrtrack.repositories.retention import RetentionRepository
from qrtrack.repositories.searches import SearchRepository
from qrtrack.repositories.secret_keys import SecretKeyRepository
from qrtrack.repositories.server import ServerRepository
from qrtrack.repositories.trace import TraceRepository
from qrtrack.repositories.verification.alerts import AlertRepository
from qrtrack.repositories.verification.checks import CheckRepository
from qrtrack.repositories.verification.failures import FailureRepository
from qrtrack.repositories.verification.recalls import RecallRepository
from qrtrack.repositories.verification.records import VerificationRecordRepository
from qrtrack.repositories.verification.releases import ReleaseRepository
from qrtrack.repositories.verification.reports import VerificationReportRepository
from qrtrack.repositories.verification.units import VerifiedUnitRepository
from qrtrack.repositories.workers import WorkerRepository

Result = TypeVar("Result")
# A NamedTuple of numbers and texts, which JSON keeps.
SoFar = TypeVar("SoFar", bound=NamedTuple)

# The subquery is evaluated first, so the locks are taken in its order.
LOCK_BATCHES: Final = """
SELECT pg_advisory_xact_lock(hashtextextended('batch ' || id, 0))
FROM (SELECT DISTINCT id FROM unnest(CAST(:batch_ids AS uuid[])) AS batch (id) ORDER BY id) AS ordered
"""


class DriverRepositories(DriverRepository):
    """The repositories on the driver's connection: hot paths, exports by COPY, and the limits of the server."""

    case_packing = cached_property(lambda self: CasePackingRepository(self._connection))
    exports = cached_property(lambda self: ExportRepository(self._connection))
    case_prints = cached_property(lambda self: CasePrintRepository(self._connection))
    console_sessions = cached_property(lambda self: ConsoleSessionRepository(self._connection))
    server = cached_property(lambda self: ServerRepository(self._connection))
    sync_records = cached_property(lambda self: SyncRecordRepository(self._connection))
    verification_alerts = cached_property(lambda self: AlertRepository(self._connection))
    verification_checks = cached_property(lambda self: CheckRepository(self._connection))
    verification_failures = cached_property(lambda self: FailureRepository(self._connection))
    verification_reports = cached_property(lambda self: VerificationReportRepository(self._connection))
    verified_units = cached_property(lambda self: VerifiedUnitRepository(self._connection))
    webhook_intake = cached_property(lambda self: WebhookIntakeRepository(self._connection))
    webhook_processing = cached_property(lambda self: WebhookProcessingRepository(self._connection))

    def groups(self, queue: GroupQueue[PieceT]) -> GroupRepository[PieceT]:
        return GroupRepository(self._connection, queue)

    async def wake_workers(self, queue: Queue) -> None:
        """Sends NOTIFY with the commit. A worker that misses it finds the work at its next poll."""
        await self._execute("SELECT pg_notify(:channel, :kind)", channel=WAKE_UP_CHANNEL, kind=queue.kind)


class Repositories(DriverRepositories):
    """All repositories of one transaction."""

    def __init__(
        self, pooled: AsyncConnection, connection: Connection, request: RepeatableRequest | None = None
    ) -> None:
        super().__init__(connection)
        self._pooled = pooled
        self._request = request

    def answer(self, result: Result) -> Result:
        """Keeps the answer of a request with an Idempotency-Key. It is committed together with the effect."""
        if self._request is not None:
            self._request.answer = self._request.render(result)
        return result

    def continued(self, so_far: SoFar) -> SoFar:
        """Returns what a request of several transactions has done so far: `so_far`, or what an earlier request with the
        same Idempotency-Key did until it was interrupted.
        """
        stored = self._request.so_far if self._request else None
        return so_far if stored is None else type(so_far)._make(stored)

    def keep_so_far(self, so_far: SoFar) -> SoFar:
        """Stores, in the transaction of the effect, where the next transaction continues: the next one of this request
        or, after an interruption, the first one of a repeated request.
        """
        if self._request is not None:
            self._request.so_far = so_far
        return so_far

    async def lock_batch(self, batch_id: UUID) -> None:
        """Locks the batch's queue until the transaction ends: other transactions that change the queue wait. To avoid
        deadlocks, lock several batches in the order of their ids.
        """
        await self._lock(f"batch {batch_id}")

    async def lock_batches(self, batch_ids: Sequence[UUID]) -> None:
        """Locks each of the batches as `lock_batch` does, in the order of their ids."""
        await self._execute(LOCK_BATCHES, batch_ids=list(batch_ids))

    async def flush(self) -> None:
        """Sends pending changes of the session. We COMMIT on the driver connection, so the session never does it."""
        session: AsyncSession | None = vars(self).get("_session")
        if session is not None:
            await session.flush()

    def leased(self, queue: Queue) -> LeasedRepository:
        return LeasedRepository(self._session, queue)

    @cached_property
    def _session(self) -> AsyncSession:
        # The session is never closed: it ends with the connection, whose transaction we began.
        return AsyncSession(self._pooled, expire_on_commit=False)

    accurate_documents = cached_property(lambda self: AccurateDocumentRepository(self._session))
    accurate_sources = cached_property(lambda self: AccurateSourceRepository(self._session))
    attempt_events = cached_property(lambda self: AttemptEventRepository(self._session))
    attempts = cached_property(lambda self: AttemptRepository(self._session))
    batch_lists = cached_property(lambda self: BatchListRepository(self._session))
    batches = cached_property(lambda self: BatchRepository(self._session))
    callbacks = cached_property(lambda self: CallbackRepository(self._session))
    cases = cached_property(lambda self: CaseRepository(self._session))
    code_creation = cached_property(lambda self: CodeCreationRepository(self._session))
    codes = cached_property(lambda self: CodeRepository(self._session))
    dispatches = cached_property(lambda self: DispatchRepository(self._session))
    gauges = cached_property(lambda self: GaugeRepository(self._session))
    gtin_owners = cached_property(lambda self: GtinOwnerRepository(self._session))
    idempotency = cached_property(lambda self: IdempotencyRepository(self._session))
    label_contents = cached_property(lambda self: LabelContentRepository(self._session))
    label_formats = cached_property(lambda self: LabelFormatRepository(self._session))
    label_jobs = cached_property(lambda self: LabelJobRepository(self._session))
    notifications = cached_property(lambda self: NotificationRepository(self._session))
    numbering = cached_property(lambda self: NumberingRepository(self._session))
    periodic_tasks = cached_property(lambda self: PeriodicTaskRepository(self._session))
    overviews = cached_property(lambda self: OverviewRepository(self._session))
    prepared_codes = cached_property(lambda self: PreparedCodeRepository(self._session))
    printed_hosts = cached_property(lambda self: PrintedHostRepository(self._session))
    print_jobs = cached_property(lambda self: PrintJobRepository(self._session))
    printers = cached_property(lambda self: PrinterRepository(self._session))
    recalculation = cached_property(lambda self: RecalculationRepository(self._session))
    reconciliation = cached_property(lambda self: ReconciliationRepository(self._session))
    recalls = cached_property(lambda self: RecallRepository(self._session))
    releases = cached_property(lambda self: ReleaseRepository(self._session))
    reports = cached_property(lambda self: ReportRepository(self._session))
    retention = cached_property(lambda self: RetentionRepository(self._session))
    job_groups = cached_property(lambda self: JobGroupRepository(self._session))
    reverse_jobs = cached_property(lambda self: ReverseJobRepository(self._session))
    searches = cached_property(lambda self: SearchRepository(self._session))
    secret_keys = cached_property(lambda self: SecretKeyRepository(self._session))
    sync_batches = cached_property(lambda self: SyncBatchRepository(self._session))
    trace = cached_property(lambda self: TraceRepository(self._session))
    verification_records = cached_property(lambda self: VerificationRecordRepository(self._session))
    webhook_replays = cached_property(lambda self: WebhookReplayRepository(self._session))
    webhook_retries = cached_property(lambda self: WebhookRetryRepository(self._session))
    webhook_forwarding = cached_property(lambda self: WebhookForwardingRepository(self._session))
    workers = cached_property(lambda self: WorkerRepository(self._session))
