"""docs/troubleshooting.md explains every line with which a start ends."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from qrtrack.commands.running import MENDABLE
from qrtrack.settings import SettingsError
from qrtrack.settings.loading import load_settings

ROOT = Path(__file__).parents[1]
CHAPTER = (ROOT / "docs/troubleshooting.md").read_text().split("## It does not start")[1].split("\n## ")[0]
ENDING = {SettingsError, *MENDABLE}
# What these say depends on who raises them.
NOT_OF_A_START = {"BackupFailed", "OSError", "NotFound", "Unavailable", "Conflict"}


def told() -> list[re.Pattern[str]]:
    """Returns the messages of the page as patterns. An ellipsis stands for any text."""
    cells = re.findall(r"^\| (`.*?`) \|", CHAPTER, re.MULTILINE)
    messages = [message for cell in cells for message in re.findall(r"`([^`]+)`(?:, |$)", cell)]
    return [re.compile(".*".join(map(re.escape, message.split("…"))), re.DOTALL) for message in messages]


def text_of(node: ast.expr) -> str | None:
    """Returns the text of an expression, with an ellipsis for each value in it, or None if it is no text."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(text_of(part) or "…" for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return f"{text_of(left) or '…'}{text_of(right) or '…'}"
    return None


def messages_of(file: Path, names: set[str]) -> Iterator[str]:
    """Yields the messages with which the file creates these exceptions."""
    tree = ast.parse(file.read_text())
    of_classes = [kind for kind in ast.walk(tree) if isinstance(kind, ast.ClassDef) and kind.name in names]
    calls = [
        *(call for call in ast.walk(tree) if isinstance(call, ast.Call) and getattr(call.func, "id", "") in names),
        *(
            call
            for kind in of_classes
            for call in ast.walk(kind)
            if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "__init__"
        ),
    ]
    for call in calls:
        yield from filter(None, map(text_of, call.args[:1]))


def test_every_message_of_the_program_that_ends_a_start_is_explained() -> None:
    names = {kind.__name__ for kind in ENDING if kind.__module__.startswith("qrtrack")} - NOT_OF_A_START
    found = {message for file in ROOT.glob("src/qrtrack/**/*.py") for message in messages_of(file, names)}
    assert len(found) >= 10
    patterns = told()
    assert [message for message in sorted(found) if not any(pattern.fullmatch(message) for pattern in patterns)] == []


@pytest.mark.parametrize(
    "settings",
    [
        {"QRTRACK_ENV": "production"},
        {"QRTRACK_ENV": "production", "JWT_SECRET": "changeme", "SECRET_KEY": "x" * 40, "CRON_SECRET": "short"},
        {"QRTRACK_ENV": "production", "JWT_JWKS_URL": "http://id.example.com/jwks"},
        {"QRTRACK_ENV": "staging"},
        {"PUBLIC_BASE_URL": "https://qrtrack.example?x=1"},
        {"DATABASE_URL": "mysql://somewhere"},
        {"CRON_SECRET": "with a line end\n"},
        {"ACCURATE_WEBHOOK_TOKEN": "one,two,three"},
        {"QRTRACK_ENV": "production", "ACCURATE_WEBHOOK_TOKEN": "changeme"},
        {"ACCURATE_FORWARD_URL": "https://erp.example.com/hook"},
        {"SMTP_URL": "smtp://mail.example.com"},
        {"NOTIFY_ALLOWED_HOSTS": "sms.example.com"},
        {"QRTRACK_DATA_DIR": "/proc/nowhere"},
    ],
    ids=",".join,
)
def test_every_line_about_a_setting_is_explained(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    patterns = told()
    lines = str(refused.value).splitlines()
    assert [line for line in lines if not any(pattern.fullmatch(line) for pattern in patterns)] == []
