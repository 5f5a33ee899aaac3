"""The kinds of queued work. To add one: a Queue in repositories/queues.py, and a handler in HANDLERS."""

from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

from qrtrack.database import DatabaseUnavailable
from qrtrack.domain.accurate.processing import ClaimedEvent
from qrtrack.domain.claims import Claim, Group, Interrupted
from qrtrack.domain.stopping import StopSignal
from qrtrack.repositories.queues import (
    CREATING,
    HASHING,
    LABEL_JOBS,
    NOTIFICATIONS,
    PERIODIC_TASKS,
    PRINT_JOBS,
    REVERSE_JOBS,
    WEBHOOK_EVENTS,
    WEBHOOK_RETRIES,
    WEBHOOK_STREAMS,
)
from qrtrack.runtime import Runtime
from qrtrack.services.accurate.forwarding import fail_stream, forward_stream
from qrtrack.services.accurate.processing import fail_event, process_event, process_group
from qrtrack.services.labels.drawing import draw_labels, fail_label_job
from qrtrack.services.labels.printers import claim_values, networks_of
from qrtrack.services.labels.printing import fail_print, print_label
from qrtrack.services.notifications import fail_notification, send_notification
from qrtrack.services.packing.code_creation import create_codes, fail_stage, hash_keys
from qrtrack.services.packing.preparation import fail_reverse_job, run_reverse_job
from qrtrack.worker import schedule
from qrtrack.worker.execution import AnyHandler, GroupHandler, SingleHandler

# The size of a group of events. It is large enough to make the round trips of a transaction negligible, and small
# enough for requests, which wait while the event loop runs a step of the group.
EVENTS_IN_GROUP: Final = 300
# A slow mail server or endpoint occupies one slot.
NOTIFICATION_SLOTS: Final = 4
# A printer that is away, or prints a long job, holds one slot; a printer never holds two.
PRINT_SLOTS: Final = 16


async def _create_codes(runtime: Runtime, claim: Claim, _stop: StopSignal) -> None:
    await create_codes(runtime.database, claim, keys=runtime.keys)


async def _hash_keys(runtime: Runtime, claim: Claim, stop: StopSignal) -> None:
    await hash_keys(
        runtime.database, claim, keys=runtime.keys, hasher=runtime.hasher, threads=runtime.hash_threads, stop=stop
    )


async def _prepare(runtime: Runtime, claim: Claim, stop: StopSignal) -> None:
    await run_reverse_job(runtime.database, claim, stop)


async def _draw_labels(runtime: Runtime, claim: Claim, stop: StopSignal) -> None:
    await draw_labels(runtime.database, claim, keys=runtime.keys, threads=runtime.label_threads, stop=stop)


async def _print(runtime: Runtime, claim: Claim, stop: StopSignal) -> None:
    networks = networks_of(runtime.settings)
    await print_label(runtime.database, claim, keys=runtime.keys, networks=networks, stop=stop)


async def _process_group(runtime: Runtime, group: Group[ClaimedEvent]) -> int:
    zone, forward = ZoneInfo(runtime.settings.accurate_timezone), runtime.forwarder is not None
    return await process_group(runtime.database, group, zone=zone, forward=forward)


async def _process_event(runtime: Runtime, claim: Claim, _stop: StopSignal) -> None:
    zone, forward = ZoneInfo(runtime.settings.accurate_timezone), runtime.forwarder is not None
    await process_event(runtime.database, claim, zone=zone, forward=forward)


async def _forward(runtime: Runtime, claim: Claim, stop: StopSignal) -> None:
    zone = ZoneInfo(runtime.settings.accurate_timezone)
    try:
        await forward_stream(runtime.database, claim, forwarder=runtime.forwarder, zone=zone, stop=stop)
    except DatabaseUnavailable as error:
        # An outage of the database releases the stream, which continues as soon as the database answers. A recorded
        # failure would delay it.
        raise Interrupted from error


async def _notify(runtime: Runtime, claim: Claim, _stop: StopSignal) -> None:
    await send_notification(runtime.database, claim, messenger=runtime.messenger)


REVERSE_JOB: Final = SingleHandler(
    REVERSE_JOBS, slots=lambda settings: settings.reverse_job_slots, run=_prepare, fail=fail_reverse_job
)
HANDLERS: Final[tuple[AnyHandler, ...]] = (
    REVERSE_JOB,
    SingleHandler(LABEL_JOBS, slots=lambda settings: settings.label_slots, run=_draw_labels, fail=fail_label_job),
    SingleHandler(
        PRINT_JOBS,
        slots=lambda settings: PRINT_SLOTS if settings.print_networks else 0,
        run=_print,
        fail=fail_print,
        claim_values=claim_values,
    ),
    SingleHandler(
        CREATING,
        slots=lambda settings: settings.creating_slots,
        run=_create_codes,
        fail=partial(fail_stage, queue=CREATING),
    ),
    SingleHandler(
        HASHING, slots=lambda settings: settings.hash_threads, run=_hash_keys, fail=partial(fail_stage, queue=HASHING)
    ),
    GroupHandler(
        WEBHOOK_EVENTS, slots=lambda settings: settings.accurate_workers, run=_process_group, size=EVENTS_IN_GROUP
    ),
    SingleHandler(
        WEBHOOK_RETRIES,
        slots=lambda settings: min(settings.accurate_workers, 1),
        run=_process_event,
        fail=fail_event,
    ),
    SingleHandler(WEBHOOK_STREAMS, slots=lambda settings: settings.accurate_workers, run=_forward, fail=fail_stream),
    SingleHandler(NOTIFICATIONS, slots=lambda _: NOTIFICATION_SLOTS, run=_notify, fail=fail_notification),
    # One slot for each task: a clean-up or a recalculation takes minutes, and the sweeper must not wait for it.
    SingleHandler(PERIODIC_TASKS, slots=lambda _: len(schedule.TASKS), run=schedule.run_task, fail=schedule.fail_task),
)
