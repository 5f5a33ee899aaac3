"""Secrets: recognising placeholders, and making and keeping secrets in development."""

import logging
import os
import secrets
import stat
from pathlib import Path

SECRET_LENGTH = 32
PLACEHOLDER_MARKS = ("changeme", "changethis", "replaceme", "replacethis", "placeholder", "example")
GUESSABLE_WORDS = ("secret", "password", "super", "qrtrack", "jwt", "cron", "key")

log = logging.getLogger(__name__)


class SettingsError(Exception):
    """The program cannot start with these settings. The message has one line for each, with the setting's name."""


def is_placeholder(value: str) -> bool:
    """Returns whether the text looks like a placeholder that a person wrote. Random text of this length practically
    never contains one of the marks, or so few different characters.
    """
    letters = "".join(filter(str.isalnum, value.lower()))
    if len(value.strip()) < SECRET_LENGTH or any(mark in letters for mark in PLACEHOLDER_MARKS):
        return True
    for word in GUESSABLE_WORDS:
        letters = letters.replace(word, "")
    return len(letters) < SECRET_LENGTH // 2 or len(set(letters)) < 8


def kept_secret(folder: Path, name: str) -> str:
    """Returns the secret in the folder, which all processes of the folder share. The first process that needs the
    secret makes it. Raises SettingsError, also if another user may have written or read the file.
    """
    path = folder / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(_open_private(folder, name, mode=0o700))
        if not path.exists() and _write_once(path, secrets.token_urlsafe(48)):
            log.warning("%s is not set, and there was none in %s: made a new one there", name.upper(), folder)
        with os.fdopen(_open_private(path, name, mode=0o600), encoding="ascii") as file:
            value = file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name.upper()} is not set, and none could be kept in {path}: {error}") from error
    if len(value) < SECRET_LENGTH:
        raise SettingsError(
            f"{name.upper()} is not set, and {path} contains no usable one: set it, or remove the file."
        )
    return value


def _open_private(path: Path, name: str, *, mode: int) -> int:
    """Opens the file, and checks that no other user can have written or read it. Returns a descriptor: the caller reads
    the file that was checked, even if another file has taken its path meanwhile. Raises SettingsError, which advises
    `chmod` to `mode`.
    """
    descriptor = None
    if not path.is_symlink():
        # O_NONBLOCK: opening a FIFO that an attacker made would block. O_NOFOLLOW: a link may have come after the
        # check.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if mistrust := _mistrust(path, name, descriptor, mode=mode):
        if descriptor is not None:
            os.close(descriptor)
        raise SettingsError(f"{name.upper()} is not set, and {path} cannot be trusted: {mistrust}")
    assert descriptor is not None
    return descriptor


def _mistrust(path: Path, name: str, descriptor: int | None, *, mode: int) -> str | None:
    """Returns why another user may have written or read the file and what to do, or None. `descriptor` is None for a
    symbolic link.
    """
    if descriptor is None:
        return f"it is a symbolic link. Put the file or folder itself there, or set {name.upper()}."
    found, user = os.fstat(descriptor), os.geteuid()
    if found.st_uid != user:
        return (
            f"it belongs to user {found.st_uid}, and this process is user {user}. If you know its content, run `chown "
            f"{user} {path}`, or set {name.upper()}."
        )
    if found.st_mode & 0o077:
        return (
            f"others may read or change it (mode {stat.S_IMODE(found.st_mode):04o}). If nobody has, run `chmod "
            f"{mode:o} {path}`; otherwise remove it, or set {name.upper()}."
        )
    return None


def _write_once(path: Path, value: str) -> bool:
    """Writes the file and returns True, or returns False if the file exists already. The file appears complete or not
    at all, also after a crash.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{value}\n")
            file.flush()
            os.fsync(file.fileno())
        # A link fails if another process made the file first; a rename would replace it.
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True
