"""The log of a real server in production mode, at debug level: it contains no secret, and each line names its request
or job.
"""

import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest
from sqlalchemy import make_url

from accurate import DATABASE, event
from process import serving, settings_of
from qrtrack.domain.identity import Role
from qrtrack.integrations.tokens import sign_token
from qrtrack.runtime import Runtime
from qrtrack.settings import Settings
from ticking import HANG_SECONDS
from treasury import rows

API = "/api/manufacturer"
PAGE_OF_LOGS = (Path(__file__).parents[1] / "docs/logs.md").read_text()
ORGANISATION = uuid4()
ACCOUNTS = ("99887766554433", "11223344556677")
# Lines of the process as a whole, before, between and after requests and jobs.
OF_THE_PROCESS = re.compile(
    r"using the database|serving|LISTEN failed|connections of the database|the server has fsync = off"
    r"|Started|Waiting|Application|Uvicorn|Shutting|Finished"
)


@dataclass
class Site:
    """One server, and the secrets that must not be in its log."""

    client: httpx2.Client
    planted: Mapping[str, str]

    def eventually(self, path: str, ready: Any) -> Any:
        give_up = time.monotonic() + HANG_SECONDS
        while not ready(answer := self.client.get(path).json()):
            assert time.monotonic() < give_up, answer
            time.sleep(0.05)
        return answer


@pytest.fixture
def planted() -> dict[str, str]:
    names = (
        "JWT_SECRET", "SECRET_KEY", "CRON_SECRET", "WORKER_SECRET", "ACCURATE_WEBHOOK_TOKEN", "AKSELGATE_PASSWORD",
        "mail password", "database password", "wrong token", "in a bad body", "in an unknown field",
    )  # fmt: skip
    return {name: secrets.token_urlsafe(32) for name in names}


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
async def settings(migrated_url: str, tmp_path: Path, planted: dict[str, str]) -> Settings:
    """Settings with the SECRET_KEY of the server. A database accepts only one, so that of another test is removed
    first.
    """
    driver = await asyncpg.connect(migrated_url.replace("+asyncpg", ""))
    try:
        await driver.execute("DELETE FROM secret_key_fingerprint")
    finally:
        await driver.close()
    return settings_of(migrated_url, tmp_path, secret_key=planted["SECRET_KEY"])


@pytest.fixture
def site(tmp_path: Path, migrated_url: str, runtime: Runtime, planted: dict[str, str]) -> Iterator[Site]:
    """A server. The fixture `runtime` deletes its rows afterwards."""
    url = make_url(migrated_url).set(password=planted["database password"])
    settings = {name: value for name, value in planted.items() if name.isupper()} | {
        "DATABASE_URL": url.render_as_string(hide_password=False),
        "QRTRACK_ENV": "production",
        "LOG_LEVEL": "debug",
        "ACCURATE_DATABASES": f"{DATABASE}={ORGANISATION}",
        "AKSELGATE_BASE_URL": "http://127.0.0.1:9",
        "AKSELGATE_USERNAME": "plant",
        "AKSELGATE_ORGANISATION": str(ORGANISATION),
        "AKSELGATE_AMOUNT_SCALE": "0",
        "SMTP_URL": f"smtp://plant:{planted['mail password']}@127.0.0.1:9",
        "SMTP_FROM": "no-reply@plant.example",
    }
    token = sign_token(planted["JWT_SECRET"], organisation_id=ORGANISATION, user_id="u", roles=[Role.ADMIN], hours=1)
    planted["token"] = token.rpartition(".")[2]
    headers = {"Authorization": f"Bearer {token}"}
    with (
        serving(tmp_path, **settings) as address,
        httpx2.Client(base_url=address, headers=headers, trust_env=False, timeout=HANG_SECONDS) as client,
    ):
        yield Site(client, planted)


def a_day_of(site: Site) -> list[str]:
    """Sends every kind of request that contains a secret, right and wrong. Returns the root keys of the batch that it
    made.
    """
    client, planted = site.client, site.planted
    wrong = {"Authorization": f"Bearer {planted['wrong token']}"}
    order = {"order_id": str(uuid4()), "product_name": "Gold", "quantity": 5, "serial_prefix": "SKA"}
    batch_id = client.post(f"{API}/batches", json=order).json()["batch_id"]
    site.eventually(f"{API}/batches/{batch_id}", lambda answer: answer["batch"]["status"] == "ready")
    revealed = client.get(f"{API}/batches/{batch_id}/codes", params={"reveal": "root_key"}).json()["codes"]
    keys = [code["root_key"] for code in revealed]
    job = {"batch_id": batch_id, "order_id": order["order_id"], "exclude_codes": []}
    job_id = client.post(f"{API}/reverse-job/submit", json=job | {"notify": {"email": "a@b.example"}}).json()["job_id"]
    site.eventually(f"{API}/reverse-job/status?job_id={job_id}", lambda answer: answer["status"] == "completed")
    client.post(f"{API}/reverse-job/submit", json=job | {"exclude_code": planted["in an unknown field"]})
    client.post(f"{API}/reverse-job/submit", json=job | {"exclude_codes": keys})
    client.post(
        f"{API}/batches",
        content=f'{{"password": "{planted["in a bad body"]}',
        headers={"Content-Type": "application/json"},
    )
    client.get(f"{API}/batches", headers=wrong)
    client.get("/api/worker/run", headers=wrong)
    client.get(
        "/api/worker/run", headers={"Authorization": f"Bearer {planted['CRON_SECRET']}"}, params={"max_seconds": 1}
    )
    for hook_token in (planted["ACCURATE_WEBHOOK_TOKEN"], planted["wrong token"]):
        client.post("/webhook/accurate", params={"token": hook_token}, json=[event()])
        client.post("/webhook/accurate", headers={"X-Webhook-Token": hook_token}, json=[event()])
    paid = [row | {"debitAccount": ACCOUNTS[0], "creditAccount": ACCOUNTS[1]} for row in rows("REF1", "REF2")]
    dispatch = {"transaction_type": "CA_ESCROW", "kd_settle": "STL1", "transactions": paid}
    answers = [client.post("/api/akselgate/dispatch", json=dispatch) for _ in range(2)]
    assert {answer.status_code for answer in answers} == {503}
    client.post("/api/akselgate/dispatch", json=dispatch | {"transactions": [paid[0] | {"amount": 1.5}]})
    return keys


def written(log_file: Path, *words: str) -> str:
    """Waits until a line of the log contains all of the words. Returns the log."""
    give_up = time.monotonic() + HANG_SECONDS
    while time.monotonic() < give_up:
        # The last line may be half there.
        text, _, _ = log_file.read_text().rpartition("\n")
        if any(all(word in line for word in words) for line in text.splitlines()):
            return text
        time.sleep(0.05)
    raise AssertionError(words)


def test_no_secret_is_written_and_every_line_says_what_it_is_about(site: Site, log_file: Path) -> None:
    keys = a_day_of(site)
    text = written(log_file, "mail server cannot be reached")
    assert [name for name, secret in site.planted.items() if secret in text] == []
    assert [account for account in ACCOUNTS if account in text] == []
    assert [key for key in keys if re.search(rf"\b{key}\b", text)] == []

    lines = [json.loads(line) for line in text.splitlines()]
    assert all({"event", "level", "timestamp"} <= line.keys() for line in lines)
    lost = [
        line for line in lines if not {"request_id", "job_id"} & line.keys() and not OF_THE_PROCESS.match(line["event"])
    ]
    assert lost == []
    of_jobs = [line for line in lines if "kind" in line]
    assert {"creating", "hashing", "reverse_job", "notification"} <= {line["kind"] for line in of_jobs}
    assert all("job_id" in line for line in of_jobs)
    requests = [line for line in lines if line["event"] == "request"]
    assert len({line["request_id"] for line in requests}) == len(requests) > 15


def test_the_id_that_a_caller_gives_stands_in_the_lines_of_the_request(site: Site, log_file: Path) -> None:
    given = f"line-3.{uuid4().hex}"
    site.client.post(
        "/webhook/accurate",
        headers={"X-Webhook-Token": site.planted["ACCURATE_WEBHOOK_TOKEN"], "X-Request-ID": given},
        json=[event()],
    )
    # The line of the request itself is written once its answer is gone.
    lines = [json.loads(line) for line in written(log_file, given, '"event": "request"').splitlines() if given in line]
    assert {"received", "queued 1/1", "finished", "request"} <= {line["event"] for line in lines}
    assert {line["request_id"] for line in lines} == {given}


def test_the_line_of_a_request_names_the_user_and_the_organisation(site: Site, log_file: Path) -> None:
    """Several callers use one connection in turn. No line names the user of another request."""
    secret = site.planted["JWT_SECRET"]
    plants = {"ani": uuid4(), "budi": uuid4()}
    tokens = {
        name: sign_token(secret, organisation_id=plant, user_id=name, roles=[Role.OPERATOR], hours=1)
        for name, plant in plants.items()
    }
    calls = [
        (f"{API}/batches", tokens["ani"], 200),
        (f"{API}/batches", site.planted["wrong token"], 401),
        ("/api/worker/run?max_seconds=1", site.planted["CRON_SECRET"], 200),
        ("/api/accurate/events", tokens["budi"], 403),
        (f"{API}/batches/{uuid4()}", tokens["budi"], 404),
        (f"{API}/batches?closed=perhaps", tokens["ani"], 422),
        ("/healthz", tokens["ani"], 200),
    ]
    for number, (path, token, status) in enumerate(calls):
        headers = {"Authorization": f"Bearer {token}", "X-Request-ID": f"caller-{number}"}
        assert site.client.get(path, headers=headers).status_code == status, path
    text = written(log_file, f'"caller-{len(calls) - 1}"', '"event": "request"')
    lines = [line for line in map(json.loads, text.splitlines()) if line.get("request_id", "").startswith("caller-")]
    named = {line["request_id"]: (line.get("user"), line.get("organisation")) for line in lines}
    ani, budi = (("ani", str(plants["ani"])), ("budi", str(plants["budi"])))
    assert [named[f"caller-{number}"] for number in range(len(calls))] == [
        ani, (None, None), (None, None), budi, budi, ani, (None, None)
    ]  # fmt: skip
    assert [name for name, token in tokens.items() if token in text] == []
    [shown] = re.findall(r"```json\n(.*?)\n```", PAGE_OF_LOGS, re.DOTALL)
    [line] = [line for line in lines if line["request_id"] == "caller-0" and line["event"] == "request"]
    assert json.loads(shown).keys() == line.keys()
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|(.*?)\|", PAGE_OF_LOGS, re.MULTILINE)))) >= line.keys()
