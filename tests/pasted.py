"""Pages as their readers use them: each block of commands is pasted into one shell, from top to bottom."""

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

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"```sh\n(.*?)\n```(?:\n\n```json\n(.*?)\n```)?", re.DOTALL)
END = "=== end of a block ==="
TOKEN_LINES = ("Signed with ", "No --user is given")


@dataclass(frozen=True)
class Block:
    """What is pasted, and what is promised to be printed; None where the page shows nothing."""

    commands: str
    promised: Any


def blocks_of(page: str) -> list[Block]:
    """`page`: its name, or the name and a heading: then the blocks of that chapter."""
    name, _, chapter = page.partition("#")
    text = (DOCS / name).read_text()
    if chapter:
        text = re.split(r"^## ", text.split(f"\n## {chapter}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    return [Block(commands, json.loads(shown) if shown else None) for commands, shown in BLOCK.findall(text)]


def checkout(folder: Path) -> Path:
    """A folder as `make setup` leaves it, without data: `.venv` is this one."""
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def environment(**named: str) -> dict[str, str]:
    """With `.venv` activated, as the pages ask for."""
    folders = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": folders, "HOME": "/nonexistent", "no_proxy": "*", "BCRYPT_COST": "4", **named}


@contextmanager
def terminal(folder: Path, command: str, *, url: str, **settings: str) -> Iterator[None]:
    """A command that goes on in a terminal of its own, until the block ends."""
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
    """What each block prints, in one bash that was opened in the folder."""
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
    """Every block has printed what its page promises."""
    for block, text in zip(blocks, printed, strict=True):
        if block.promised is not None:
            assert shape_of(json.loads(text), block.promised) == block.promised, (block.commands, text)
