"""Callers that do their worst, each a process of its own that goes on until it is ended.

Bodies are made once, so that the attacker costs the machine as little as it can.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

HEAD: Final = "{method} {path} HTTP/1.1\r\nHost: attacked\r\nAuthorization: Bearer {token}\r\n"
MIB: Final = 1024 * 1024
# The attacker calls from an address of its own: the limit of connections holds per address.
ADDRESS: Final = ("127.0.0.2", 0)
API: Final = "/api/manufacturer"


@dataclass(frozen=True)
class Target:
    """The server, a token of the attacker's own organisation, and a batch of theirs with its first case and a job."""

    port: int
    token: str
    webhook_token: str
    batch_id: str
    order_id: str
    master_code: str
    job_id: str
    # Tests attack with bodies that are smaller by this.
    divisor: int = 1

    @property
    def batch(self) -> dict[str, Any]:
        return {"batch_id": self.batch_id, "order_id": self.order_id}

    def head(self, method: str, path: str, *lines: str) -> bytes:
        return (
            HEAD.format(method=method, path=path, token=self.token) + "".join(f"{line}\r\n" for line in lines)
        ).encode()

    def request(self, path: str, body: bytes, *lines: str, kind: str = "application/json") -> bytes:
        return self.head("POST", path, f"Content-Type: {kind}", f"Content-Length: {len(body)}", *lines) + b"\r\n" + body

    async def send(self, *parts: bytes, wait: bool = True) -> None:
        """On a connection of its own; whatever the server does about it is fine."""
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=ADDRESS)
            try:
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                while wait and await reader.read(MIB):
                    pass
            finally:
                writer.close()


async def repeated(at_once: int, send: Callable[[], Awaitable[None]]) -> None:
    async def one() -> None:
        while True:
            await send()

    await asyncio.gather(*[one() for _ in range(at_once)])


async def post(target: Target, path: str, body: Any, *, at_once: int = 1) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
    request = target.request(path, content, "Connection: close")
    await repeated(at_once, lambda: target.send(request))


async def numbers_as_codes(target: Target) -> None:
    await post(
        target, f"{API}/reverse-job/submit", target.batch | {"exclude_codes": [0] * (3_900_000 // target.divisor)}
    )


async def numbers_as_codes_of_a_case(target: Target) -> None:
    body = target.batch | {"master_code": target.master_code, "codes": [0] * (3_900_000 // target.divisor)}
    await post(target, f"{API}/link-to-master", body)


async def a_range_of_unknown_codes(target: Target) -> None:
    body = target.batch | {"exclude_codes": ["ZZZ000001-ZZZ099999"]}
    await post(target, f"{API}/reverse-job/submit", body, at_once=8)


async def a_hundred_thousand_codes(target: Target) -> None:
    body = target.batch | {
        "exclude_codes": [f"ZZZ{number:06d}" for number in range(100_000 // target.divisor)],
        "dry_run": True,
    }
    await post(target, f"{API}/reverse-job/submit", body, at_once=8)


async def empty_transactions(target: Target) -> None:
    body = {"transaction_type": "CA_ESCROW", "kd_settle": "S", "transactions": [{}] * (100_000 // target.divisor)}
    await post(target, "/api/akselgate/dispatch", body)


async def headers_without_end(target: Target) -> None:
    parts = [target.head("GET", "/healthz") + b"X-Long: ", *[b"x" * MIB] * 48]
    await repeated(4, lambda: target.send(*parts))


async def half_headers(target: Target) -> None:
    part = target.head("GET", "/healthz")
    await repeated(2000, lambda: target.send(part))


async def unfinished_bodies(target: Target) -> None:
    head = target.head(
        "POST", f"{API}/reverse-job/submit", "Content-Type: application/json", f"Content-Length: {16 * MIB}"
    )
    await repeated(60, lambda: target.send(head + b"\r\n", *[b" " * MIB] * 15))


async def long_polls(target: Target) -> None:
    request = (
        target.head("GET", f"{API}/reverse-job/status?job_id={target.job_id}&wait=30", "Connection: close") + b"\r\n"
    )
    await repeated(400, lambda: target.send(request))


async def webhook_of_brackets(target: Target) -> None:
    await post(
        target, f"/webhook/accurate?token={target.webhook_token}", b"[" + b"[]," * (5 * MIB // target.divisor) + b"[]]"
    )


async def webhook_of_invalid_elements(target: Target) -> None:
    await post(target, f"/webhook/accurate?token={target.webhook_token}", [0] * 100_000, at_once=4)


async def imports_of_bad_rows(target: Target) -> None:
    rows = b"code,root_key\r\n" + b"".join(b"??%d,\r\n" % number for number in range(1_000_000 // target.divisor))
    fields = {"order_id": target.order_id, "product_name": "x"}
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    ]
    parts.append('--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n')
    body = "".join(parts).encode() + rows + b"\r\n--b--\r\n"
    kind = "multipart/form-data; boundary=b"
    request = target.request(f"{API}/batches/import", body, "Connection: close", kind=kind)
    await repeated(3, lambda: target.send(request))


ATTACKS: Final = {
    attack.__name__: attack
    for attack in (
        numbers_as_codes,
        numbers_as_codes_of_a_case,
        a_range_of_unknown_codes,
        a_hundred_thousand_codes,
        empty_transactions,
        headers_without_end,
        half_headers,
        unfinished_bodies,
        long_polls,
        webhook_of_brackets,
        webhook_of_invalid_elements,
        imports_of_bad_rows,
    )
}


if __name__ == "__main__":
    asyncio.run(ATTACKS[sys.argv[1]](Target(**json.loads(sys.argv[2]))))
