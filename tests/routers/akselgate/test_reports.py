"""The report of a day over HTTP."""

import io
from datetime import date, timedelta

import openpyxl
import pytest

from qrtrack.domain.akselgate.faults import Fault
from qrtrack.settings import Settings
from treasury import Treasury, open_treasury, report_day, rows

OUTCOMES = ("accepted", "unknown", "sending", "rejected", "not_sent")


async def test_the_report_of_a_day_adds_up(treasury: Treasury) -> None:
    treasury.gateway.faults.extend([Fault.NONE, Fault.REJECT, Fault.ERROR])
    attempt_id = (await treasury.dispatch("A", rows("R1", "R2", "R3", amount="10"))).json()["log_id"]
    await treasury.dispatch("B", rows("R4", amount="7"))
    unknown_id = (await treasury.dispatch("C", rows("R5", "R6", amount="9"))).json()["log_id"]
    await treasury.call_back(unknown_id, "R6")
    await treasury.call_back(attempt_id, "R1")
    await treasury.call_back(attempt_id, "R2", "51")
    report = (await treasury.get("report", date=report_day())).json()
    assert (report["date"], report["timezone"]) == (report_day(), "Asia/Jakarta")
    first, second, third = report["settlements"]
    assert first | {
        "kd_settle": "A", "sent": 1, "accepted": 1, "callbacks_ok": 1, "callbacks_failed": 1, "callbacks_missing": 1,
        "sum_in": "30", "sum_out": "30", "sums_agree": True, "sum_accepted": "30", "sum_paid": "10", "unknown": 0,
    } == first  # fmt: skip
    assert (second["rejected"], second["sum_rejected"], second["sum_in"], second["sum_out"]) == (1, "7", "0", "0")
    assert (second["callbacks_missing"], third["callbacks_missing"]) == (0, 1)
    assert (third["unknown"], third["unknown_by_age"]) == (1, {"under_1_hour": 1, "under_1_day": 0, "older": 0})
    assert (third["callbacks_ok"], third["sum_paid"], third["sum_accepted"]) == (1, "9", "0")
    totals = report["totals"]
    assert (totals["sent"], totals["sum_in"], totals["sum_out"], totals["sums_agree"]) == (3, "48", "48", True)
    assert [totals[f"sum_{outcome}"] for outcome in OUTCOMES] == ["30", "18", "0", "7", "0"]
    assert totals["unknown_by_age"] == {"under_1_hour": 1, "under_1_day": 0, "older": 0}
    await treasury.age(7200)
    ages = [
        entry["unknown_by_age"]["under_1_day"]
        for day in {report_day(), report_day(7200)}
        for entry in (await treasury.get("report", date=day)).json()["settlements"]
    ]
    assert sum(ages) == 1
    for day in ("2001-01-01", "0001-01-01", "9999-12-31"):
        assert (await treasury.get("report", date=day)).json()["settlements"] == []
    assert (await treasury.get("report", date="yesterday")).status_code == 422


async def test_an_imported_attempt_with_rows_is_no_difference_between_the_sums(treasury: Treasury) -> None:
    await treasury.dispatch("A", rows("R1", amount="10"))
    [imported] = await treasury.sql(
        "INSERT INTO t_akselgate_transaction_log (manufacturer_org_id, kd_settle, transaction_type, request_id,"
        " attempt_number, total_transaksi, request_payload, payload_sha256, control_sum, outcome, is_success,"
        " status_code_res, imported, sent_by, stale_at)"
        " SELECT manufacturer_org_id, 'OLD', transaction_type, 'old-7', 1, 1, 'written elsewhere', payload_sha256,"
        " 5, 'accepted', 1, '200', true, sent_by, now() FROM t_akselgate_transaction_log RETURNING id"
    )
    await treasury.sql(
        "INSERT INTO t_akselgate_transaction_rows (attempt_id, manufacturer_org_id, row_number, reference_number,"
        " debit_account, credit_account, amount, description)"
        " VALUES (:id, :organisation, 1, 'OLD-1', '1', '2', 5, '')",
        id=imported.id, organisation=treasury.organisation_id,
    )  # fmt: skip
    totals = (await treasury.get("report", date=report_day())).json()["totals"]
    assert (totals["sum_in"], totals["sum_out"], totals["sums_agree"]) == ("15", "15", True)


async def test_the_sheet_of_a_day_says_what_the_report_says(treasury: Treasury) -> None:
    await treasury.dispatch("=A+1", rows("R1", "R2", amount="10"))
    await treasury.dispatch("B", rows("R3", amount="999999999"))
    day = report_day()
    report = (await treasury.get("report", date=day)).json()
    answer = await treasury.get("report.xlsx", date=day)
    assert answer.headers["content-disposition"] == f'attachment; filename="settlements-{day}.xlsx"'
    book = openpyxl.load_workbook(io.BytesIO(answer.content))
    settlements, totals = [
        [dict(zip(header, row, strict=True)) for row in rows]
        for header, *rows in (list(sheet.iter_rows(values_only=True)) for sheet in book.worksheets)
    ]
    first, second = settlements
    assert (first["date"], first["timezone"], first["kd_settle"], first["sum_in"]) == (
        day, "Asia/Jakarta", "=A+1", 20,
    )  # fmt: skip
    assert (second["sum_out"], second["sum_in"]) == (999999999, 999999999)
    assert [total["sent"] for total in totals] == [2]
    for listed, row in zip(report["settlements"], settlements, strict=True):
        shared = {name: row[name] for name in row.keys() & listed.keys() if not name.startswith("sum_")}
        assert shared == {name: listed[name] for name in shared}
        assert len(shared) == 12


@pytest.mark.parametrize(
    ("zone", "instant", "day"),
    [
        ("Asia/Jakarta", "2026-11-21 16:59:59.999+00", "2026-11-21"),
        ("Asia/Jakarta", "2026-11-21 17:00+00", "2026-11-22"),
        # The day on which clocks go back has 25 hours, and the one on which they go forward 23.
        ("Europe/Berlin", "2026-10-24 21:59:59+00", "2026-10-24"),
        ("Europe/Berlin", "2026-10-24 22:00+00", "2026-10-25"),
        ("Europe/Berlin", "2026-10-25 22:59:59+00", "2026-10-25"),
        ("Europe/Berlin", "2026-10-25 23:00+00", "2026-10-26"),
    ],
)
async def test_a_day_begins_and_ends_in_report_timezone(settings: Settings, zone: str, instant: str, day: str) -> None:
    async with open_treasury(settings, report_timezone=zone) as treasury:
        await treasury.sent("R1")
        await treasury.past_the_guards(
            "UPDATE t_akselgate_transaction_log SET sent_at = CAST(CAST(:instant AS text) AS timestamptz)",
            instant=instant,
        )
        around = [date.fromisoformat(day) + timedelta(days=days) for days in (-1, 0, 1)]
        reports = [(await treasury.get("report", date=each.isoformat())).json()["settlements"] for each in around]
        assert [len(report) for report in reports] == [0, 1, 0]
