"""The console without a browser: signing in, who may see what, languages, and what its files promise."""

import asyncio
import hashlib
import re
import tomllib
from importlib import resources
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4
from zoneinfo import ZoneInfo

import httpx2
import jwt
import pytest
from fastapi import FastAPI

from plant import Plant, ska
from qrtrack.console.language import Language, catalogue
from qrtrack.domain.identity import Caller, Role
from qrtrack.integrations.tokens import sign_token
from qrtrack.routers.languages import LANGUAGES
from qrtrack.runtime import Runtime
from qrtrack.services.console_sessions import (
    find_session,
    make_sign_in_code,
    open_session,
    open_session_by_code,
    revoke_sessions,
)
from routers.conftest import ClientOf

CONSOLE: Final = resources.files("qrtrack.console")
TEMPLATES: Final = {path.name: path.read_text() for path in (CONSOLE / "templates").iterdir()}
STATIC: Final = {path.name: path.read_bytes() for path in (CONSOLE / "static").iterdir() if path.is_file()}
PATH: Final = re.compile(r'data-path="(/api[^"]+)"')
PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
MANY_OF_ONE: Final = re.compile(
    r"\b1 (?:[a-z]+ )?(?!is|was|has|begins|stays|takes|waits|this|less)(?:[a-z]+s|are|were)\b"
)
ORIGIN: Final = {"Origin": "http://test"}


@pytest.fixture
def visitor(app: FastAPI, runtime: Runtime, client_of: ClientOf) -> httpx2.AsyncClient:
    """A browser of nobody yet."""
    return client_of(app, runtime)


async def signed_in(client: httpx2.AsyncClient, runtime: Runtime, caller: Caller) -> httpx2.AsyncClient:
    client.cookies.set("qrtrack_session", await open_session(runtime.database, caller, station="Line 2", hours=1))
    return client


# Signing in


async def test_a_token_opens_a_session_and_leads_to_the_page_that_was_asked_for(
    visitor: httpx2.AsyncClient, runtime: Runtime, caller: Caller
) -> None:
    asked = await visitor.get("/console/jobs?status=failed")
    assert asked.headers["Location"] == "/console/sign-in?next=%2Fconsole%2Fjobs%3Fstatus%3Dfailed"
    secret = runtime.settings.jwt_secret
    assert secret is not None
    token = sign_token(
        secret.get_secret_value(), organisation_id=caller.organisation_id, user_id=caller.user_id,
        roles=caller.roles, hours=1,
    )  # fmt: skip
    form = {"token": f" Bearer {token}\n", "station": "Line 2", "next": "/console/jobs?status=failed"}
    answer = await visitor.post("/console/sign-in", data=form, headers=ORIGIN)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/console/jobs?status=failed")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie, "a plant's network is plain http"
    assert (await visitor.get("/console")).status_code == 200
    assert (await visitor.get("/api/manufacturer/batches")).status_code == 200


async def test_a_bad_token_and_a_spent_link_are_refused_on_the_page(visitor: httpx2.AsyncClient) -> None:
    for form, words in (({"token": "x"}, "The token is not accepted"), ({"code": "x"}, "This link was used before")):
        answer = await visitor.post("/console/sign-in", data=form, headers=ORIGIN)
        assert answer.status_code == 401
        assert words in answer.text
        assert "Set-Cookie" not in answer.headers


async def test_why_a_token_is_refused_is_said_in_the_language_of_the_person(
    visitor: httpx2.AsyncClient, runtime: Runtime, caller: Caller
) -> None:
    secret = runtime.settings.jwt_secret
    assert secret is not None
    claims = {"sub": caller.user_id, "exp": 2_000_000_000}
    for token, words in (
        ("x", "Token tidak diterima: token tidak valid."),
        (jwt.encode(claims | {"exp": 1}, secret.get_secret_value()), "token sudah kedaluwarsa."),
        (jwt.encode(claims, secret.get_secret_value()), "akun Anda tidak punya organisasi"),
    ):
        answer = await visitor.post(
            "/console/sign-in", data={"token": token}, headers=ORIGIN | {"Accept-Language": "id"}
        )
        assert (answer.status_code, words in answer.text) == (401, True)


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example", "//evil.example", "/consolexyz", "/docs", "javascript:x"]
)
async def test_signing_in_leads_to_no_other_place(visitor: httpx2.AsyncClient, elsewhere: str) -> None:
    page = await visitor.get("/console/sign-in", params={"next": elsewhere})
    assert 'name="next" value="/console"' in page.text
    answer = await visitor.post("/console/language", data={"name": "id", "next": elsewhere}, headers=ORIGIN)
    assert answer.headers["Location"] == "/console"


async def test_a_sign_in_link_used_many_times_at_once_signs_in_one_browser(runtime: Runtime, caller: Caller) -> None:
    code = await make_sign_in_code(runtime.database, caller)
    tries = [open_session_by_code(runtime.database, code, station=None, hours=1) for _ in range(8)]
    opened = [token for token in await asyncio.gather(*tries) if token is not None]
    assert len(opened) == 1
    session = await find_session(runtime.database, opened[0])
    assert session is not None
    assert session.caller == caller


async def test_revoking_signs_out_the_organisation_and_voids_its_links(runtime: Runtime, caller: Caller) -> None:
    database, other = runtime.database, Caller("other", uuid4(), frozenset({Role.OPERATOR}))
    mine, theirs = [await open_session(database, who, station=None, hours=1) for who in (caller, other)]
    code = await make_sign_in_code(database, caller)
    assert await revoke_sessions(database, organisation_id=caller.organisation_id, user_id="somebody else") == 0
    assert await revoke_sessions(database, organisation_id=caller.organisation_id, user_id=caller.user_id) == 1
    assert await find_session(database, mine) is None
    assert await find_session(database, theirs) is not None
    assert await open_session_by_code(database, code, station=None, hours=1) is None


async def test_a_session_ends_with_its_shift(runtime: Runtime, caller: Caller) -> None:
    token = await open_session(runtime.database, caller, station=None, hours=-0.001)
    assert await find_session(runtime.database, token) is None


async def test_signing_out_ends_the_session(visitor: httpx2.AsyncClient, runtime: Runtime, caller: Caller) -> None:
    await signed_in(visitor, runtime, caller)
    token = visitor.cookies["qrtrack_session"]
    answer = await visitor.post("/console/sign-out", headers=ORIGIN)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/console/sign-in?signed_out=1")
    assert await find_session(runtime.database, token) is None
    assert "You have signed out." in (await visitor.get(answer.headers["Location"])).text
    assert "You have signed out." not in (await visitor.get("/console/sign-in")).text


async def test_a_part_of_a_page_leads_the_whole_page_to_the_sign_in(visitor: httpx2.AsyncClient) -> None:
    visitor.cookies.set("qrtrack_session", "of yesterday")
    headers = {"HX-Request": "true", "HX-Current-URL": "http://test/console/jobs?status=failed"}
    answer = await visitor.get("/console/overview/now", headers=headers)
    assert answer.status_code == 204
    assert answer.headers["HX-Redirect"] == "/console/sign-in?ended=1&next=%2Fconsole%2Fjobs%3Fstatus%3Dfailed"


async def test_a_part_of_a_page_that_was_made_for_another_person_is_not_shown(
    visitor: httpx2.AsyncClient, runtime: Runtime, caller: Caller
) -> None:
    await signed_in(visitor, runtime, caller)
    path, headers = "/console/packing", {"HX-Request": "true"}
    own = {"Qrtrack-Person": quote(f"{caller.organisation_id}/{caller.user_id}")}
    assert "HX-Retarget" not in (await visitor.get(path, headers=headers | own)).headers
    answer = await visitor.get(path, headers=headers | {"Qrtrack-Person": quote(f"{caller.organisation_id}/budi")})
    assert (answer.status_code, answer.headers["HX-Retarget"], answer.headers["HX-Reswap"]) == (
        200, "#stale", "outerHTML",
    )  # fmt: skip
    assert catalogue("en")["shell.other_person"] in answer.text
    assert "<main" not in answer.text


# The session and the API


async def test_the_session_changes_something_only_from_a_page_of_this_service(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant
) -> None:
    batch = await plant.prepared(10, units_per_case=5)
    await signed_in(visitor, runtime, plant.caller)
    scan = {
        "batch_id": str(batch.batch_id), "order_id": str(batch.order_id), "master_code": batch.master_codes[0],
    }  # fmt: skip
    address = "/api/manufacturer/link-to-master-from-queue"
    without = await visitor.post(address, json=scan)
    assert (without.status_code, without.json()["type"]) == (403, "urn:qrtrack:problem:origin-missing")
    foreign = await visitor.post(address, json=scan, headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 403
    own = await visitor.post(address, json=scan, headers=ORIGIN)
    assert (own.status_code, own.json()["linked_count"]) == (200, 5)


async def test_a_page_of_one_person_changes_nothing_in_the_name_of_the_next(
    visitor: httpx2.AsyncClient, runtime: Runtime, caller: Caller
) -> None:
    """All tabs share the cookie: a page may be open while another person signs in."""
    here = Caller("dewi süd", caller.organisation_id, frozenset({Role.MANAGER}))
    await signed_in(visitor, runtime, here)
    address = "/api/manufacturer/batches"
    order = {
        "order_id": str(uuid4()),
        "product_name": "Gold",
        "serial_prefix": "SKA",
        "quantity": 9,
        "units_per_case": 5,
    }
    for person, status in ((f"{uuid4()}/dewi süd", 403), (f"{here.organisation_id}/budi", 403), (
        f"{here.organisation_id}/dewi süd", 202,
    )):  # fmt: skip
        answer = await visitor.post(address, json=order, headers=ORIGIN | {"Qrtrack-Person": quote(person)})
        assert answer.status_code == status, answer.text
        assert status == 202 or answer.json()["type"] == "urn:qrtrack:problem:other-user"
    assert len((await visitor.get(address)).json()["batches"]) == 1


async def test_roles_hold_for_sessions(visitor: httpx2.AsyncClient, runtime: Runtime, caller: Caller) -> None:
    finance = Caller("finance", caller.organisation_id, frozenset({Role.FINANCE}))
    await signed_in(visitor, runtime, finance)
    refused = await visitor.get("/console/packing")
    assert refused.status_code == 403
    assert "Your role does not allow this" in refused.text
    home = await visitor.get("/console")
    assert "/console/packing" not in home.text
    assert (await visitor.get("/api/manufacturer/batches")).status_code == 403


async def test_nothing_of_another_organisation_is_shown(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant
) -> None:
    batch = await plant.prepared(10, units_per_case=5)
    await signed_in(visitor, runtime, Caller("stranger", uuid4(), frozenset({Role.ADMIN})))
    for address in (f"/console/packing?batch={batch.batch_id}", f"/console/batches/{batch.batch_id}"):
        answer = await visitor.get(address)
        assert answer.status_code == 404
        assert "Gold 1 g" not in answer.text
    assert "Gold 1 g" not in (await visitor.get("/console/batches")).text


# Pages


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_page_shows_its_state_in_every_language(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant, language: str
) -> None:
    await signed_in(visitor, runtime, plant.caller)
    visitor.cookies.set("qrtrack_language", language)
    addresses = ["/console", "/console/batches", "/console/packing", "/console/jobs"]
    for address in addresses:
        empty = await visitor.get(address)
        assert empty.status_code == 200, address
    batch = await plant.prepared(25, exclude=ska(3), units_per_case=10)
    await plant.pack(batch, 1, station="Line 2")
    job = (await visitor.get("/api/manufacturer/reverse-job/jobs")).json()["jobs"][0]["job_id"]
    addresses += [
        f"/console/packing?batch={batch.batch_id}", f"/console/packing/queue?batch={batch.batch_id}",
        f"/console/packing/recent?batch={batch.batch_id}", f"/console/batches/{batch.batch_id}",
        f"/console/batches/{batch.batch_id}/now", f"/console/jobs/{job}", f"/console/jobs/{job}/now",
        "/console/overview/now", "/console/sign-in",
    ]  # fmt: skip
    for address in addresses:
        full = await visitor.get(address)
        assert full.status_code == 200, address
        assert "default-src 'none'" in full.headers["Content-Security-Policy"]
        assert full.headers["Cache-Control"] == "no-store"
        assert " style=" not in full.text
        assert " on" not in re.findall(r"<[a-z]+[^>]*( on)[a-z]+=", full.text)
    assert "Gold 1 g" in (await visitor.get("/console/batches")).text


async def test_a_name_is_shown_as_text_whatever_it_is(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant
) -> None:
    await plant.order(product_name="<script>alert(1)</script>")
    await signed_in(visitor, runtime, plant.caller)
    page = await visitor.get("/console/batches")
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text


@pytest.mark.parametrize(
    ("asked", "language"),
    [("id-ID,id;q=0.9", "id"), ("in", "id"), ("de, en;q=0.5", "en"), ("de", "en"), ("", "en"), ("en-US, id", "en")],
)
async def test_the_browser_chooses_the_language_until_the_person_does(
    visitor: httpx2.AsyncClient, asked: str, language: str
) -> None:
    page = await visitor.get("/console/sign-in", headers={"Accept-Language": asked})
    assert f'<html lang="{language}">' in page.text
    await visitor.post("/console/language", data={"name": "id"}, headers=ORIGIN)
    chosen = await visitor.get("/console/sign-in", headers={"Accept-Language": asked})
    assert '<html lang="id">' in chosen.text


# Files


def test_catalogues_have_the_same_keys_and_placeholders() -> None:
    english = {key: sorted(PLACEHOLDER.findall(text)) for key, text in catalogue("en").items()}
    for language in LANGUAGES:
        assert {key: sorted(PLACEHOLDER.findall(text)) for key, text in catalogue(language).items()} == english


def test_an_english_count_of_one_has_the_singular() -> None:
    """The sentences of the log and of errors are left out: they are stored as the program wrote them."""
    texts = {key: text for key, text in catalogue("en").items() if not key.startswith("stored.")}
    counts = {"count", "units", "quantity"}.union(re.findall(r"\{(\w+):", "".join(texts.values())))
    english = Language("en", ZoneInfo("UTC"))
    for key, text in texts.items():
        values = {name: 1 if name in counts else "x" for name in re.findall(r"\{(\w+)[:}]", text)}
        said = english.text(key, **values)
        assert not MANY_OF_ONE.search(said), said


def test_the_indonesian_texts_use_one_word_for_one_thing() -> None:
    """The list of terms stands at the head of the catalogue. These are the other words for them."""
    others = (
        r"balik|reverse|peramban|papan ketik|basis data|pencetak|pelanggan|kejadian|gulungan|jejak|kemajuan|setelan"
        r"|bila|putar ulang|ulangi|cetak lagi|e-mail|dengan sendirinya|giliran|melepas|dilepas|batal"
    )
    plain = {key: PLACEHOLDER.sub("", text) for key, text in catalogue("id").items()}
    assert [key for key, text in plain.items() if re.search(rf"\b((?i:{others})|[Ii]d)\b", text)] == []


def test_templates_hold_no_text_of_their_own() -> None:
    """Words outside of tags and expressions would be shown in one language only."""
    for name, template in TEMPLATES.items():
        plain = re.sub(r"\{[{%#].*?[}%#]\}|<[^>]*>|&\w+;", " ", template, flags=re.DOTALL)
        assert set(re.findall(r"[^\W\d_]{2,}", plain)) <= {"qrtrack"}, name


def test_every_refusal_of_packing_is_said_in_every_language(app: FastAPI) -> None:
    """Of the others, which hold for all routes, the API's own sentence is shown."""
    paths = app.openapi()["paths"]
    common = _said_by(paths["/api/manufacturer/batches/{batch_id}/close"]) | {"repeated-key", "too-many-values"}
    for path in ("link-to-master-from-queue", "unlink-from-master", "move-case"):
        for slug in _said_by(paths[f"/api/manufacturer/{path}"]) - common:
            assert f"problem.{slug}_text" in catalogue("en"), slug


def test_every_refusal_of_a_change_that_a_page_offers_is_said_in_every_language(app: FastAPI) -> None:
    """Or the fields in it are (test_field_texts.py), or only a program can cause it."""
    by_programs = {
        "contradicting-claims", "idempotency-key-in-use", "idempotency-key-reused", "idempotent-answer-too-long",
        "invalid-content-length", "invalid-json", "no-organisation", "origin-missing", "origin-refused",
        "other-organisation", "other-user", "repeated-header", "repeated-key", "too-many-values", "unavailable",
    }  # fmt: skip
    by_fields = {"already-printed", "label-too-small", "numbers-used-up", "too-many-formats", "too-many-printers"}
    offered = {re.sub(r"\{.*?\}+", "{}", path) for name in TEMPLATES.values() for path in PATH.findall(name)}
    paths = {re.sub(r"\{\w+\}", "{}", path): methods for path, methods in app.openapi()["paths"].items()}
    texts = catalogue("en")
    said = {key.split(".")[1].removesuffix("_text") for key in texts if key.endswith("_text")}
    said |= {key.split(".")[1] for key in texts if key.startswith("label_refusal.")}
    assert len(offered & paths.keys()) > 20
    for path in offered & paths.keys():
        for method in paths[path].keys() - {"get"}:
            assert _said_by(paths[path], method) <= said | by_programs | by_fields, path


def _said_by(path: dict[str, Any], method: str = "post") -> set[str]:
    return set(re.findall(r"urn:qrtrack:problem:([a-z-]+)", str(path[method]["responses"])))


def test_vendored_files_are_what_their_authors_published() -> None:
    for name, file in tomllib.loads(STATIC["vendored.toml"].decode()).items():
        assert hashlib.sha256(STATIC[name]).hexdigest() == file["sha256"]


def test_the_camera_has_the_reader_that_its_script_was_made_for() -> None:
    """Both come from packages of their own, and fit each other in one version only."""
    assert hashlib.sha256(STATIC["zxing_reader.wasm"]).hexdigest().encode() in STATIC["barcode-detector.js"]


async def test_webassembly_is_allowed_in_the_worker_of_the_camera_only(visitor: httpx2.AsyncClient) -> None:
    worker, reader, page = [
        await visitor.get(f"/console/{path}")
        for path in ("static/camera-worker.js", "static/zxing_reader.wasm", "sign-in")
    ]
    assert "'wasm-unsafe-eval'" in worker.headers["Content-Security-Policy"]
    assert "connect-src 'self'" in worker.headers["Content-Security-Policy"]
    assert reader.headers["Content-Type"] == "application/wasm"
    assert "wasm-unsafe-eval" not in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize("template", [name for name in TEMPLATES if "page.html" in TEMPLATES[name]])
def test_the_scripts_of_a_page_are_small(template: str) -> None:
    """What is loaded with the page, and besides that what each of its parts loads when somebody first needs it. The
    camera is not counted.
    """
    named = set(re.findall(r"/console/static/([\w.-]+\.js)", TEMPLATES["page.html"] + TEMPLATES[template]))
    named -= {"changes.js", "asked-parts.js"} if "{% block changes %}" in TEMPLATES[template] else set()
    at_once = _with_imports(named, r'from "\./([\w.-]+)"')
    everything = _with_imports(named, r'(?:from |import\()"\./([\w.-]+)"(?!\)\.)')
    assert len(at_once) >= 4
    assert _size(at_once) < 100_000
    assert _size(everything - at_once) < 41_000


def _with_imports(waiting: set[str], pattern: str) -> set[str]:
    loaded: set[str] = set()
    waiting = set(waiting)
    while waiting:
        loaded.add(script := waiting.pop())
        text = re.sub(r"/\*\* @import .*", "", STATIC[script].decode())  # types, which no browser loads
        waiting |= set(re.findall(pattern, text)) - loaded
    return loaded


def _size(scripts: set[str]) -> int:
    return sum(len(STATIC[name]) for name in scripts if not name.startswith(("camera", "sightings")))


async def test_files_are_sent_once_and_revalidated(visitor: httpx2.AsyncClient) -> None:
    first = await visitor.get("/console/static/packing.js")
    assert first.headers["Content-Type"].startswith("text/javascript")
    again = await visitor.get("/console/static/packing.js", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert (await visitor.get("/console/static/..%2frendering.py")).status_code == 404


def test_pages_use_the_part_of_htmx_that_holds_in_its_next_version() -> None:
    """Nothing inherited, no code in attributes, no filter of a trigger."""
    for name, template in TEMPLATES.items():
        assert not re.search(r"hx-on|js:|javascript:|hx-trigger=\"[^\"]*\[", template), name
        for element in re.findall(
            r"<[a-z]+(?:\{%.*?%\}|\{\{.*?\}\}|[^<>])*hx-get(?:\{%.*?%\}|\{\{.*?\}\}|[^<>])*>", template
        ):
            assert "hx-target=" in element, (name, element)
            assert "hx-swap=" in element, (name, element)
