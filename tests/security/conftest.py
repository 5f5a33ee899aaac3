"""A real server with an administrator signed in, for tests that read only what it answers."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import httpx2
import pytest

from process import SECRET, serving
from qrtrack.domain.identity import Role
from qrtrack.integrations.tokens import sign_token

ORGANISATION = uuid4()


@dataclass(frozen=True)
class Server:
    """`signed_in`: the header of an administrator whose organisation holds the account at the bank."""

    client: httpx2.Client
    port: int
    signed_in: dict[str, str]

    def is_well(self) -> bool:
        """The next proper client is served, and by a fresh connection."""
        return httpx2.get(f"http://127.0.0.1:{self.port}/healthz", trust_env=False, timeout=30).status_code == 200


@pytest.fixture(scope="module")
def server(migrated_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    token = sign_token(SECRET, organisation_id=ORGANISATION, user_id="admin", roles=list(Role), hours=1)
    signed_in = {"Authorization": f"Bearer {token}"}
    settings = {
        "DATABASE_URL": migrated_url, "AKSELGATE_ORGANISATION": str(ORGANISATION), "AKSELGATE_AMOUNT_SCALE": "0",
        "AKSELGATE_BASE_URL": "http://127.0.0.1:9", "AKSELGATE_USERNAME": "plant", "AKSELGATE_PASSWORD": SECRET,
        "ACCURATE_WEBHOOK_TOKEN": SECRET,
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("server")
    with (
        serving(folder, **settings) as address,
        httpx2.Client(base_url=address, headers=signed_in, trust_env=False, timeout=60) as client,
    ):
        yield Server(client, int(address.rpartition(":")[2]), signed_in)
    # Whatever came in was refused by a rule, not by an exception that nobody expected.
    assert "Traceback" not in (folder / "log").read_text()
