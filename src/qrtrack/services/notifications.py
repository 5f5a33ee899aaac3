"""Sends notifications of ended jobs and batches, alerts and reports. A notification may arrive twice, then with the
same id. After its last attempt it is given up.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from qrtrack.database import Database
from qrtrack.domain.claims import Claim, PermanentFailure
from qrtrack.domain.errors import Unavailable
from qrtrack.domain.notifications import Channel, Channels, Ending, notification_of
from qrtrack.integrations.hooks import HookSender
from qrtrack.integrations.smtp import Mailer, MailNotSent
from qrtrack.repositories.queues import NOTIFICATIONS

log = structlog.get_logger()


class NotSent(Unavailable):
    """The notification was not sent, but a retry may succeed. `wait`: seconds that the receiver asked to wait."""

    slug = "notification-not-sent"
    title = "The notification could not be sent"

    def __init__(self, detail: str, *, wait: float | None = None) -> None:
        super().__init__(detail)
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Messenger:
    """The channels for messages. `mailer` or `hooks` is None if its channel is not configured. `links` has for each
    kind of subject the address that a message links to, with `{}` for the id.
    """

    channels: Channels
    mailer: Mailer | None
    hooks: HookSender | None
    links: Mapping[str, str]


async def send_notification(database: Database, claim: Claim, *, messenger: Messenger) -> None:
    """Sends one notification. If a worker dies between sending and recording, the next one sends it again with the same
    id. Raises NotSent, PermanentFailure.
    """
    async with database.read() as repositories:
        row = await repositories.notifications.get(claim.number)
    ending = notification_of(row.id, row.subject, row.subject_id, row.content, row.created_at)
    send = {Channel.EMAIL: _mail, Channel.URL: _call}[Channel(row.channel)]
    try:
        await send(messenger, ending, row.address)
    except NotSent as error:
        await _postpone(database, claim, error)
        raise
    async with database.write() as repositories:
        await repositories.leased(NOTIFICATIONS).finish(claim)
    log.info("notification sent", channel=row.channel, subject=row.subject, subject_id=str(row.subject_id))


async def _postpone(database: Database, claim: Claim, error: NotSent) -> None:
    """Delays the next attempt as the receiver asked (Retry-After). The attempt counts: after eight the notification has
    failed.
    """
    if error.wait is not None:
        async with database.write() as repositories:
            await repositories.leased(NOTIFICATIONS).postpone(claim, error.wait)


async def _mail(messenger: Messenger, ending: Ending, address: str) -> None:
    if messenger.mailer is None:
        raise NotSent("SMTP_URL is no longer set")
    link = messenger.links[ending.subject].format(ending.subject_id)
    try:
        await messenger.mailer.send(ending.message_id, to=address, subject=ending.title, text=ending.text(link))
    except MailNotSent as error:
        raise (PermanentFailure if error.permanent else NotSent)(str(error)) from error


async def _call(messenger: Messenger, ending: Ending, address: str) -> None:
    """Calls the address. Checks the allow-list again, since it may have changed after the caller named the host."""
    target = messenger.channels.target(address)
    if target is None or messenger.hooks is None:
        raise NotSent("the host is no longer in NOTIFY_ALLOWED_HOSTS")
    delivery = await messenger.hooks.send(ending.message_id, target, ending.payload())
    if delivery.error is not None:
        raise NotSent(delivery.error, wait=delivery.wait)


async def fail_notification(database: Database, claim: Claim, error: str, *, permanent: bool) -> float | None:
    """Records the failure. Returns the seconds until the next attempt, or None after the last attempt. Then the row
    keeps the reason.
    """
    async with database.write() as repositories:
        retry_in = await repositories.leased(NOTIFICATIONS).fail(claim, error, permanent=permanent)
    if retry_in is None:
        log.error("a notification was not sent and is given up", notification_id=claim.number, reason=error)
    return retry_in
