"""Sentences that the program stores in English: every one has its translation, and pages show it."""

import ast
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import pytest

import qrtrack
from plant import Plant
from qrtrack.console.language import Language, catalogue
from qrtrack.console.stored import translate_stored
from qrtrack.domain.accurate.intake import TOO_DEEP, TOO_LONG
from qrtrack.domain.labels.label_jobs import FileNotReady
from qrtrack.domain.labels.print_jobs import LOOK_THEN_REPRINT
from qrtrack.domain.labels.printers import FLAGS
from qrtrack.integrations.akselgate import LOGIN_SETTINGS
from qrtrack.postgresql.outages import DatabaseRefused, DatabaseUnavailable
from qrtrack.routers.languages import LANGUAGES
from qrtrack.services.labels.printing import KILLED
from qrtrack.worker.execution import WORKER_LOST
from qrtrack.worker.execution import _reason as reason_of
from routers.console.conftest import Visit

SECTION: Final = "stored."
# Why a printer is not reached.
UNREACHED: Final = (
    errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT, errno.ECONNRESET,
    errno.EPIPE,
)  # fmt: skip
# Whose arguments are stored, or are part of what is stored.
WRITERS: Final = frozenset(
    {
        "Delivery", "Element", "JobEvent", "LoginFailed", "PermanentFailure", "PrintBroken", "PrinterNotReached",
        "PrinterNotReady", "Unread", "Verdict", "_broken",
    }
)  # fmt: skip
# The same in the modules where these names mean the log of a job, the notes of an event and the refusal of a token.
WRITERS_HERE: Final = {
    "services/packing/preparation.py": "log",
    "services/packing/reverse_jobs.py": "log",
    "services/packing/batches.py": "log",
    "domain/accurate/documents.py": "append",
    "integrations/tokens.py": "Unauthenticated",
    "integrations/token_claims.py": "Unauthenticated",
}
# Other arguments are single words or values.
SENTENCE: Final = re.compile(r"[a-z]+\W+[a-z]+")
WHOLE: Final = (
    KILLED, WORKER_LOST, *(words for _, _, words in FLAGS), TOO_DEEP, TOO_LONG, str(FileNotReady("failed")),
    str(FileNotReady("running")), str(DatabaseUnavailable()), str(DatabaseRefused("")), reason_of(KeyError()),
    f"{KILLED} {LOOK_THEN_REPRINT}", "The gateway gave no token for the login (status 500).",
    f"The gateway gave no token for the login (status 401).{LOGIN_SETTINGS}",
    *(os.strerror(code).lower() for code in UNREACHED),
)  # fmt: skip


def indonesian() -> Language:
    return Language("id", ZoneInfo("Asia/Jakarta"))


def sentences_of(node: ast.expr) -> Iterator[str]:
    """The texts that an argument may have. A value in an f-string becomes a number."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(part.value if isinstance(part, ast.Constant) else "7" for part in parts)  # type: ignore[misc]
        case ast.IfExp(body=body, orelse=other):
            yield from sentences_of(body)
            yield from sentences_of(other)


def written() -> Iterator[tuple[str, str]]:
    root = Path(qrtrack.__file__).parent
    for path in sorted(root.rglob("*.py")):
        place = str(path.relative_to(root))
        writers = WRITERS | {WRITERS_HERE.get(place, "")}
        for call in (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if name and name in writers:
                given = [*call.args, *(keyword.value for keyword in call.keywords)]
                yield from ((place, text) for node in given for text in sentences_of(node) if SENTENCE.search(text))


def test_every_sentence_that_the_program_stores_is_translated() -> None:
    found = list(written())
    assert {place for place, _ in found} >= WRITERS_HERE.keys()
    language = indonesian()
    unknown = [(place, text) for place, text in found if translate_stored(language, text) in (None, text)]
    assert unknown == [], "Add them to the section [stored] of both catalogues, as they are written here."


def test_every_stored_constant_sentence_is_translated() -> None:
    language = indonesian()
    assert [text for text in WHOLE if translate_stored(language, text) in (None, text)] == []


@pytest.mark.parametrize("name", LANGUAGES)
def test_every_known_sentence_is_found_by_its_own_template(name: str) -> None:
    """Also inside of another one, and with values that look like parts of sentences."""
    language = Language(name, ZoneInfo("Asia/Jakarta"))
    for key, template in catalogue("en").items():
        if key.startswith(SECTION):
            values = dict.fromkeys(re.findall(r"\{(\w+)\}", template), "Line 2")
            assert translate_stored(language, template.format(**values)) == language.text(key, **values), key
            assert translate_stored(language, f"Failed: {template.format(**values)}") == language.text(
                "stored.job_failed", reason=language.text(key, **values)
            ), key


def test_the_words_of_others_are_no_sentence_of_the_program() -> None:
    language = indonesian()
    assert translate_stored(language, "Insufficient funds, call us") is None
    assert translate_stored(language, "Failed: insufficient funds", "gateway_") is None
    assert translate_stored(language, "x" * 10_000) is None


def test_codes_and_names_are_not_written_as_numbers_or_states() -> None:
    language = indonesian()
    for sentence, name in (
        ("The root key of 0012345 was deleted: print without `with_root_key`.", "0012345"),
        ("Some codes from 1234 number 10000 on exist already: they were not created by this batch.", "1234"),
        ("failed did not answer within 5 s.", "failed"),
    ):
        translated = translate_stored(language, sentence) or ""
        assert name in translated.split(), translated


async def test_pages_tell_why_a_job_failed_in_the_language_of_the_reader(plant: Plant, visit: Visit) -> None:
    """Words that the program does not know stand as an English quotation."""
    batch = await plant.batch(5)
    job = await plant.submit(batch)
    visitor = await visit(plant.caller)
    visitor.cookies.set("qrtrack_language", "id")
    for said, shown in (
        (WORKER_LOST, "proses percobaan terakhir mati atau kehilangan koneksi database"),
        ("<b>Odd</b>", '<q lang="en">&lt;b&gt;Odd&lt;/b&gt;</q>'),
    ):
        await plant.sql(
            "UPDATE qr_reverse_jobs SET status = 'failed', error_message = :said, finished_at = now() WHERE id = :id",
            said=said, id=job,
        )  # fmt: skip
        for address in (f"/console/jobs/{job}", "/console", f"/console/packing?batch={batch.batch_id}"):
            page = (await visitor.get(address)).text
            assert (said in page, shown in page) == (False, True), address
    log = (await visitor.get(f"/console/jobs/{job}")).text
    assert "Dibuat dengan kode dikecualikan: 0; sudah terkemas, tidak berlaku, atau di tangan konsumen: 0." in log
