"""Sets up the logs: one line for each event, as JSON in production and readable in development. Secrets are masked
before rendering.
"""

import logging
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MASK = "***"
SECRET_KEYS = re.compile(
    r"authorization|token|password|passwd|secret|root_?key|account|cookie|credential|api_?key|private", re.IGNORECASE
)
# Secrets inside text: a query parameter, a bearer header, the password in an address, or a signed token anywhere.
SECRET_TEXT = re.compile(
    r"(?P<parameter>[?&;][\w.-]{0,40}(?:token|secret|password|key|signature)[\w.-]{0,40}=)[^&;\s\"'#]+"
    r"|(?P<scheme>\bbearer\s+|\bauthorization\W+basic\s+)[\w.~+/=-]+"
    r"|(?P<user>://[^\s/:@]*:)[^\s@/]+(?=@)"
    r"|\beyJ[\w-]{4,}\.[\w-]+\.[\w-]*"
    # PostgreSQL's detail of a refused row contains the row itself.
    r"|(?P<detail>\bDETAIL:\s)[^\n]*",
    re.IGNORECASE,
)
DEEPEST = 6
QUIET_LOGGERS = ("alembic", "sqlalchemy", "httpx2", "httpcore2", "asyncio", "passlib")


def mask_text(text: str) -> str:
    # This check runs for every value, and most values are single words. Text that needs masking always contains one of
    # these.
    if not ("=" in text or " " in text or "\t" in text or "://" in text or "eyJ" in text):
        return text
    return SECRET_TEXT.sub(lambda found: "".join(filter(None, found.groups())) + MASK, text)


def mask(value: Any, depth: int = 0) -> Any:
    """Returns a copy for a log. A value under a secret's name is masked completely; other text is searched for
    secrets.
    """
    if isinstance(value, str):
        return mask_text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        return {key: _mask_entry(str(key), item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [mask(item, depth + 1) for item in value]
    return mask_text(str(value))


def _mask_entry(key: str, value: Any, depth: int) -> Any:
    if value is not None and not isinstance(value, bool) and _is_secret(key):
        return MASK
    return mask(value, depth)


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    return SECRET_KEYS.search(key) is not None


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Masks secrets in a log line. It is the last processor before rendering, so that rendered tracebacks are masked
    too.
    """
    return {key: _mask_entry(key, value, 0) for key, value in event.items()}


def set_up_logs(*, environment: str, level: str, stream: TextIO | None = None) -> None:
    """Sends our own log lines and those of the libraries to one stream (standard error, since standard output is for
    answers).

    The server must be started without its own log configuration and access log, or every line appears twice.
    """
    out = sys.stderr if stream is None else stream
    minimum = logging.getLevelNamesMapping()[level.upper()]
    context: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering: list[Processor] = [structlog.processors.format_exc_info, redact, _renderer(environment, out)]
    structlog.configure(
        processors=[*context, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(minimum),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    _adopt_library_logs(out, minimum, context, rendering)


def _renderer(environment: str, out: TextIO) -> Processor:
    if environment == "production":
        return structlog.processors.JSONRenderer(default=str)
    # The plain formatter shows no local variables, which may hold secrets.
    return structlog.dev.ConsoleRenderer(
        colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
    )


def _adopt_library_logs(out: TextIO, minimum: int, context: list[Processor], rendering: list[Processor]) -> None:
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*context, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(minimum)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(minimum, logging.WARNING))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        library = logging.getLogger(name)
        library.handlers = []
        library.propagate = name != "uvicorn.access"
