import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from pydantic import SecretStr

from qrtrack.logs import mask, mask_text, set_up_logs

SEED = "hunter2hunter2"
GET_LINE = f"GET /webhook/accurate?a=1&token={SEED}&b=2"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """A stream for the log. Restores the global logging configuration afterwards."""
    root = logging.getLogger()
    before, configured = (root.handlers, root.level), structlog.get_config()
    yield io.StringIO()
    structlog.configure(**configured)
    structlog.contextvars.clear_contextvars()
    root.handlers, root.level = before


def _lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_production_writes_one_json_object_a_line_with_the_context(stream: io.StringIO) -> None:
    set_up_logs(environment="production", level="info", stream=stream)
    with structlog.contextvars.bound_contextvars(request_id="r-1", job_id="j-1"):
        structlog.get_logger().info("case linked", codes=100)
    (line,) = _lines(stream)
    assert line["event"] == "case linked"
    assert line["codes"] == 100
    assert (line["request_id"], line["job_id"], line["level"]) == ("r-1", "j-1", "info")
    assert str(line["timestamp"]).endswith("Z")


def test_development_writes_readable_lines(stream: io.StringIO) -> None:
    set_up_logs(environment="development", level="info", stream=stream)
    structlog.get_logger().info("case linked", codes=100)
    assert "case linked codes=100" in stream.getvalue()


def test_lines_below_the_level_are_left_out(stream: io.StringIO) -> None:
    set_up_logs(environment="production", level="warning", stream=stream)
    structlog.get_logger().info("quiet")
    logging.getLogger("some.library").info("quiet")
    assert stream.getvalue() == ""


def test_libraries_write_through_the_same_stream(stream: io.StringIO) -> None:
    set_up_logs(environment="production", level="info", stream=stream)
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        logging.getLogger("uvicorn.error").info("Started %s", "server")
    (line,) = _lines(stream)
    assert (line["event"], line["logger"], line["request_id"]) == ("Started server", "uvicorn.error", "r-1")


@pytest.mark.parametrize("name", ["uvicorn.access", "httpx2", "sqlalchemy.engine.Engine"])
def test_chatty_libraries_are_silent(stream: io.StringIO, name: str) -> None:
    set_up_logs(environment="production", level="info", stream=stream)
    logging.getLogger(name).info("GET /?token=%s", SEED)
    assert stream.getvalue() == ""


@pytest.mark.parametrize("environment", ["production", "development"])
def test_no_secret_reaches_a_line_even_at_debug(stream: io.StringIO, environment: str) -> None:
    set_up_logs(environment=environment, level="debug", stream=stream)
    log = structlog.get_logger()
    log.debug("by key", Authorization=SEED, root_key=SEED, account_number=SEED, jwt_secret=SEED, set_cookie=SEED)
    log.debug("nested", body={"items": [{"password": SEED, "root_keys": [SEED]}]}, setting=SecretStr(SEED))
    log.debug(GET_LINE, url=f"postgresql://user:{SEED}@host/db")
    logging.getLogger("library").warning("sent Authorization: Bearer %s", SEED)
    try:
        raise ValueError(f"https://host/?token={SEED}")
    except ValueError:
        log.exception("failed")
    assert len(stream.getvalue().splitlines()) >= 5
    assert "ValueError" in stream.getvalue()
    assert SEED not in stream.getvalue()


def test_local_variables_stay_out_of_tracebacks(stream: io.StringIO) -> None:
    set_up_logs(environment="development", level="info", stream=stream)
    hidden = SEED
    try:
        raise ValueError(len(hidden))
    except ValueError:
        structlog.get_logger().exception("failed")
    assert SEED not in stream.getvalue()


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("/webhook/accurate?token=abc&x=1", "/webhook/accurate?token=***&x=1"),
        ("Authorization: Bearer abc.def-_=", "Authorization: Bearer ***"),
        ("postgresql://u:p%40ss@host/db", "postgresql://u:***@host/db"),
        ("got eyJhbGciOiJI.eyJzdWIi.sig-_ here", "got *** here"),
        ("Authorization: Basic dTpw", "Authorization: Basic ***"),
        ("violates\nDETAIL:  Failing row contains (1, 900).\nHINT: x", "violates\nDETAIL: ***\nHINT: x"),
        ("nothing secret: a@b.example, 12:30", "nothing secret: a@b.example, 12:30"),
        ("basic checks of http://host:80/a@b passed", "basic checks of http://host:80/a@b passed"),
    ],
)
def test_secrets_inside_text_are_masked(text: str, masked: str) -> None:
    assert mask_text(text) == masked


def test_a_mask_shows_absent_values_as_absent() -> None:
    assert mask({"token": None, "has_password": False}) == {"token": None, "has_password": False}


def test_deep_and_odd_values_are_cut_and_written_as_text() -> None:
    nested: dict[str, object] = {}
    inner = nested
    for _ in range(50):
        inner["next"] = inner = {}
    assert "…" in str(mask(nested))
    assert mask({"path": object}) == {"path": str(object)}
