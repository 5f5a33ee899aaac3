"""docs/api-tour.md as its reader takes it: `make run` in one terminal, the page pasted into another one."""

import json
import re
import shutil
from pathlib import Path

import pytest

from pasted import blocks_of, checkout, paste, running
from process import free_port
from routers.test_examples import shape_of

MAKEFILE = (Path(__file__).parents[1] / "Makefile").read_text()
REFUSED = 2

pytestmark = pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("bash")), reason="needs curl and bash, as the page does"
)


async def test_the_tour_goes_as_it_is_told(tmp_path: Path) -> None:
    folder, port, blocks = checkout(tmp_path), free_port(), blocks_of("api-tour.md")
    address = f"http://127.0.0.1:{port}"
    assert re.search(r"^run:.*\n\t\$\(BIN\)/qrtrack serve$", MAKEFILE, re.MULTILINE)
    async with running(folder, "serve", "--port", str(port), url=f"{address}/healthz"):
        printed = await paste(blocks, folder, {"QRTRACK": address})
    answers = [json.loads(text) for text in printed if text.strip()]
    for block, text in zip(blocks, printed, strict=True):
        if block.promised is not None:
            assert shape_of(json.loads(text), block.promised) == block.promised, block.commands
    assert [answer["success"] for answer in answers].count(False) == REFUSED
    assert len(answers) == len(blocks) - 1
