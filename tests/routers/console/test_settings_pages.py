"""Settings and the scanner test page without a browser: who sees what, and what is never shown."""

import html
import json
import re
from dataclasses import replace
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from plant import Plant
from printer import own_host
from qrtrack.console.configured import list_settings
from qrtrack.console.language import catalogue
from qrtrack.console.pictures import LINER, ROWS_OF_ROLL, picture_of
from qrtrack.console.rendering import ENVIRONMENT
from qrtrack.console.views.scanner_test import LABEL
from qrtrack.domain.identity import Caller, Role
from qrtrack.domain.labels.formats import PRESETS, Roll
from qrtrack.repositories.queues import QUEUES
from qrtrack.routers.languages import LANGUAGES
from qrtrack.runtime import Runtime
from qrtrack.services.console_sessions import find_session, list_signed_in, open_session
from qrtrack.settings import Settings
from routers.conftest import ClientOf
from routers.test_console import ORIGIN, signed_in

SETTINGS = "/console/settings"
PRINTERS = "/api/manufacturer/printers"
FORMATS = "/api/manufacturer/label-formats"
ROLL = {"kind": "roll", "width": 40, "height": 30}
PAGES = (
    SETTINGS, f"{SETTINGS}/printers/now", f"{SETTINGS}/health/now", f"{SETTINGS}/new-printer",
    f"{SETTINGS}/new-format", f"{SETTINGS}/new-format?kind=roll", f"{SETTINGS}/formats/own", "/console/scanner-test",
)  # fmt: skip
OF_ADMINS = (f"{SETTINGS}/health/now",)


@pytest.fixture
def visitor(app: FastAPI, runtime: Runtime, client_of: ClientOf) -> httpx2.AsyncClient:
    return client_of(app, runtime)


def as_role(caller: Caller, *roles: Role) -> Caller:
    return replace(caller, roles=frozenset(roles))


async def furnish(client: httpx2.AsyncClient) -> str:
    """A printer and a format of the organisation's own. The printer's page."""
    address = f"{own_host()}:9100"
    printer = {"name": "<Oven> 1", "address": address, "stations": ["Line 2"], "preset": "own"}
    assert (await client.put(f"{FORMATS}/own", json=ROLL, headers=ORIGIN)).is_success
    answer = await client.post(PRINTERS, json=printer, headers=ORIGIN)
    assert answer.status_code == 201, answer.text
    return f"{SETTINGS}/printers/{answer.json()['printer_id']}"


async def print_unknown(plant: Plant) -> None:
    """A case's label was being sent when its worker was killed."""
    batch = await plant.prepared(4, units_per_case=2)
    await plant.pack(batch, station="Line 2")
    await plant.sql(
        "UPDATE print_jobs SET status = 'unknown', sending_at = now(), finished_at = now(), "
        "error_message = 'The connection broke.'"
    )


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_page_shows_its_state_in_every_language(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant, language: str
) -> None:
    await signed_in(visitor, runtime, as_role(plant.caller, Role.ADMIN))
    visitor.cookies.set("qrtrack_language", language)
    empty = await visitor.get(SETTINGS)
    assert catalogue(language)["printers.none_todo"] in empty.text
    printer = await furnish(visitor)
    await print_unknown(plant)
    for address in (*PAGES, printer):
        answer = await visitor.get(address)
        assert answer.status_code == 200, address
        assert " style=" not in answer.text
    full = (await visitor.get(SETTINGS)).text
    assert "&lt;Oven&gt; 1" in full
    assert "<Oven>" not in full
    assert catalogue(language)["prints.unknown_todo"] in full
    assert "The connection broke." in full
    assert all(f'id="{section}"' in full for section in ("printers", "formats", "configured", "health", "people"))


async def test_a_manager_sees_printers_and_formats_and_an_operator_nothing(
    visitor: httpx2.AsyncClient, runtime: Runtime, caller: Caller
) -> None:
    await signed_in(visitor, runtime, as_role(caller, Role.MANAGER))
    await furnish(visitor)
    page = (await visitor.get(SETTINGS)).text
    assert 'id="formats"' in page
    assert not re.search('id="(health|people|configured)"', page)
    for address in OF_ADMINS:
        assert (await visitor.get(address)).status_code == 403
    assert (await visitor.post(f"{SETTINGS}/sign-out", data={"user": "x"}, headers=ORIGIN)).status_code == 403
    for role in (Role.OPERATOR, Role.FINANCE):
        await signed_in(visitor, runtime, as_role(caller, role))
        assert f'href="{SETTINGS}"' not in (await visitor.get("/console")).text
        for address in (address for address in PAGES if address.startswith(SETTINGS)):
            assert (await visitor.get(address)).status_code == 403, address


async def test_nothing_of_another_organisation_is_shown(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant
) -> None:
    await signed_in(visitor, runtime, as_role(plant.caller, Role.ADMIN))
    printer = await furnish(visitor)
    await print_unknown(plant)
    stranger = Caller("stranger", uuid4(), frozenset({Role.ADMIN}))
    await signed_in(visitor, runtime, stranger)
    page = (await visitor.get(SETTINGS)).text
    assert not re.search("Oven|The connection broke|/formats/own", page)
    assert str(plant.caller.user_id) not in page
    for address in (printer, f"{SETTINGS}/formats/own"):
        assert (await visitor.get(address)).status_code == 404
    answer = await visitor.post(f"{SETTINGS}/sign-out", data={"user": plant.caller.user_id}, headers=ORIGIN)
    assert answer.status_code == 303
    assert len(await list_signed_in(runtime.database, caller=plant.caller, limit=10)) == 1


async def test_without_printer_networks_the_page_says_what_to_set(
    app: FastAPI, runtime: Runtime, caller: Caller, client_of: ClientOf
) -> None:
    off = replace(runtime, settings=runtime.settings.model_copy(update={"printer_networks": ""}))
    visitor = await signed_in(client_of(app, off), runtime, as_role(caller, Role.MANAGER))
    page = (await visitor.get(SETTINGS)).text
    assert "Printing by the server is off. Set PRINTER_NETWORKS" in page
    assert "/console/settings/new-printer" not in page


async def test_an_admin_signs_a_person_out_everywhere(
    visitor: httpx2.AsyncClient, runtime: Runtime, caller: Caller
) -> None:
    worker = replace(caller, user_id="line-worker", roles=frozenset({Role.OPERATOR}))
    tokens = [await open_session(runtime.database, worker, station=name, hours=1) for name in ("Line 1", "Line 2")]
    await signed_in(visitor, runtime, as_role(caller, Role.ADMIN))
    listed = {person.user_id: person for person in await list_signed_in(runtime.database, caller=caller, limit=10)}
    assert (listed["line-worker"].sessions, listed["line-worker"].stations) == (2, ["Line 1", "Line 2"])
    assert "line-worker" in (await visitor.get(SETTINGS)).text
    without_origin = await visitor.post(f"{SETTINGS}/sign-out", data={"user": "line-worker"})
    assert without_origin.status_code == 403
    await visitor.post(f"{SETTINGS}/sign-out", data={"user": "line-worker"}, headers=ORIGIN)
    assert [await find_session(runtime.database, token) for token in tokens] == [None, None]
    assert (await visitor.get(SETTINGS)).status_code == 200


async def test_an_unknown_label_is_printed_again_from_the_page(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant
) -> None:
    await signed_in(visitor, runtime, as_role(plant.caller, Role.MANAGER))
    await furnish(visitor)
    await print_unknown(plant)
    page = html.unescape((await visitor.get(SETTINGS)).text)
    [(path, body)] = re.findall(r"data-path=\"([^\"]*/print)\" data-body='([^']*)'", page)
    answer = await visitor.post(path, json=json.loads(body), headers=ORIGIN)
    assert answer.status_code == 202, answer.text


async def test_an_unknown_label_that_came_out_is_confirmed_and_gone_from_the_page(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant
) -> None:
    await signed_in(visitor, runtime, as_role(plant.caller, Role.MANAGER))
    await furnish(visitor)
    await print_unknown(plant)
    [path] = re.findall(r"data-path=\"([^\"]*/confirm)\"", (await visitor.get(SETTINGS)).text)
    assert (await visitor.post(path, json={}, headers=ORIGIN)).is_success
    after = (await visitor.get(SETTINGS)).text
    assert "/confirm" not in after
    assert "The connection broke." not in after


# What is configured


def test_no_secret_and_nothing_of_others_is_among_the_settings() -> None:
    """Each text setting gets a value of its own, and none of them is shown but those that are listed."""
    given = {
        name: f"secret-{name}"
        for name, field in Settings.model_fields.items()
        if field.annotation not in (bool, int, float) and name != "public_base_url"
    }
    settings = Settings(_env_file=None).model_copy(update=given)
    shown = {item.name.lower(): item for items in list_settings(settings).values() for item in items}
    assert shown.keys() == Settings.model_fields.keys()
    harmless = {name for name in given if shown[name].value is not None}
    assert harmless == {
        "accurate_signature_encoding", "accurate_timezone", "database_pooler", "log_level", "plant_timezone",
        "qrtrack_env", "report_timezone",
    }  # fmt: skip
    assert all(item.is_set for name, item in shown.items() if name in given)


def test_settings_that_are_not_set_are_told_from_those_that_are() -> None:
    settings = Settings(_env_file=None, cron_secret=SecretStr("x" * 40), printer_networks="")
    shown = {item.name: item for items in list_settings(settings).values() for item in items}
    assert (shown["CRON_SECRET"].value, shown["CRON_SECRET"].is_set) == (None, True)
    assert not shown["PRINTER_NETWORKS"].is_set
    assert shown["CONSOLE_SESSION_HOURS"].value == "12"
    assert shown["VERIFY_REQUIRES_RELEASE"].value == "false"


async def test_a_secret_is_on_no_page(visitor: httpx2.AsyncClient, runtime: Runtime, caller: Caller) -> None:
    await signed_in(visitor, runtime, as_role(caller, Role.ADMIN))
    page = (await visitor.get(SETTINGS)).text
    secrets = [value.get_secret_value() for value in runtime.settings.needed_secrets.values() if value]
    assert len(secrets) == 3
    assert not [secret for secret in secrets if secret in page]
    assert str(runtime.settings.database_url) not in page


def test_every_queue_and_every_area_of_settings_has_a_name() -> None:
    texts = catalogue("en")
    assert {f"work.{queue.kind}" for queue in QUEUES} <= texts.keys()
    assert {f"configured.{area}" for area in list_settings(Settings(_env_file=None))} <= texts.keys()
    assert {f"role.{role}" for role in Role} <= texts.keys()


# Pictures


@pytest.mark.parametrize("name", PRESETS)
def test_the_picture_of_a_format_shows_each_label_where_it_lies(name: str) -> None:
    """A roll is drawn with its liner, and with a second row: its labels keep their distances."""
    preset, is_roll = PRESETS[name], isinstance(PRESETS[name], Roll)
    drawn = ENVIRONMENT.get_template("label_sheet.html").render(picture=picture_of(preset), places=0)
    found = re.findall(r'class="label" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"', drawn)
    corners = [(float(x), float(y)) for x, y, _ in found]
    margin = LINER if is_roll else 0.0
    expected = [(round(x + margin, 2), round(y + margin, 2)) for x, y in preset.origins()]
    assert corners[: len(expected)] == expected
    assert len(corners) == len(expected) * (ROWS_OF_ROLL if is_roll else 1)
    assert {float(width) for *_, width in found} == {preset.width}
    assert "style=" not in drawn


async def test_the_picture_follows_the_fields_and_says_what_cannot_be(
    visitor: httpx2.AsyncClient, runtime: Runtime, caller: Caller
) -> None:
    await signed_in(visitor, runtime, as_role(caller, Role.MANAGER))
    fields = {
        "kind": "sheet", "name": "a4-27", "width": "63.5", "height": "29.6", "margins.left": "7.2",
        "margins.top": "15.4", "pitch.x": "66", "pitch.y": "29.6", "grid.columns": "3", "grid.rows": "9",
        "page.width": "210", "page.height": "297",
    }  # fmt: skip
    for change, said in (
        ({}, 'class="label"'),
        ({"margins.left": "", "margins.top": ""}, "The picture appears when all lengths are there."),
        ({"pitch.x": "60"}, "The labels overlap"),
        ({"grid.rows": "12"}, "outside of the page"),
        ({"width": ""}, "The picture appears when all lengths are there."),
        ({"width": "x"}, "The picture appears when all lengths are there."),
        ({"width": "nan"}, "The picture appears when all lengths are there."),
        ({"kind": "roll"}, "A roll has no"),
    ):
        answer = await visitor.get(f"{SETTINGS}/format-picture", params=fields | change)
        assert (answer.status_code, said in answer.text) == (200, True), (change, answer.text)
    visitor.cookies.set("qrtrack_language", "id")
    answer = await visitor.get(f"{SETTINGS}/format-picture", params=fields | {"grid.rows": "12"})
    assert "Label terakhir keluar dari kertas, sampai 202.70 × 370.60 mm." in answer.text


# The scanner test page


async def test_the_label_of_the_scanner_test_is_the_text_that_the_page_expects(
    visitor: httpx2.AsyncClient, runtime: Runtime, caller: Caller
) -> None:
    await signed_in(visitor, runtime, as_role(caller, Role.OPERATOR))
    page = await visitor.get("/console/scanner-test")
    assert f'data-label="{LABEL.replace(chr(34), "&#34;")}"' in page.text
    label = await visitor.get("/console/scanner-test/label.svg")
    assert label.headers["Content-Type"].startswith("image/svg+xml")
    await signed_in(visitor, runtime, as_role(caller, Role.FINANCE))
    assert (await visitor.get("/console/scanner-test/label.svg")).status_code == 403
