"""docs/api-tour.md in a real shell with a real curl, against a real server: answered as the page says."""

import asyncio
import json
import os
import re
import shutil
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from plant import Plant
from process import SECRET
from qrtrack.integrations.tokens import sign_token
from qrtrack.runtime import Runtime
from qrtrack.serving import server_of
from routers.test_examples import shape_of

PAGE = (Path(__file__).parents[1] / "docs/api-tour.md").read_text()
EXAMPLES = re.findall(r"```sh\n(curl.*?)\n```(?:\n\n```json\n(.*?)\n```)?", PAGE, re.DOTALL)
REFUSED = 2

pytestmark = pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("bash")), reason="needs curl and bash, as the page does"
)


@asynccontextmanager
async def served(runtime: Runtime) -> AsyncIterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = server_of(runtime, host="127.0.0.1", port=0)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


async def in_a_shell(command: str, named: Mapping[str, str]) -> Any:
    process = await asyncio.create_subprocess_exec(
        "bash", "-euo", "pipefail", "-c", command.replace("curl ", "curl --silent --show-error --noproxy '*' ", 1),
        env={"PATH": os.environ["PATH"], **named}, stdout=-1, stderr=-1,
    )  # fmt: skip
    answer, complaint = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, complaint.decode()
    return json.loads(answer)


def remembered(answer: Mapping[str, Any]) -> dict[str, str]:
    """What the reader of the page goes on with: ids, and the first case."""
    boxes = answer.get("cases") or [{}]
    found = {
        "BATCH_ID": answer.get("batch_id"),
        "JOB_ID": answer.get("job_id"),
        "MASTER_CODE": boxes[0].get("master_code"),
    }
    return {name: value for name, value in found.items() if value is not None}


async def test_the_tour_goes_as_it_is_told(plant: Plant, runtime: Runtime) -> None:
    token = sign_token(
        SECRET,
        organisation_id=plant.caller.organisation_id,
        user_id=plant.caller.user_id,
        roles=plant.caller.roles,
        hours=1,
    )
    refused = 0
    async with served(runtime) as address:
        named = {"QRTRACK": address, "TOKEN": token, "CRON_SECRET": SECRET, "WEBHOOK_TOKEN": "in development none"}
        for command, promised in EXAMPLES:
            answer = await in_a_shell(command, named)
            named = remembered(answer) | named
            refused += answer["success"] is False
            if promised:
                assert shape_of(answer, json.loads(promised)) == json.loads(promised), (command, answer)
            for kind in ("creating", "reverse_job"):
                await plant.work(kind)
    assert refused == REFUSED
    assert len(EXAMPLES) == PAGE.count("\ncurl ")
