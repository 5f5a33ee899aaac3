"""Runs the pages of docs as readers use them: all blocks of commands are pasted into one shell, from top to bottom."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from process import wait_for
from routers.test_examples import shape_of
from ticking import HANG_SECONDS

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"```sh\n(.*?)\n```(?:\n\n```json\n(.*?)\n```)?", re.DOTALL)
END = "=== end of a block ==="
TOKEN_LINES = ("Signed with ", "No --user is given")


@dataclass(frozen=True)
class Block:
    """A block of commands, and the JSON that the page promises, or None if the page shows none."""

    commands: str
    promised: Any


def blocks_of(page: str) -> list[Block]:
    """Returns the blocks of the page, or with `page.md#Heading` those of one chapter."""
    name, _, chapter = page.partition("#")
    text = (DOCS / name).read_text()
    if chapter:
        text = re.split(r"^## ", text.split(f"\n## {chapter}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    return [Block(commands, json.loads(shown) if shown else None) for commands, shown in BLOCK.findall(text)]


def checkout(folder: Path) -> Path:
    """Returns the folder as `make setup` leaves it, without data. Its `.venv` is a link to that of the tests."""
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def environment(**named: str) -> dict[str, str]:
    """Returns the environment of a shell with `.venv` activated, as the pages require."""
    folders = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": folders, "HOME": "/nonexistent", "no_proxy": "*", "BCRYPT_COST": "4", **named}


@contextmanager
def terminal(folder: Path, command: str, *, url: str, **settings: str) -> Iterator[None]:
    """Runs a command as in another terminal until the block ends. Begins when `url` answers."""
    with (folder / "log").open("ab") as log:
        words = ["bash", "-c", f"exec env {command}"]
        process = subprocess.Popen(words, cwd=folder, env=environment(**settings), stdout=log, stderr=log)
        try:
            wait_for(url)
            yield
        finally:
            process.terminate()
            process.wait(HANG_SECONDS)


async def paste(blocks: Sequence[Block], folder: Path, named: Mapping[str, str]) -> list[str]:
    """Runs the blocks in one bash in the folder. Returns what each block prints."""
    # Readers wait a second between two looks; the tests do not.
    text = "sleep() { command sleep 0.05; }\n"
    text += "".join(f"{block.commands}\necho\necho '{END}'\n" for block in blocks)
    shell = await asyncio.create_subprocess_exec(
        "bash", cwd=folder, env=environment(**named), stdin=-1, stdout=-1, stderr=-1
    )  # fmt: skip
    printed, complaints = await asyncio.wait_for(shell.communicate(text.encode()), HANG_SECONDS)
    # `qrtrack token` says on standard error whose token it is.
    others = [line for line in complaints.decode().splitlines() if not line.startswith(TOKEN_LINES)]
    assert not others, others
    return printed.decode().split(END)[:-1]


def check(blocks: Sequence[Block], printed: Sequence[str]) -> None:
    """Asserts that every block has printed what its page promises."""
    for block, text in zip(blocks, printed, strict=True):
        if block.promised is not None:
            assert shape_of(json.loads(text), block.promised) == block.promised, (block.commands, text)
