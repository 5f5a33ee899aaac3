"""The documents' examples with curl are sent as they stand, and answered as they say."""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = re.compile(r"```sh\n(curl.*?)\n```(?:\n\n```json\n(.*?)\n```)?", re.DOTALL)


async def test_the_examples_of_the_progress_page(client: httpx2.AsyncClient) -> None:
    examples = EXAMPLE.findall((DOCS / "progress.md").read_text())
    named = {"$QRTRACK": "", "$TOKEN": client.headers.pop("Authorization").removeprefix("Bearer ")}
    statuses = []
    for command, promised in examples:
        answer = (await as_curl(client, command, named)).json()
        assert answer["success"] is True, (command, answer)
        named.setdefault("$BATCH_ID", answer.get("batch_id"))
        statuses.append(answer.get("status"))
        if promised:
            assert shape_of(answer, json.loads(promised)) == json.loads(promised), command
    assert statuses == ["pending", "processing", "processing", "processing", None, "cancelled"]


async def as_curl(client: httpx2.AsyncClient, command: str, named: Mapping[str, str]) -> httpx2.Response:
    """Sends what curl would send."""
    words = iter(shlex.split(command.replace("\\\n", " "))[1:])
    method, url, headers, body = "GET", "", {}, None
    for word in words:
        match word:
            case "-X":
                method = next(words)
            case "-H":
                header, _, value = next(words).partition(": ")
                headers[header] = filled(value, named)
            case "-d":
                body = next(words)
            case _:
                url = filled(word, named)
    return await client.request(method, url, headers=headers, content=body)


def filled(text: str, named: Mapping[str, str]) -> str:
    for name, value in named.items():
        text = text.replace(name, value)
    return text


def shape_of(answer: Any, promised: Any) -> Any:
    """The answer, with an ellipsis wherever the document has one."""
    if isinstance(promised, str) and promised.endswith("…"):
        return promised if str(answer).startswith(promised.removesuffix("…")) else answer
    if isinstance(promised, dict) and isinstance(answer, dict):
        return {name: shape_of(value, promised.get(name)) for name, value in answer.items()}
    if isinstance(promised, list) and isinstance(answer, list) and len(answer) == len(promised):
        return [shape_of(*pair) for pair in zip(answer, promised, strict=True)]
    return answer
