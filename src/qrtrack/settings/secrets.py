"""Secrets: those that are none, and those that development makes by itself and keeps."""

import logging
import os
import secrets
from pathlib import Path

SECRET_LENGTH = 32
PLACEHOLDER_MARKS = ("changeme", "changethis", "replaceme", "replacethis", "placeholder", "example")
GUESSABLE_WORDS = ("secret", "password", "super", "qrtrack", "jwt", "cron", "key")

log = logging.getLogger(__name__)


class SettingsError(Exception):
    """The program cannot start with these settings; the message is one line for each, naming the setting."""


def is_placeholder(value: str) -> bool:
    """Random text of this length practically never spells a mark or keeps to so few different characters."""
    letters = "".join(filter(str.isalnum, value.lower()))
    if len(value.strip()) < SECRET_LENGTH or any(mark in letters for mark in PLACEHOLDER_MARKS):
        return True
    for word in GUESSABLE_WORDS:
        letters = letters.replace(word, "")
    return len(letters) < SECRET_LENGTH // 2 or len(set(letters)) < 8


def kept_secret(folder: Path, name: str) -> str:
    """The same for all processes with this folder: made by the first that needs it. Raises SettingsError."""
    path = folder / name
    try:
        if not path.exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _write_once(path, secrets.token_urlsafe(48)):
                log.warning("%s is not set, and there was none in %s: made a new one there", name.upper(), folder)
        value = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name.upper()} is not set, and none could be kept in {path}: {error}") from error
    if len(value) < SECRET_LENGTH:
        raise SettingsError(f"{name.upper()} is not set, and {path} holds no usable one: set it, or remove the file.")
    return value


def _write_once(path: Path, value: str) -> bool:
    """Whether this call made the file. It appears complete or not at all, even if the machine stops half-way."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{value}\n")
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, never replaces the file of another process that was faster.
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True
