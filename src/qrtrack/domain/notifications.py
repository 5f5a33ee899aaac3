"""Notifications about the end of a job or a batch: their addresses and their texts."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
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
                "The service calls only https addresses on the hosts of NOTIFY_ALLOWED_HOSTS: ask the operator to add "
                "this host."
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
    """The end of a job or a batch. `subject`: `reverse_job` or `batch`. `content`: its row at that moment."""

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
        """Returns the body of a webhook, as Standard Webhooks recommends."""
        return json.dumps(
            {
                "type": f"{self.subject}.{self.content['status']}",
                "timestamp": rfc3339(self.occurred_at),
                "data": {f"{self.subject.removeprefix('reverse_')}_id": str(self.subject_id), "text": self.sentence}
                | dict(self.content),
            },
            ensure_ascii=False,
        )

    def text(self, link: str) -> str:
        """Returns the body of an e-mail."""
        rows = {"Batch": self.content.get("batch_id", self.subject_id), "Order": self.content["order_id"]}
        if self.subject == "reverse_job":
            rows = {"Job": self.subject_id} | rows
        return "\n".join([self.sentence, "", *(f"{name}: {value}" for name, value in rows.items()), "", link, ""])
