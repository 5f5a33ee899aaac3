"""The pages of a batch's labels and exports without a browser: what they show, to whom, and how formats are drawn."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI

from plant import MadeBatch, Plant, ska
from printer import StandIn, added, ordered, ordered_file
from qrtrack.console.language import catalogue
from qrtrack.console.pictures import picture_of
from qrtrack.domain.identity import Caller, Role
from qrtrack.domain.labels.documents import FileFormat
from qrtrack.domain.labels.formats import PRESETS, Roll
from qrtrack.domain.labels.label_jobs import Labelled
from qrtrack.routers.languages import LANGUAGES
from qrtrack.runtime import Runtime
from qrtrack.services.labels.label_formats import store_label_format
from qrtrack.services.packing.batches import forget_keys
from qrtrack.settings import Settings
from routers.conftest import ClientOf
from routers.test_console import ORIGIN, signed_in

MANAGERS_ONLY: Final = ('id="labels"', "/cancel", "/retry", "/file", "/exports", 'data-opens="print-')


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"printer_networks": "127.0.0.0/8"})


@pytest.fixture
def visitor(app: FastAPI, runtime: Runtime, client_of: ClientOf) -> httpx2.AsyncClient:
    return client_of(app, runtime)


async def page(visitor: httpx2.AsyncClient, batch: MadeBatch, part: str = "labels", **query: Any) -> str:
    answer = await visitor.get(f"/console/batches/{batch.batch_id}/{part}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_state_of_labels_is_shown_in_every_language(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant, language: str
) -> None:
    await signed_in(visitor, runtime, plant.caller)
    visitor.cookies.set("qrtrack_language", language)
    texts, early = catalogue(language), await plant.order(5)
    assert texts["labels.too_early"] in await page(visitor, early)
    assert texts["labels.too_early"] in await page(visitor, early, "exports")
    await plant.work("creating")
    batch = await plant.prepared(25, units_per_case=10, serial_prefix="LAB")
    assert texts["labels.none"] in await page(visitor, batch)
    completed = await plant.label(batch, file_format=FileFormat.ZPL, with_root_key=True, last_code="LAB000002")
    await plant.work("label_job")
    await plant.label(batch, first_code="LAB000003", reason="Sheet jammed")
    async with StandIn(breaks_after=20).on() as breaking:
        printer = await added(plant, breaking)
        await ordered_file(plant, printer, completed)
        await plant.work("print_job")
    printed = await ordered(plant, printer, batch)
    shown = await page(visitor, batch, printed=printed)
    for key in (
        "labels.keys_sure",
        "labels.print_unknown_todo",
        "labels.with_keys",
        "labels.cancel_sure",
        "labels.root_key_careful",
    ):
        assert texts[key] in shown, key
    assert "LAB000001 – LAB000002" in shown
    assert texts["labels.again_because"].format(reason="Sheet jammed") in shown
    assert 'data-opens="print-zpl-203"' in shown
    assert f'action="/console/labels/{completed}/file" data-sure=' in shown
    assert f"/console/prints/{printed}" in shown
    assert texts["state.queued"] in (await visitor.get(f"/console/prints/{printed}")).text
    now = await page(visitor, batch, "labels/now")
    assert texts["labels.print_unknown_todo"] in now
    assert texts["prints.confirm"] in now
    assert 'id="labels"' not in now
    for part in ("labels", "exports"):
        text = await page(visitor, batch, part)
        assert " style=" not in text
        assert re.findall(r"<[a-z]+[^>]* on[a-z]+=", text) == []


async def test_an_operator_sees_the_labels_and_no_action_of_a_manager(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant
) -> None:
    batch = await plant.batch(20, units_per_case=10)
    job_id = await plant.label(batch, last_code=ska(2)[0], file_format=FileFormat.ZPL)
    await plant.work("label_job")
    await plant.label(batch, first_code=ska(3)[0])
    await added(plant, StandIn())
    managers = await page(await signed_in(visitor, runtime, plant.caller), batch)
    assert all(words in managers for words in MANAGERS_ONLY if words != "/retry")
    await plant.sql(
        "UPDATE label_jobs SET status = 'failed', progress = 0, finished_at = now(), error_message = 'no font'"
        " WHERE status = 'queued' RETURNING 1"
    )
    assert "/retry" in await page(visitor, batch)
    operator = Caller("operator", plant.caller.organisation_id, frozenset({Role.OPERATOR}))
    shown = await page(await signed_in(visitor, runtime, operator), batch)
    assert [words for words in MANAGERS_ONLY if words in shown] == []
    assert "no font" in shown
    assert "/cases/{case_number}/label.pdf" in shown
    assert 'data-path="/api/manufacturer/printers/{printer_id}/print"' in shown
    assert (await visitor.get(f"/console/batches/{batch.batch_id}/exports")).status_code == 403
    assert (await visitor.get(f"/api/manufacturer/labels/{job_id}/file")).status_code == 403


async def test_nothing_of_another_organisation_is_shown(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant
) -> None:
    batch = await plant.batch(20, units_per_case=10)
    await plant.label(batch)
    await store_label_format(runtime.database, caller=plant.caller, name="ours", label_format=Roll(40.0, 30.0))
    printed = await ordered(plant, await added(plant, StandIn()), batch)
    await signed_in(visitor, runtime, Caller("stranger", uuid4(), frozenset({Role.ADMIN})))
    for path in (f"batches/{batch.batch_id}/labels", f"batches/{batch.batch_id}/exports", f"prints/{printed}"):
        assert (await visitor.get(f"/console/{path}")).status_code == 404, path
    now = await page(visitor, batch, "labels/now")
    assert "SKA" not in now
    assert "a4-65" not in now
    assert (await visitor.get("/console/label-formats/picture", params={"preset": "ours"})).status_code == 404


async def test_without_networks_no_printer_is_offered(
    visitor: httpx2.AsyncClient, app: FastAPI, runtime: Runtime, plant: Plant, client_of: ClientOf
) -> None:
    batch = await plant.batch(20, units_per_case=10)
    await plant.label(batch, file_format=FileFormat.ZPL)
    await plant.work("label_job")
    await added(plant, StandIn())
    assert "printer_id" in await page(await signed_in(visitor, runtime, plant.caller), batch)
    off = replace(runtime, settings=runtime.settings.model_copy(update={"printer_networks": ""}))
    assert "printer_id" not in await page(await signed_in(client_of(app, off), off, plant.caller), batch)


async def test_a_file_is_offered_to_printers_of_its_kind_only(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant
) -> None:
    batch = await plant.batch(20, units_per_case=10)
    await plant.label(batch, Labelled.CASES, file_format=FileFormat.ZPL, dpi=300)
    await plant.work("label_job")
    await added(plant, StandIn())
    await signed_in(visitor, runtime, plant.caller)
    shown = await page(visitor, batch)
    assert "None of your printers takes ZPL 300." in shown
    assert 'data-opens="print-' not in shown


async def test_a_file_whose_keys_were_forgotten_is_not_offered(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant
) -> None:
    batch = await plant.batch(4, units_per_case=2)
    await plant.label(batch, with_root_key=True)
    for kind in ("label_job", "hashing"):
        await plant.work(kind)
    await forget_keys(runtime.database, caller=plant.caller, batch_id=batch.batch_id)
    shown = await page(await signed_in(visitor, runtime, plant.caller), batch)
    assert "The file showed root keys, and was deleted with them." in shown
    assert "/file" not in shown


async def test_a_batch_that_needs_several_files_begins_with_the_first(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qrtrack.services.labels.batch_labels.LABELS_IN_JOB", 4)
    small, large = await plant.batch(4), await plant.batch(5)
    await signed_in(visitor, runtime, plant.caller)
    assert 'placeholder="SKA000004">' in await page(visitor, small)
    assert 'placeholder="SKA000009" value="SKA000008">' in await page(visitor, large)


async def test_jobs_are_paged(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qrtrack.console.views.labels.PAGE", 2)
    batch = await plant.batch(3)
    for code in ska(1, 2, 3):
        await plant.label(batch, first_code=code, last_code=code)
    await signed_in(visitor, runtime, plant.caller)
    newest = await page(visitor, batch, "labels/now")
    [older] = re.findall(r"labels\?before=([0-9a-f-]{36})", newest)
    assert re.findall(r'code">(SKA\d+)', newest) == ska(3, 2)
    assert re.findall(r'code">(SKA\d+)', await page(visitor, batch, "labels/now", before=older)) == ska(1)


def test_every_refusal_of_labels_is_said_in_every_language(app: FastAPI) -> None:
    """Of those that hold for all routes, the API's own sentence is shown."""
    paths = app.openapi()["paths"]
    common = _said_by(paths["/api/manufacturer/batches/{batch_id}/close"]) - {"batch-not-ready", "not-found"}
    # The form asks for the reason, and the bad field is told by its code.
    otherwise = {"already-printed", "label-too-small"}
    for path in (
        "batches/{batch_id}/labels", "labels/{label_job_id}/cancel", "labels/{label_job_id}/retry",
        "printers/{printer_id}/print", "print-jobs/{print_job_id}/cancel",
    ):  # fmt: skip
        for slug in _said_by(paths[f"/api/manufacturer/{path}"]) - common - otherwise:
            assert f"label_refusal.{slug}" in catalogue("en"), slug
    assert "label_refusal.label_too_small" in catalogue("en")


def _said_by(path: dict[str, Any]) -> set[str]:
    return set(re.findall(r"urn:qrtrack:problem:([a-z-]+)", str(path["post"]["responses"])))


# Pictures


@pytest.mark.parametrize("name", PRESETS)
def test_a_picture_has_the_measures_of_its_format(name: str) -> None:
    picture, label_format = picture_of(PRESETS[name]), PRESETS[name]
    first = next(iter(label_format.origins()))
    for place, (x, y) in enumerate(label_format.origins()):
        assert place % picture.columns * picture.pitch_x == pytest.approx(x - first[0])
        assert place // picture.columns * picture.pitch_y == pytest.approx(y - first[1])
    assert (picture.label_width, picture.label_height) == (label_format.width, label_format.height)
    assert picture.x + picture.columns * picture.pitch_x <= picture.width + picture.pitch_x - picture.label_width
    assert picture.y + picture.rows * picture.pitch_y <= picture.height + picture.pitch_y - picture.label_height


async def test_every_label_of_a_sheet_can_be_clicked(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant
) -> None:
    wide = Roll(24.0, 20.0, across=4, gap=2.0)
    await store_label_format(runtime.database, caller=plant.caller, name="four", label_format=wide)
    await signed_in(visitor, runtime, plant.caller)
    for name, label_format in {**PRESETS, "four": wide}.items():
        drawn = (await visitor.get("/console/label-formats/picture", params={"preset": name})).text
        places = [int(place) for place in re.findall(r'data-place="(\d+)"', drawn)]
        assert places == list(range(1, label_format.labels_per_page + 1)), name
    assert (await visitor.get("/console/label-formats/picture", params={"preset": "none"})).status_code == 404


# Exports


async def test_the_exports_lead_to_files_whose_names_say_what_they_are(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant
) -> None:
    batch = await plant.prepared(20, units_per_case=10)
    await plant.work("hashing")
    await signed_in(visitor, runtime, plant.caller)
    shown = await page(visitor, batch, "exports")
    links = [link.replace("&amp;", "&") for link in re.findall(r'href="(/api/[^"]+)"', shown)]
    named = [_named((await visitor.get(link)).headers) for link in links]
    kinds = ("xlsx", "csv", "csv")
    stem = f"Gold-1-g-{batch.uniq_code}"
    assert named[:7] == [
        *(f"codes-{stem}.{kind}" for kind in kinds), *(f"cases-{stem}.{kind}" for kind in kinds),
        f"reconciliation-{stem}.xlsx",
    ]  # fmt: skip
    assert [name.partition("-")[0] for name in named[7:]] == ["prepared"] * 3
    assert sum("delimiter=;" in link for link in links) == 3
    assert await plant.events(batch, "keys.revealed") == []
    asked = re.findall(r'<form method="post" action="([^"]+)" data-sure.*?value="(\w+)".*?value="(.)"', shown)
    mine = person_of(plant.caller)
    forms = [(action, mine | {"file_type": kind, "delimiter": delimiter}) for action, kind, delimiter in asked]
    files = [await visitor.post(action, data=form, headers=ORIGIN) for action, form in forms]
    assert [_named(file.headers) for file in files] == [f"codes-with-root-keys-{stem}.{kind}" for kind in kinds]
    assert [file.text.splitlines()[0].count(";") for file in files[1:]] == [6, 0]
    assert len(await plant.events(batch, "keys.revealed")) == 3


async def test_a_link_or_form_of_another_page_takes_no_root_keys_and_leaves_no_trace(
    visitor: httpx2.AsyncClient, client: httpx2.AsyncClient, runtime: Runtime, plant: Plant
) -> None:
    """A browser that follows a link sends the session's cookie, but no header of ours."""
    batch = await plant.batch(3)
    await plant.work("hashing")
    await signed_in(visitor, runtime, plant.caller)
    address = f"/api/manufacturer/batches/{batch.batch_id}"
    job = await plant.label(batch, with_root_key=True, file_format=FileFormat.ZPL)
    await plant.work("label_job")
    links = [f"{address}/codes.{kind}?reveal=root_key" for kind in ("csv", "xlsx")]
    links += [f"{address}/codes?reveal=root_key", f"/api/manufacturer/labels/{job}/file"]
    for link in links:
        for others in ({}, {"Authorization": "Basic eDp5"}, {"Origin": "https://evil.example"}):
            answer = await visitor.get(link, headers=dict(others))
            assert answer.json()["type"] == "urn:qrtrack:problem:root-keys-not-asked-for", link
    fields = person_of(plant.caller) | {"file_type": "csv"}
    for form in (f"/console/batches/{batch.batch_id}/exports/keys", f"/console/labels/{job}/file"):
        for others in ({}, {"Origin": "https://evil.example"}):
            assert (await visitor.post(form, data=fields, headers=dict(others))).status_code == 403
        # A page of the person who was signed in before.
        before = person_of(replace(plant.caller, user_id="before"))
        answer = await visitor.post(form, data=fields | before, headers=ORIGIN)
        assert (answer.status_code, catalogue("en")["error.other_person"] in answer.text) == (403, True)
    assert await plant.events(batch, "keys.revealed") == []
    # A program with a token goes on as before, and so do the pages themselves.
    for link in links:
        assert (await client.get(link)).status_code == 200
    mine = person_of(plant.caller)
    assert (await visitor.post(f"/console/labels/{job}/file", data=mine, headers=ORIGIN)).content.startswith(b"^XA")
    assert len(await plant.events(batch, "keys.revealed")) == 5


def person_of(caller: Caller) -> dict[str, str]:
    """The field of a form that says whose page it is on."""
    return {"person": f"{caller.organisation_id}/{caller.user_id}"}


def _named(headers: Mapping[str, str]) -> str:
    [name] = re.findall(r'filename="([^"]+)"', headers["Content-Disposition"])
    return str(name)


async def test_a_page_that_came_too_early_is_loaded_anew_when_the_codes_exist(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant
) -> None:
    await signed_in(visitor, runtime, plant.caller)
    ordered = await plant.order(5)
    asking = f"/console/batches/{ordered.batch_id}/codes-made"
    for part in ("labels", "exports"):
        assert asking in (await visitor.get(f"/console/batches/{ordered.batch_id}/{part}")).text
    early = await visitor.get(asking)
    await plant.work("creating")
    late = await visitor.get(asking)
    assert [(answer.status_code, answer.headers.get("HX-Refresh")) for answer in (early, late)] == [
        (204, None), (204, "true"),
    ]  # fmt: skip
    for part in ("labels", "exports"):
        assert asking not in (await visitor.get(f"/console/batches/{ordered.batch_id}/{part}")).text
