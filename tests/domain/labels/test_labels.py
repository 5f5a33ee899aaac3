"""Labels as a printer and a scanner get them: every symbol is rendered and read back."""

from collections.abc import Sequence
from datetime import date
from typing import Any, get_args

import pypdfium2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from printed_labels import read_zpl, symbols_of
from qrtrack.domain.labels import zpl
from qrtrack.domain.labels.calibration import RULER, WORDS, draw_calibration, rulers_of
from qrtrack.domain.labels.documents import Checkpoint, FileFormat, LabelWriter, Printing, write_labels
from qrtrack.domain.labels.formats import PRESETS, Calibration, LabelFormat, Roll, Sheet
from qrtrack.domain.labels.labels import CaseLabel, Label, PlacedLabel, case_lines, place_label, unit_lines
from qrtrack.domain.labels.layouts import CUT_TOLERANCE, MODULE, MODULE_AT_TILLS, LabelTooSmall, Resolution
from qrtrack.domain.labels.symbols import encode
from qrtrack.domain.qr import QUIET_ZONE, batch_payload, printed, unit_payload

BASE = "https://verify.example.com"
UNIQ = "ABCDEFGHJKMN"
ANY_LENGTH = Resolution()
CASE = CaseLabel(f"{UNIQ}-C0001", 1, "Sabun Mandi Cair", "10g", "SKA000001", "SKA000100", 100, "verified")
FOR_UNITS = sorted(PRESETS.keys() - {"a4-8", "roll-100x150"})


def payload(number: int) -> str:
    return printed(unit_payload(BASE, UNIQ, f"SKA{number:06d}"))


def placed(
    number: int, label_format: LabelFormat, *, at_tills: bool = False, resolution: Resolution = ANY_LENGTH
) -> PlacedLabel:
    lines = unit_lines(f"SKA{number:06d}", variant=None, lot=None, expires_on=None, root_key=None)
    return place_label(Label(payload(number), lines), label_format, at_tills=at_tills, resolution=resolution)


def document(label_format: LabelFormat, labels: Sequence[PlacedLabel], **options: Any) -> bytes:
    return b"".join(write_labels(Printing(label_format, **options), labels))


def zpl_rows(label_format: LabelFormat, labels: Sequence[PlacedLabel], dpi: zpl.Dpi, **options: Any) -> list[str]:
    """Each `^XA … ^XZ`."""
    written = write_labels(Printing(label_format, FileFormat.ZPL, dpi=dpi, **options), labels)
    return [row.decode() for row in written if row]


@pytest.mark.parametrize("dpi", [203, 300, 600])
@pytest.mark.parametrize("name", FOR_UNITS)
def test_every_symbol_of_a_page_reads_back_to_its_payload(name: str, dpi: int) -> None:
    label_format = PRESETS[name]
    numbers = range(1, min(label_format.labels_per_page, 6) + 1)
    pdf = document(label_format, [placed(number, label_format) for number in numbers])
    assert sorted(text for _, text in symbols_of(pdf, dpi)) == sorted(map(payload, numbers))


@pytest.mark.parametrize("name", ["a4-8", "roll-100x150"])
def test_case_labels_read_back_to_the_master_code(name: str) -> None:
    label = place_label(Label(CASE.master_code, case_lines(CASE)), PRESETS[name], at_tills=False, resolution=ANY_LENGTH)
    pdf = document(PRESETS[name], [label])
    assert [text for _, text in symbols_of(pdf, 203)] == [CASE.master_code]
    text = pypdfium2.PdfDocument(pdf)[0].get_textpage().get_text_range()
    assert text.split() == [
        CASE.master_code, "CASE", "1", "Sabun", "Mandi", "Cair", "10g",
        "SKA000001", "SKA000100", "100", "PCS", "VERIFIED",
    ]  # fmt: skip


def test_a_symbol_of_modules_of_0_4_mm_also_reads_at_150_dpi() -> None:
    label_format = PRESETS["a4-24"]
    label = placed(1, label_format)
    assert label.layout.module >= 0.4
    assert [text for _, text in symbols_of(document(label_format, [label]), 150)] == [payload(1)]


@pytest.mark.parametrize(
    ("name", "first", "second", "below"),
    [
        ("a4-65", (4.75, 10.70), 40.6, 21.2),
        ("a4-40", (9.75, 21.5), 48.25, 25.4),
        ("a4-24", (7.25, 12.9), 66.0, 33.9),
        ("a4-21", (7.25, 15.15), 66.0, 38.1),
        ("a4-8", (4.67, 13.04), 101.64, 67.73),
    ],
)
def test_labels_lie_where_the_sheet_has_them(
    name: str, first: tuple[float, float], second: float, below: float
) -> None:
    """The outlines of the calibration page, as a reader of PDF sees them."""
    sheet = PRESETS[name]
    assert isinstance(sheet, Sheet)
    page = pypdfium2.PdfDocument(draw_calibration(PRESETS[name]))[0]
    [paths] = [thing for thing in page.get_objects() if thing.type == pypdfium2.raw.FPDF_PAGEOBJ_PATH]
    left, bottom, right, top = (side / 72 * 25.4 for side in paths.get_bounds())
    assert (left, 297 - top) == pytest.approx(first, abs=0.11)
    assert right == pytest.approx(first[0] + (sheet.columns - 1) * second + sheet.width, abs=0.11)
    assert 297 - bottom == pytest.approx(first[1] + (sheet.rows - 1) * below + sheet.height, abs=0.11)
    origins = list(sheet.origins())
    assert origins[0] == pytest.approx(first, abs=0.01)
    assert origins[1] == pytest.approx((first[0] + second, first[1]), abs=0.01)
    assert origins[sheet.columns] == pytest.approx((first[0], first[1] + below), abs=0.01)


def test_a_symbol_is_drawn_at_its_place_within_a_hundredth_of_a_millimetre() -> None:
    label_format = PRESETS["a4-65"]
    labels = [placed(number, label_format) for number in range(1, 8)]
    page = pypdfium2.PdfDocument(document(label_format, labels))[0]
    paths = [thing.get_bounds() for thing in page.get_objects() if thing.type == pypdfium2.raw.FPDF_PAGEOBJ_PATH]
    found = [(left / 72 * 25.4, 297 - top / 72 * 25.4) for left, _, _, top in paths]
    expected = [
        (x + label.layout.x, y + label.layout.y) for (x, y), label in zip(label_format.origins(), labels, strict=False)
    ]
    assert [place[0] for place in found] == pytest.approx([place[0] for place in expected], abs=0.01)
    assert [place[1] for place in found] == pytest.approx([place[1] for place in expected], abs=0.01)


def test_a_reader_may_not_fit_the_page_to_the_paper() -> None:
    label_format = PRESETS["a4-65"]
    assert b"/ViewerPreferences<</PrintScaling/None>>" in document(label_format, [placed(1, label_format)])


def test_a_started_sheet_is_used_up_first() -> None:
    label_format = PRESETS["a4-65"]
    pdf = document(label_format, [placed(number, label_format) for number in (1, 2, 3)], start_at=64)
    assert sorted((page, text) for page, text in symbols_of(pdf, 203)) == [
        (0, payload(1)), (0, payload(2)), (1, payload(3)),
    ]  # fmt: skip


def test_a_calibration_moves_and_stretches_what_is_printed() -> None:
    label_format = PRESETS["a4-24"]
    label = placed(1, label_format)
    calibration = Calibration(dx=1.5, dy=-2.0, scale_x=1.01, scale_y=0.99)
    left, _, _, top = next(
        iter(pypdfium2.PdfDocument(document(label_format, [label], calibration=calibration))[0].get_objects())
    ).get_bounds()
    x, y = label_format.left + label.layout.x, label_format.top + label.layout.y  # type: ignore[union-attr]
    assert left / 72 * 25.4 == pytest.approx(x * 1.01 + 1.5, abs=0.01)
    assert 297 - top / 72 * 25.4 == pytest.approx(y * 0.99 - 2.0, abs=0.01)


def test_the_rulers_of_the_calibration_page_are_100_mm_long() -> None:
    page = pypdfium2.PdfDocument(draw_calibration(Roll(150.0, 150.0)))[0]
    image = page.render(scale=600 / 72).to_pil().convert("L")
    dots = 600 / 25.4
    middle = round(75 * dots)
    row = [x for x in range(round(10 * dots), round(140 * dots)) if image.getpixel((x, middle)) < 128]
    assert (row[-1] - row[0]) / dots == pytest.approx(RULER, abs=0.2)


@pytest.mark.parametrize("language", WORDS)
@pytest.mark.parametrize("name", PRESETS)
def test_the_calibration_page_says_what_to_measure(name: str, language: str) -> None:
    """All words lie within the page, and no letter is a question mark."""
    page = pypdfium2.PdfDocument(draw_calibration(PRESETS[name], language))[0]
    across, down = rulers_of(PRESETS[name])
    said = page.get_textpage().get_text_bounded().split()
    assert said == WORDS[language].format(across=across, down=down).split()
    for thing in page.get_objects():
        if thing.type == pypdfium2.raw.FPDF_PAGEOBJ_TEXT:
            left, bottom, right, top = thing.get_bounds()
            assert 0 < left < right < page.get_width()
            assert 0 < bottom < top < page.get_height()


def test_the_smallest_labels_have_a_calibration_page_without_words() -> None:
    page = pypdfium2.PdfDocument(draw_calibration(Roll(5.0, 5.0)))[0]
    assert page.get_textpage().get_text_bounded() == ""


@pytest.mark.parametrize("resolution", [Resolution(), Resolution(203), Resolution(300), Resolution(600)])
@pytest.mark.parametrize("at_tills", [False, True])
@settings(max_examples=25, deadline=None)
@given(
    width=st.floats(15, 120), height=st.floats(15, 160), number=st.integers(1, 999_999),
    variant=st.none() | st.text("abc 10g", min_size=1, max_size=20),
)  # fmt: skip
def test_a_placed_label_keeps_its_quiet_zone_and_legible_modules(
    resolution: Resolution, *, at_tills: bool, width: float, height: float, number: int, variant: str | None
) -> None:
    lines = unit_lines(f"SKA{number:06d}", variant=variant, lot="L1", expires_on=date(2027, 12, 31), root_key="ZR4K")
    label_format = Roll(width, height)
    try:
        label = place_label(Label(payload(number), lines), label_format, at_tills=at_tills, resolution=resolution)
    except LabelTooSmall as refusal:
        # The size that the refusal names would do.
        [error] = refusal.errors
        label_format = Roll(width := error.params["width"], height := error.params["height"])
        label = place_label(Label(payload(number), lines), label_format, at_tills=at_tills, resolution=resolution)
    layout, side = label.layout, label.symbol.modules * label.layout.module
    quiet, dot = QUIET_ZONE * layout.module, 0 if resolution.dpi is None else 25.4 / resolution.dpi
    assert layout.module >= (MODULE_AT_TILLS if at_tills else MODULE) - 0.001
    assert layout.x >= CUT_TOLERANCE + quiet - dot - 1e-6
    assert layout.y >= CUT_TOLERANCE + quiet - dot - 1e-6
    assert layout.x + side + quiet <= width - CUT_TOLERANCE + 1e-6
    assert layout.y + side + quiet <= height - CUT_TOLERANCE + 1e-6
    text_width = 0.6 * layout.type_size * max(map(len, lines))
    text_height = 1.15 * layout.type_size * len(lines)
    assert layout.text_x >= CUT_TOLERANCE - 1e-6
    assert layout.text_x + text_width <= width - CUT_TOLERANCE + 1e-6
    assert layout.text_y + text_height <= height - CUT_TOLERANCE + 1e-6
    assert layout.text_x >= layout.x + side + quiet - 1e-6 or layout.text_y >= layout.y + side + quiet - dot - 1e-6
    if resolution.dpi is not None:
        for length in (layout.module, layout.x, layout.y):
            assert abs(length / dot - round(length / dot)) < 1e-6


def test_a_label_that_is_too_small_is_refused_with_formats_that_would_do() -> None:
    with pytest.raises(LabelTooSmall, match=r"Take one of a4-65, a4-40, .* or labels of at least 14 x 15 mm"):
        placed(1, Roll(25.4, 10.0))
    with pytest.raises(LabelTooSmall, match=r"modules of at least 0\.396 mm"):
        placed(1, Roll(25.0, 15.0), at_tills=True)


def test_a_label_too_narrow_for_its_text_is_refused_without_blaming_the_symbol() -> None:
    narrow = Roll(20.0, 60.0)
    place_label(Label(payload(1), ["SKA000001"]), narrow, at_tills=False, resolution=Resolution())
    with pytest.raises(LabelTooSmall, match=r"20 x 60 mm is too small for the symbol \(.*\) and its text\. .* 22 x"):
        place_label(Label(payload(1), ["W" * 24]), narrow, at_tills=False, resolution=Resolution())


def test_text_stands_beside_the_symbol_where_the_height_lacks() -> None:
    low, high = placed(1, PRESETS["a4-65"]), placed(1, Roll(30.0, 60.0))
    assert low.layout.text_x > low.layout.x + low.symbol.modules * low.layout.module
    assert high.layout.text_y > high.layout.y + high.symbol.modules * high.layout.module


def test_the_rectangles_of_a_symbol_cover_each_dark_module_once() -> None:
    symbol = encode(payload(1))
    covered = [
        (x + column, y + row)
        for x, y, width, height in symbol.rectangles()
        for column in range(width)
        for row in range(height)
    ]
    dark = {(x, y) for y, row in enumerate(symbol.matrix) for x, module in enumerate(row) if module}
    assert len(covered) == len(set(covered))
    assert set(covered) == dark


def test_a_short_payload_is_a_full_qr_code() -> None:
    assert encode("A1").modules == 21


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (unit_payload(BASE, UNIQ, "SKA000001"), "HTTPS://VERIFY.EXAMPLE.COM/Q/ABCDEFGHJKMN/SKA000001"),
        (batch_payload(BASE, UNIQ), "HTTPS://VERIFY.EXAMPLE.COM/Q/ABCDEFGHJKMN"),
        (
            unit_payload(BASE, UNIQ, "SKA1", gtin="9521234543213", lot="AB/1"),
            "HTTPS://VERIFY.EXAMPLE.COM/01/09521234543213/10/AB%2F1/21/SKA1",
        ),
        *(
            (same, same)
            for same in (
                unit_payload(BASE, UNIQ, "SKA1", gtin="9521234543213", expires_on=date(2027, 12, 31)),
                unit_payload(BASE, UNIQ, "SKA1", gtin="9521234543213", lot="lower"),
                unit_payload(BASE, UNIQ, "SKA_1"),
                unit_payload("https://example.com/path", UNIQ, "SKA1"),
            )
        ),
    ],
)
def test_an_address_is_printed_in_upper_case_only_where_no_value_changes(address: str, expected: str) -> None:
    assert printed(address) == expected


def test_upper_case_saves_a_version() -> None:
    address = unit_payload(BASE, UNIQ, "SKA000001")
    assert (encode(address).modules, encode(printed(address)).modules) == (33, 29)


@pytest.mark.parametrize("dpi", get_args(zpl.Dpi))
def test_a_printer_gets_payload_level_and_whole_dots(dpi: zpl.Dpi) -> None:
    label_format = PRESETS["roll-50x30"]
    label = placed(1, label_format, resolution=Resolution(dpi))
    (stream,) = zpl_rows(label_format, [label], dpi)
    width, length = round(50 * dpi / 25.4), round(30 * dpi / 25.4)
    assert stream.startswith(f"^XA^CI28^PW{width}^LL{length}^LH0,0^PR2^BY2,")
    assert stream.endswith("^XZ\r\n")
    assert "^PQ" not in stream
    symbol, text = read_zpl(stream)
    magnification = symbol[2]
    assert magnification is not None
    assert magnification * 25.4 / dpi >= 0.33
    assert magnification <= 10
    assert (symbol[3], text[3]) == (f"MA,{payload(1)}", "SKA000001")
    assert symbol[0] == pytest.approx(label.layout.x * dpi / 25.4, abs=0.01)
    assert symbol[1] + 10 == pytest.approx(label.layout.y * dpi / 25.4, abs=0.01)


def test_zpl_commands_in_texts_are_escaped() -> None:
    label_format = PRESETS["roll-50x30"]
    label = place_label(
        Label("A^XZ~JA_1", ["^XA~HS", "a_b\n"]), label_format, at_tills=False, resolution=Resolution(203)
    )
    (stream,) = zpl_rows(label_format, [label], 203)
    assert stream.count("^XA") == stream.count("^XZ") == 1
    assert "~" not in stream
    assert [field[3] for field in read_zpl(stream)] == ["MA,A^XZ~JA_1", "^XA~HS", "a_b\n"]


def test_labels_abreast_are_one_row_each() -> None:
    label_format = Roll(30.0, 20.0, across=3, gap=2.0)
    labels = [placed(number, label_format, resolution=Resolution(300)) for number in range(1, 5)]
    rows = [read_zpl(row) for row in zpl_rows(label_format, labels, 300)]
    symbols = [[field for field in row if field[2]] for row in rows]
    assert [len(row) for row in symbols] == [3, 1]
    assert symbols[0][1][0] - symbols[0][0][0] == round(32 * 300 / 25.4)


@pytest.mark.parametrize("file_format", FileFormat)
@pytest.mark.parametrize("start_at", [1, 3])
def test_a_file_that_is_continued_after_any_page_is_the_file_that_was_written_at_once(
    file_format: FileFormat, start_at: int
) -> None:
    printing = Printing(Roll(40.0, 30.0, across=3), file_format, start_at)
    labels = [placed(number, printing.label_format, resolution=printing.resolution) for number in range(1, 9)]
    whole = b"".join(write_labels(printing, labels))
    checkpoint, written, waiting = Checkpoint(), b"", labels
    while waiting:
        writer = LabelWriter(printing, checkpoint)
        page, waiting = waiting[: writer.room], waiting[writer.room :]
        written += writer.page(page)
        checkpoint = Checkpoint(checkpoint.labels + len(page), len(written), writer.offsets)
    written += LabelWriter(printing, checkpoint).close()
    assert written == whole
