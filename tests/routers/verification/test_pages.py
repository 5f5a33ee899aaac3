"""The pages that QR symbols lead to: what they show, what they never do, and their form."""

import re
from typing import Any

import pytest

from consumer import Consumer, root_key, wrong
from plant import MadeBatch, Plant, ska
from qrtrack.domain.qr import printed, unit_payload
from qrtrack.routers.verification.pages import MARK_PATH, STYLE_PATH
from routers.verification.conftest import NewConsumer

HTTPS = "https://verify.example.com"
# Each opens a link that somebody sends or looks at; the headers are what they send.
PREVIEWS: list[dict[str, str]] = [
    {"User-Agent": "TelegramBot (like TwitterBot)"},
    {"User-Agent": "WhatsApp/2.23.20.0"},
    {"User-Agent": "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)"},
    {"User-Agent": "Mozilla/5.0 (Linux; Android 14) Chrome/130.0", "Sec-Purpose": "prefetch;prerender"},
]
TABLES = ("verifications", "verification_failures", "verification_reports", "verification_alerts", "trace_events")


def path_of(batch: MadeBatch, number: int | None = 1) -> str:
    return f"/q/{batch.uniq_code}" + ("" if number is None else f"/{ska(number)[0]}")


async def written(plant: Plant) -> list[Any]:
    """Every row that a check could leave, and the version of every code."""
    counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in TABLES)
    return [
        *await plant.sql(f"SELECT {counts}"),
        *await plant.sql("SELECT xmin::text, status FROM qr_codes ORDER BY id"),
    ]


def title_of(page: str) -> str:
    [title] = re.findall(r"<h1>(.*?)</h1>", page)
    return str(title)


async def test_a_hundred_previews_change_nothing_and_the_first_check_is_genuine(
    plant: Plant, consumer: Consumer, new_consumer: NewConsumer
) -> None:
    batch = await plant.batch(2)
    before = await written(plant)
    for place in range(100):
        visitor, headers = new_consumer(), PREVIEWS[place % len(PREVIEWS)]
        method = "HEAD" if place % 3 == 0 else "GET"
        answer = await visitor.http.request(method, path_of(batch, place % 2 or None), headers=headers)
        assert answer.status_code == 200
    assert await written(plant) == before
    page = (await consumer.enter(path_of(batch), await root_key(plant, batch, 1))).text
    assert title_of(page) == "Genuine"


async def test_the_page_names_product_maker_and_printed_host_and_nothing_of_the_code(
    plant: Plant, consumer: Consumer
) -> None:
    batch = await plant.batch(2)
    known, unknown = [(await consumer.open(f"/q/{batch.uniq_code}/{code}")).text for code in ("SKA000001", "NOSUCH")]
    assert known == unknown
    for shown in ("Gold 1 g", "Made by PT Sinar &lt;Emas&gt;", "verify.example.com", 'name="root_key"'):
        assert shown in known
    assert 'autocomplete="off" autocapitalize="characters"' in known
    assert "<script" not in known
    assert "style=" not in known


async def test_every_answer_is_private_and_no_page_holds_key_or_code_in_its_title(
    plant: Plant, consumer: Consumer
) -> None:
    batch = await plant.batch(2)
    key = await root_key(plant, batch, 1)
    answers = [
        await consumer.open(path_of(batch)),
        await consumer.open("/q/ABCDEFGHJKLM/X"),
        await consumer.enter(path_of(batch), key),
        await consumer.enter(path_of(batch), wrong(key)),
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 200, 200]
    for answer in answers:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Robots-Tag"] == "noindex"
        assert "unsafe-inline" not in answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        [title] = re.findall(r"<title>(.*?)</title>", answer.text)
        assert key not in title
        assert ska(1)[0] not in title
        assert key not in answer.text
        assert wrong(key) not in answer.text


async def test_each_result_has_a_title_in_words_and_an_icon(
    plant: Plant, consumer: Consumer, new_consumer: NewConsumer
) -> None:
    batch = await plant.batch(2)
    key = await root_key(plant, batch, 1)
    unknown, genuine = [(await consumer.enter(path_of(batch), typed)).text for typed in (wrong(key), key)]
    seen = (await new_consumer().enter(path_of(batch), key)).text
    assert [title_of(page) for page in (unknown, genuine, seen)] == [
        "The key does not fit", "Genuine", "Genuine key, checked before",
    ]  # fmt: skip
    assert all("<svg" in page for page in (unknown, genuine, seen))
    assert '<option value="not_me" selected>' in seen
    assert "<dt>Serial number</dt><dd>SKA000001</dd>" in genuine
    assert "SKA000001" not in unknown


async def test_a_recall_is_shown_before_a_key_was_entered_and_only_for_its_units(
    plant: Plant, consumer: Consumer
) -> None:
    batch = await plant.batch(2)
    await plant.sql(
        "INSERT INTO recalls (id, manufacturer_org_id, scope, reason, text_en, text_id, unit_count, recalled_by)"
        " SELECT gen_random_uuid(), manufacturer_org_id, 'codes', 'glass', 'Do not <eat>.', 'Jangan dimakan.', 1, 'm'"
        " FROM qr_batches"
    )
    await plant.sql(
        "INSERT INTO recalled_codes (recall_id, batch_id, sequence_number, manufacturer_org_id)"
        " SELECT recalls.id, qr_batches.id, 2, qr_batches.manufacturer_org_id FROM recalls, qr_batches"
    )
    recalled, other = [(await consumer.open(path_of(batch, number))).text for number in (2, 1)]
    assert title_of(recalled) == "Recalled"
    assert "Do not &lt;eat&gt;." in recalled
    assert "Recalled" not in other
    indonesian = (await consumer.open(f"{path_of(batch, 2)}?lang=id")).text
    assert "Jangan dimakan." in indonesian


async def test_language_follows_the_browser_and_the_switch(plant: Plant, consumer: Consumer) -> None:
    batch = await plant.batch(1)
    asked = {"Accept-Language": "id-ID,id;q=0.9,en-US;q=0.8"}
    indonesian = await consumer.open(path_of(batch), **asked)
    english = await consumer.open(f"{path_of(batch)}?lang=en", **asked)
    assert ('<html lang="id">' in indonesian.text, '<html lang="en">' in english.text) == (True, True)
    assert indonesian.headers["Content-Language"] == "id"
    assert 'href="?lang=en"' in indonesian.text
    key = await root_key(plant, batch, 1)
    assert title_of((await consumer.enter(f"{path_of(batch)}?lang=id", key)).text) == "Asli"


async def test_a_printed_address_in_upper_case_leads_to_the_page(plant: Plant, consumer: Consumer) -> None:
    batch = await plant.batch(1)
    address = printed(unit_payload(HTTPS, batch.uniq_code, ska(1)[0]))
    assert address.startswith("HTTPS://VERIFY.EXAMPLE.COM/Q/")
    page = await consumer.open(address.removeprefix(HTTPS.upper()))
    assert (page.status_code, title_of(page.text)) == (200, "Check your product")
    checked = await consumer.enter(address.removeprefix(HTTPS.upper()).lower(), await root_key(plant, batch, 1))
    assert title_of(checked.text) == "Genuine"


@pytest.mark.parametrize("lot", [None, "L1", 'A/B"%<1>'])
async def test_a_digital_link_leads_to_the_page_of_its_batch(plant: Plant, consumer: Consumer, lot: str | None) -> None:
    await plant.batch(1, gtin="09521234543213", lot="other")
    batch = await plant.batch(1, gtin="09521234543213", lot=lot, serial_prefix="GEM")
    path = unit_payload(HTTPS, batch.uniq_code, "GEM000001", gtin="09521234543213", lot=lot).removeprefix(HTTPS)
    page = await consumer.open(f"{path}?17=271231")
    assert (page.status_code, title_of(page.text)) == (200, "Check your product")
    assert f'href="{"../" * (path.count("/") - 1)}{STYLE_PATH}"' in page.text
    checked = await consumer.enter(path, await root_key(plant, batch, 1))
    assert title_of(checked.text) == "Genuine"


async def test_a_digital_link_does_not_reveal_which_codes_exist(plant: Plant, consumer: Consumer) -> None:
    await plant.batch(1, gtin="09521234543213", lot="L1")
    for prefix in ("/01/09521234543213/21/", "/01/09521234543213/10/L1/21/"):
        known, unknown = [await consumer.open(f"{prefix}{code}") for code in ("SKA000001", "NOSUCHONE")]
        assert (known.status_code, known.text) == (unknown.status_code, unknown.text)
    guess = await consumer.enter("/01/09521234543213/21/NOSUCHONE", "ABCD")
    assert (guess.status_code, title_of(guess.text)) == (200, "The key does not fit")
    assert len(await plant.sql("SELECT 1 FROM verification_failures")) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/q/ABCDEFGHJKLM", "/q/ABCDEFGHJKLM/SKA000001", "/q/x", "/q/%00", "/q/ABCDEFGHJKL%00/%00", "/q/assets/no.css",
        "/01/09521234543213/21/SKA000001", "/01/1/21/X", "/01/09521234543213/10/L%00/21/X",
        f"/q/ABCDEFGHJKLM/{'A' * 65}", "/q/ABCDEFGHJKLM/caf%C3%A9", "/q/ABCDEFGHJKLM/", "/q/ABCDEFGHJKLM/A/B",
        "/01/09521234543213/21/",
    ],
)  # fmt: skip
async def test_an_address_that_names_nothing_is_a_page_that_helps(consumer: Consumer, path: str) -> None:
    for answer in (await consumer.open(path), await consumer.enter(path, "ABCD")):
        assert (answer.status_code, title_of(answer.text)) == (404, "We do not know this address")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "application/x-www-form-urlencoded"),
        (b"action=check&root_key=", "application/x-www-form-urlencoded"),
        (b"action=report&reason=nosuch", "application/x-www-form-urlencoded"),
        (b"root_key=" + b"A" * 20_000, "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % place for place in range(50)), "application/x-www-form-urlencoded"),
        (b'{"root_key": "ABCD"}', "application/json"),
        (b"\xff\xfe\x00", "multipart/form-data"),
    ],
)
async def test_a_form_that_lacks_something_says_so(
    plant: Plant, consumer: Consumer, body: bytes, content_type: str
) -> None:
    batch = await plant.batch(1)
    answer = await consumer.http.post(path_of(batch), content=body, headers={"Content-Type": content_type})
    assert (answer.status_code, title_of(answer.text)) == (422, "Something is missing")
    assert await plant.sql("SELECT 1 FROM verification_failures") == []


async def test_strange_keys_are_unknown_keys(plant: Plant, consumer: Consumer) -> None:
    batch = await plant.batch(1)
    for number, key in enumerate(("\0\x01A", "é😀", "<b>", "%00", "A" * 200), 1):
        page = await consumer.enter(path_of(batch, number + 1), key)
        assert (page.status_code, title_of(page.text)) == (200, "The key does not fit")


async def test_a_report_from_the_page_is_kept(plant: Plant, consumer: Consumer) -> None:
    batch = await plant.batch(1)
    sent = await consumer.http.post(
        path_of(batch), data={"action": "report", "reason": "not_me", "message": "Shop\0 in Solo\r\nnear the market"}
    )
    assert title_of(sent.text) == "Thank you"
    [row] = await plant.sql("SELECT code, reason, message FROM verification_reports")
    assert tuple(row) == ("SKA000001", "not_me", "Shop in Solo\nnear the market")


async def test_the_form_of_a_page_without_referrer_is_taken_and_a_form_of_another_site_is_not(
    plant: Plant, consumer: Consumer
) -> None:
    """Browsers send `Origin: null` with a form of a page whose Referrer-Policy is no-referrer."""
    batch = await plant.batch(1)
    form = {"action": "check", "root_key": "ABCD"}
    statuses = [
        (await consumer.http.post(path, data=form, headers={"Origin": origin})).status_code
        for path in (path_of(batch), path_of(batch).replace("/q/", "/Q/"), "/api/verify")
        for origin in ("null", "https://evil.example")
    ]
    assert statuses == [200, 403, 200, 403, 403, 403]


async def test_the_cookie_is_random_and_secure_over_https_only(plant: Plant, new_consumer: NewConsumer) -> None:
    batch = await plant.batch(1)
    cookies = []
    for scheme in ("http", "https", "https, http"):
        answer = await new_consumer().open(path_of(batch), **{"X-Forwarded-Proto": scheme})
        cookies.append(answer.headers["Set-Cookie"])
    values = [re.findall(r"qrtrack_look=([\w-]{22});", cookie)[0] for cookie in cookies]
    assert values[0] != values[1]
    assert [("Secure" in cookie) for cookie in cookies] == [False, True, True]
    assert all("SameSite=lax" in cookie and "Max-Age=1800" in cookie and "HttpOnly" in cookie for cookie in cookies)


async def test_the_style_comes_from_us_and_may_be_kept_for_ever(plant: Plant, consumer: Consumer) -> None:
    batch = await plant.batch(1)
    page = (await consumer.open(path_of(batch))).text
    assert f'href="../../{STYLE_PATH}"' in page
    for path, kind in ((STYLE_PATH, "text/css; charset=utf-8"), (MARK_PATH, "image/svg+xml")):
        answer = await consumer.http.get(f"/{path}")
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, kind)
        assert "immutable" in answer.headers["Cache-Control"]
