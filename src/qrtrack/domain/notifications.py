"""Notifications of ended jobs and batches, of alerts and of consumers' reports: their addresses and their texts."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from qrtrack.domain.errors import FieldError, InvalidInput
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.instants import rfc3339

HTTPS_PORT: Final = 443
ADDRESS_LENGTH: Final = 254
URL_LENGTH: Final = 2000
# One mailbox in plain ASCII, so that nobody can inject a header or a second recipient.
EMAIL: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z0-9-]{2,63}")
# URL parsers disagree about other characters (blanks, backslashes, non-ASCII letters), and attackers exploit that.
PLAIN_URL: Final = re.compile(r"https://[A-Za-z0-9.:-]+(?:[/?][!-\[\]-~]*)?")


class Channel(StrEnum):
    EMAIL = "email"
    URL = "url"


class Subject(StrEnum):
    REVERSE_JOB = "reverse_job"
    BATCH = "batch"
    VERIFICATION_ALERT = "verification_alert"
    VERIFICATION_REPORT = "verification_report"


SAID: Final[Mapping[str, str]] = MappingProxyType(
    {
        "verification_alert.guessing": "many wrong root keys were entered for this batch.",
        "verification_alert.many_networks": "the unit was checked from many networks. Its label may have been copied.",
        "verification_alert.void": "a void unit was checked.",
        "verification_alert.recalled": "a recalled unit was checked.",
        "verification_alert.not_released": "a unit was checked before the batch was released for sale.",
        "verification_alert.expired": "a unit was checked after its expiry date.",
        "verification_report.not_me": "a consumer reports that somebody else checked the unit before.",
        "verification_report.label_damaged": "a consumer reports a damaged label.",
        "verification_report.key_opened": "a consumer reports that the root key was uncovered already.",
        "verification_report.product_doubtful": "a consumer doubts the product.",
        "verification_report.sold_too_early": "a consumer reports a sale before the release.",
        "verification_report.other": "a consumer sent a report.",
    }
)
"""The sentences of alerts and reports, by type. Each is sent at most once a day for each batch."""


@dataclass(frozen=True, slots=True)
class Notify:
    """Where to send notifications: at least one address."""

    email: str | None = None
    url: str | None = None

    @property
    def addresses(self) -> dict[str, str]:
        """The addresses by channel, as the database stores them."""
        named = {Channel.EMAIL.value: self.email, Channel.URL.value: self.url}
        return {channel: address for channel, address in named.items() if address is not None}


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed URL. The check and the request use the same parts, so they cannot parse the text differently."""

    host: str
    port: int
    path: str


@dataclass(frozen=True, slots=True)
class Channels:
    """The channels that are configured. `hosts`: the allow-list of hosts and ports."""

    mail: bool
    hosts: frozenset[tuple[str, int]]

    def check(self, notify: Notify | None) -> Notify | None:
        """Raises InvalidInput while the request is checked, so that the notification does not fail when the job has
        ended.
        """
        if notify is None:
            return None
        errors = [error for error in (self._of_email(notify.email), self._of_url(notify.url)) if error is not None]
        if errors:
            raise InvalidInput(" ".join(error.detail for error in errors), errors=errors)
        return notify

    def _of_email(self, email: str | None) -> FieldError | None:
        if email is not None and not self.mail:
            detail = "E-mail is not set up here: ask the operator of the service to set SMTP_URL."
            return FieldError("/notify/email", detail, FieldCode.EMAIL_NOT_SET_UP)
        return None

    def _of_url(self, url: str | None) -> FieldError | None:
        if url is not None and self.target(url) is None:
            detail = (
                "The service calls only https addresses on the hosts and ports of NOTIFY_ALLOWED_HOSTS: correct the "
                "address, or ask the operator of the service to add its host."
            )
            return FieldError("/notify/url", detail, FieldCode.HOST_NOT_ALLOWED)
        return None

    def target(self, url: str) -> Target | None:
        """Parses a URL. Returns None if it is not allowed."""
        if not PLAIN_URL.fullmatch(url):
            return None
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower(), parts.port or HTTPS_PORT
        except ValueError:
            return None
        if (host, port) not in self.hosts:
            return None
        return Target(host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a job or a batch. `content` is its row at that moment."""

    notification_id: int
    subject: str
    subject_id: UUID
    content: Mapping[str, Any]
    occurred_at: datetime

    @property
    def message_id(self) -> str:
        """The message's id. Every attempt sends the same one, so a receiver can detect repeats."""
        return f"notification-{self.notification_id}"

    @property
    def kind(self) -> str:
        """Returns the type of the notification, by which receivers distinguish notifications."""
        return f"{self.subject}.{self.content['status']}"

    @property
    def _named(self) -> str:
        return self.subject.removeprefix("reverse_")

    @property
    def title(self) -> str:
        return f"{self.subject.replace('_', ' ').capitalize()} {self.content['status']}"

    @property
    def sentence(self) -> str:
        """Returns one line for people, short enough for a text message."""
        return f"{self.title}: {self._particulars}"

    @property
    def _particulars(self) -> str:
        if self.content["status"] == "failed":
            return str(self.content["error_message"])
        result = self.content.get("result_summary")
        if result:
            return (
                f"{result['prepared']} prepared, {result['excluded_count']} excluded, {result['duplicates']} already"
                f" in the queue, {result['invalid']} no longer available."
            )
        if self.subject == "batch":
            return f"{self.content['quantity']} codes."
        return "nothing more will be prepared."

    def payload(self) -> str:
        """The body of a webhook, as Standard Webhooks recommends."""
        data = {f"{self._named}_id": str(self.subject_id), "text": self.sentence} | dict(self.content)
        told = {"type": self.kind, "timestamp": rfc3339(self.occurred_at), "data": data}
        return json.dumps(told, ensure_ascii=False)

    def text(self, link: str) -> str:
        """Returns the body of an e-mail."""
        rows = {"Batch": self.content.get("batch_id", self.subject_id), "Order": self.content["order_id"]}
        if self.subject == "reverse_job":
            rows = {"Job": self.subject_id} | rows
        return "\n".join([self.sentence, "", *(f"{name}: {value}" for name, value in rows.items()), "", link, ""])


class Incident(Ending):
    """An alert or a consumer's report about a batch, or about its unit `code`."""

    @property
    def kind(self) -> str:
        return f"{self.subject}.{self.content['kind']}"

    @property
    def _named(self) -> str:
        return "batch"

    @property
    def title(self) -> str:
        return f"{self.subject.replace('_', ' ').capitalize()}: {self.content['product_name']}"

    @property
    def sentence(self) -> str:
        unit = f", {self.content['code']}" if self.content["code"] else ""
        return f"{self.content['product_name']}{unit}: {SAID[self.kind]}"


def notification_of(
    notification_id: int, subject: str, subject_id: UUID, content: Mapping[str, Any], occurred_at: datetime
) -> Ending:
    kind = Incident if subject in {Subject.VERIFICATION_ALERT, Subject.VERIFICATION_REPORT} else Ending
    return kind(notification_id, subject, subject_id, content, occurred_at)
