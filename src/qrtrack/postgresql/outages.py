"""Translates failures of the database into answers for callers, and into reasons for the log."""

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import asyncpg
import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from qrtrack.domain.errors import DomainError, Unavailable
from qrtrack.repositories.constraints import domain_error

# SQLSTATE classes and codes of temporary failures: connection lost, no room, cancelled or shutting down, serialization
# failure, deadlock, lock timeout.
PASSING: Final = ("08", "53", "57", "40001", "40P01", "55P03")
# SQLSTATE classes of permanent failures: wrong user or password, no such database.
REFUSING: Final = ("28", "3D")
TOO_MANY: Final = ("53300",)
# PgBouncer uses this one SQLSTATE for nearly all its errors.
POOLERS_OWN: Final = "08P01"
REASON_LENGTH: Final = 300
# The log repeats a reason that has not occurred for this long.
OVER_SECONDS: Final = 60.0

log = structlog.get_logger()


class DatabaseUnavailable(Unavailable):
    """PostgreSQL cannot serve the request now: no answer, no free connection, a lock held too long, or no writes.

    `reason` is for the log, not for the caller.
    """

    slug = "database-unavailable"
    title = "The database cannot be reached"

    def __init__(self, reason: str = "") -> None:
        super().__init__("The database cannot answer at the moment. Try again in a few seconds.")
        self.reason = reason


class DatabaseRefused(Unavailable):
    """The service cannot connect with its DATABASE_URL (user, password, database, TLS or options): do not retry."""

    slug = "database-refused"
    title = "The database refuses the service"

    def __init__(self, reason: str, advice: str = "correct DATABASE_URL") -> None:
        super().__init__(f"The database refuses the service: {advice}.")
        self.reason = reason


@dataclass(slots=True)
class Outages:
    """Logs why the database did not answer: each reason once in an outage, not once for each request."""

    _seen: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def translated(self, *, quietly: bool = False) -> Iterator[None]:
        """Raises DatabaseUnavailable, DatabaseRefused, or the domain error of a violated constraint."""
        try:
            yield
        except Exception as error:
            refusal = error if isinstance(error, DomainError) else _refusal(error)
            if isinstance(refusal, DatabaseUnavailable | DatabaseRefused) and not quietly:
                self._tell(refusal.reason)
            if refusal is None or refusal is error:
                raise
            raise refusal from error

    def _tell(self, reason: str) -> None:
        # Some reasons contain a process id or a time. Reasons that differ only in digits count as the same.
        kind = "".join(letter for letter in reason if not letter.isdigit())
        now = time.monotonic()
        seen = self._seen.get(kind, -OVER_SECONDS)
        self._seen = {name: at for name, at in self._seen.items() if now - at < OVER_SECONDS} | {kind: now}
        if now - seen >= OVER_SECONDS:
            log.warning("the database cannot answer", reason=reason)


def _refusal(error: Exception) -> DomainError | None:
    """Returns None for a defect of the program."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return DatabaseUnavailable(reason_of(error))
    reported = _of_driver(error)
    if isinstance(reported, asyncpg.PostgresError | asyncpg.InternalClientError):
        return _reported(reported)
    if isinstance(reported, PoolTimeout | OSError | asyncpg.InterfaceError):
        return _no_connection(reported)
    return None


def _no_connection(error: BaseException) -> DatabaseUnavailable | DatabaseRefused:
    reason = reason_of(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = "its certificate cannot be verified, as sslmode or channel_binding in DATABASE_URL ask for"
        return DatabaseRefused(reason, advice)
    if "rejected SSL upgrade" in reason:
        return DatabaseRefused(reason, "it has no TLS, which sslmode or channel_binding in DATABASE_URL ask for")
    if isinstance(error, asyncpg.ClientConfigurationError):
        return DatabaseRefused(reason)
    return DatabaseUnavailable(reason)


def _of_driver(error: BaseException) -> BaseException:
    """Returns the driver's error, which SQLAlchemy wraps in two errors of its own."""
    reported: BaseException = getattr(error, "orig", None) or error
    cause = reported.__cause__
    return (
        cause
        if isinstance(cause, asyncpg.PostgresError | asyncpg.InterfaceError | asyncpg.InternalClientError)
        else error
    )


def _reported(error: BaseException) -> DomainError | None:
    reason = reason_of(error)
    if has_state(error, (POOLERS_OWN,)) and "startup parameter" in reason:
        advice = "set DATABASE_POOLER=transaction if it is PgBouncer; otherwise remove options from DATABASE_URL"
        return DatabaseRefused(reason, advice)
    if has_state(error, REFUSING) or (has_state(error, (POOLERS_OWN,)) and "no such database" in reason):
        return DatabaseRefused(reason)
    if _is_passing(error):
        return DatabaseUnavailable(reason)
    return domain_error(error)


def _is_passing(error: BaseException) -> bool:
    """Returns True for a temporary failure. An internal error of the driver counts as one: the driver raises it when a
    killed connection is used before it has closed.
    """
    return isinstance(error, asyncpg.InternalClientError) or has_state(error, PASSING)


def is_full(error: BaseException) -> bool:
    """Returns True if the server, or PgBouncer in front of it, accepts no further connection."""
    return has_state(error, TOO_MANY) or (has_state(error, (POOLERS_OWN,)) and "no more connections" in str(error))


def has_state(error: BaseException | None, classes: tuple[str, ...]) -> bool:
    sqlstate = getattr(error, "sqlstate", None)
    return isinstance(sqlstate, str) and sqlstate.startswith(classes)


def reason_of(error: BaseException) -> str:
    """Returns the reason, in the server's own words if it sent some."""
    if isinstance(error, PoolTimeout):
        return "all connections of this process are in use (DATABASE_POOL_SIZE)"
    error = _of_driver(error)
    if isinstance(error, TimeoutError) and not error.args:
        return "no answer in time"
    sqlstate = getattr(error, "sqlstate", None)
    told = str(error).partition("\n")[0][:REASON_LENGTH] or type(error).__name__
    return f"{told} ({sqlstate})" if sqlstate else told


def server_says(error: BaseException) -> str | None:
    """Returns the reason of an error that a person at the terminal can fix: no right, a timeout, no room. None for a
    defect of the program.
    """
    state = getattr(getattr(error, "orig", error), "sqlstate", None)
    if not isinstance(state, str) or (state.startswith(("42", "XX")) and state != "42501"):
        return None
    return reason_of(error)
