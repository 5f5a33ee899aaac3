"""The only SQL of the program: one repository per noun, each bound to one session."""

from functools import cached_property
from typing import TypeVar
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from qrtrack.domain.requests import RepeatableRequest
from qrtrack.repositories.accurate.documents import AccurateDocumentRepository
from qrtrack.repositories.accurate.forwarding import WebhookForwardingRepository
from qrtrack.repositories.accurate.processing import WebhookProcessingRepository, WebhookRetryRepository
from qrtrack.repositories.accurate.replays import WebhookReplayRepository
from qrtrack.repositories.accurate.sources import AccurateSourceRepository
from qrtrack.repositories.akselgate.attempt_events import AttemptEventRepository
from qrtrack.repositories.akselgate.callbacks import CallbackRepository
from qrtrack.repositories.akselgate.dispatches import DispatchRepository
from qrtrack.repositories.akselgate.reports import DispatchReportRepository
from qrtrack.repositories.base import Connection
from qrtrack.repositories.gauges import FigureRepository
from qrtrack.repositories.groups import GroupRepository
from qrtrack.repositories.idempotency import IdempotencyRepository
from qrtrack.repositories.leased import LeasedRepository, Queue
from qrtrack.repositories.notifications import NotificationRepository
from qrtrack.repositories.packing.batch_lists import BatchListRepository
from qrtrack.repositories.packing.batches import BatchRepository
from qrtrack.repositories.packing.case_packing import CasePacking
from qrtrack.repositories.packing.cases import CaseRepository
from qrtrack.repositories.packing.code_creation import StageRepository
from qrtrack.repositories.packing.codes import CodeRepository
from qrtrack.repositories.packing.prepared_codes import PreparedCodeRepository
from qrtrack.repositories.packing.reverse_jobs import ReverseJobRepository
from qrtrack.repositories.periodic_tasks import PeriodicTaskRepository
from qrtrack.repositories.progress.sync_batches import ProgressRepository
from qrtrack.repositories.progress.sync_records import RecordIntake
from qrtrack.repositories.recalculation import RecountRepository
from qrtrack.repositories.retention import RetentionRepository
from qrtrack.repositories.secret_keys import SecretKeyRepository
from qrtrack.repositories.trace import TraceRepository
from qrtrack.repositories.workers import WorkerRepository

Result = TypeVar("Result")

WAKE_UP_CHANNEL = "qrtrack_queues"


class Repositories:
    """All repositories of one transaction."""

    def __init__(
        self, connection: AsyncConnection, driver: Connection, request: RepeatableRequest | None = None
    ) -> None:
        self._connection = connection
        self._driver = driver
        self._request = request

    def answer(self, result: Result) -> Result:
        """What this transaction promises to the caller: kept with the effect, to be given again to the same request."""
        if self._request is not None:
            self._request.answer = self._request.render(result)
        return result

    async def lock_batch(self, batch_id: UUID) -> None:
        """Waits until this transaction is the only one that moves the batch's queue. Several: in the order of ids."""
        await self._session.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"batch {batch_id}"}
        )

    async def wake_workers(self, queue: Queue) -> None:
        """A hint, sent with the commit; a worker that does not hear it polls."""
        await self._session.execute(
            text("SELECT pg_notify(:channel, :kind)"), {"channel": WAKE_UP_CHANNEL, "kind": queue.kind}
        )

    async def flush(self) -> None:
        """Sends what was put into the session, or changed in it, and not sent yet: the commit is none of its own."""
        session: AsyncSession | None = vars(self).get("_session")
        if session is not None:
            await session.flush()

    def leased(self, queue: Queue) -> LeasedRepository:
        return LeasedRepository(self._session, queue)

    def groups(self, queue: Queue) -> GroupRepository:
        return GroupRepository(self._driver, queue)

    @cached_property
    def _session(self) -> AsyncSession:
        # It ends with its connection, which has begun for it already.
        return AsyncSession(self._connection, expire_on_commit=False)

    @cached_property
    def attempt_events(self) -> AttemptEventRepository:
        return AttemptEventRepository(self._session)

    @cached_property
    def batches(self) -> BatchRepository:
        return BatchRepository(self._session)

    @cached_property
    def batch_lists(self) -> BatchListRepository:
        return BatchListRepository(self._session)

    @cached_property
    def callbacks(self) -> CallbackRepository:
        return CallbackRepository(self._session)

    @cached_property
    def case_packing(self) -> CasePacking:
        return CasePacking(self._driver)

    @cached_property
    def cases(self) -> CaseRepository:
        return CaseRepository(self._session)

    @cached_property
    def codes(self) -> CodeRepository:
        return CodeRepository(self._session)

    @cached_property
    def dispatch_reports(self) -> DispatchReportRepository:
        return DispatchReportRepository(self._session)

    @cached_property
    def dispatches(self) -> DispatchRepository:
        return DispatchRepository(self._session)

    @cached_property
    def figures(self) -> FigureRepository:
        return FigureRepository(self._session)

    @cached_property
    def idempotency(self) -> IdempotencyRepository:
        return IdempotencyRepository(self._session)

    @cached_property
    def notifications(self) -> NotificationRepository:
        return NotificationRepository(self._session)

    @cached_property
    def periodic_tasks(self) -> PeriodicTaskRepository:
        return PeriodicTaskRepository(self._session)

    @cached_property
    def prepared_codes(self) -> PreparedCodeRepository:
        return PreparedCodeRepository(self._session)

    @cached_property
    def retention(self) -> RetentionRepository:
        return RetentionRepository(self._session)

    @cached_property
    def progress(self) -> ProgressRepository:
        return ProgressRepository(self._session)

    @cached_property
    def record_intake(self) -> RecordIntake:
        return RecordIntake(self._driver)

    @cached_property
    def recounts(self) -> RecountRepository:
        return RecountRepository(self._session)

    @cached_property
    def reverse_jobs(self) -> ReverseJobRepository:
        return ReverseJobRepository(self._session)

    @cached_property
    def secret_keys(self) -> SecretKeyRepository:
        return SecretKeyRepository(self._session)

    @cached_property
    def stages(self) -> StageRepository:
        return StageRepository(self._session)

    @cached_property
    def trace(self) -> TraceRepository:
        return TraceRepository(self._session)

    @cached_property
    def workers(self) -> WorkerRepository:
        return WorkerRepository(self._session)

    @cached_property
    def accurate_documents(self) -> AccurateDocumentRepository:
        return AccurateDocumentRepository(self._session)

    @cached_property
    def accurate_sources(self) -> AccurateSourceRepository:
        return AccurateSourceRepository(self._session)

    @cached_property
    def webhook_processing(self) -> WebhookProcessingRepository:
        return WebhookProcessingRepository(self._driver)

    @cached_property
    def webhook_retries(self) -> WebhookRetryRepository:
        return WebhookRetryRepository(self._session)

    @cached_property
    def webhook_forwarding(self) -> WebhookForwardingRepository:
        return WebhookForwardingRepository(self._session)

    @cached_property
    def webhook_replays(self) -> WebhookReplayRepository:
        return WebhookReplayRepository(self._session)
