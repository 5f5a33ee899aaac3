"""Shared by all parts of the demonstration: printing, calling the server, comparing numbers with the specification."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from rich.console import Console

# On a machine that does ten other things, a step of half a second took more than 30 s.
PATIENCE_SECONDS = 120


class Mismatch(Exception):
    """A number differs from the specification."""


def expect(what: str, found: object, promised: object) -> None:
    """Raises Mismatch."""
    if found != promised:
        raise Mismatch(f"{what}: {found!r} instead of {promised!r}")


@dataclass(frozen=True, slots=True)
class Teller:
    """Prints to the terminal. Holds a signed-in client of the server, and the folder for files."""

    console: Console
    client: httpx2.AsyncClient
    folder: Path

    def step(self, text: str) -> None:
        self.console.print(f"\n[bold]{text}[/]")

    def say(self, text: str) -> None:
        self.console.print(f"  {text}")

    async def post(self, path: str, body: object, *, status: int = 200, **more: Any) -> dict[str, Any]:
        return _checked(path, await self.client.post(path, json=body, **more), status)

    async def get(self, path: str, **query: Any) -> dict[str, Any]:
        return _checked(path, await self.client.get(path, params=query), 200)


def _checked(path: str, answer: httpx2.Response, status: int) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    expect(f"status of {path} ({body.get('detail', '')})", answer.status_code, status)
    return body
