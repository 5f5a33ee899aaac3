"""Writes files and folders to disk, so that a power cut does not undo them."""

import os
from pathlib import Path


def write_out(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
