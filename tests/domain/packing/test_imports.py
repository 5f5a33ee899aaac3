"""Files of codes printed elsewhere: what is read, and every bad row by its line."""

import gzip
import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrtrack.domain.packing.batches import Variant
from qrtrack.domain.packing.imports import ImportedCodes, read_codes


def read_file(data: bytes) -> ImportedCodes:
    return read_codes(io.BytesIO(data))


def refused(data: bytes | str) -> dict[str, str]:
    """Pointer and detail of every error of the file."""
    read = read_file(data.encode() if isinstance(data, str) else data)
    assert read.mistakes
    return {error.pointer: error.detail for error in read.refusal([]).errors}


def test_a_file_may_have_codes_only() -> None:
    read = read_file(b"code\nOLD-1\nOLD-2\n")
    assert read.mistakes == []
    assert (list(read.codes), list(read.root_keys), list(read.lines)) == (["OLD-1", "OLD-2"], [None, None], [2, 3])
    assert read.variants == [Variant(None, 2)]
    assert read.highest_numbers == {}


@pytest.mark.parametrize(
    "data",
    [
        b"code,root_key,variant\nA1,ZR4K,5g\nA2,QQ7M,5g\n",
        b"\xef\xbb\xbfcode,root_key,variant\r\nA1,ZR4K,5g\r\nA2,QQ7M,5g\r\n",
        b"code;root_key;variant\nA1;ZR4K;5g\nA2;QQ7M;5g",
        b'"variant","code","root_key"\n"5g","A1","ZR4K"\n"5g","A2","QQ7M"\n',
        b" Code , ROOT_KEY , Variant\n a1 , zr4k , 5g\n\n,,\nA2,qq 7m,5g\n",
        b"code,root_key,variant\rA1,ZR4K,5g\rA2,QQ7M,5g\r",
        b"code,root_key,variant,,\nA1,ZR4K,5g,,\nA2,QQ7M,5g,,\n",
        b"code,root_key,variant\nA1,ZR4K,5g,,\nA2,QQ7M,5g, , \n",
        b"code,root_key,variant,,\nA1,ZR4K,5g\nA2,QQ7M,5g\n",
        b"code,,root_key,variant\nA1,,ZR4K,5g\nA2, ,QQ7M,5g\n",
        b'code,root_key,variant," "\nA1,ZR4K,5g,"  "\n" ","",,\nA2," QQ7M ",5g,""\n',
        b"\xef\xbb\xbfCODE;Root_Key;VARIANT;;\r\nA1;ZR4K;5g;;\r\nA2;QQ7M;5g;;\r\n;;;;\r\n",
        b"code,root_key,variant\nA1,ZR4K,5g\nA2,QQ7M,5g\n\n,,,,\n  \n\n",
    ],
    ids=[
        "plain",
        "BOM and CRLF",
        "semicolons",
        "quoted, another order",
        "blanks, blank rows and cases",
        "CR",
        "empty columns",
        "empty columns of rows alone",
        "empty columns of the header alone",
        "empty column between",
        "quoted blanks",
        "empty columns, semicolons and BOM",
        "empty lines at the end",
    ],
)
def test_the_formats_of_spreadsheets_are_read_alike(data: bytes) -> None:
    read = read_file(data)
    assert list(read.codes) == ["A1", "A2"]
    assert list(read.root_keys) == ["ZR4K", "QQ7M"]
    assert read.variants == [Variant("5g", 2)]


def test_a_quoted_variant_may_hold_the_delimiter() -> None:
    assert read_file(b'code,variant\nA1,"5 g, gold"\n').variants == [Variant("5 g, gold", 1)]


def test_rows_are_sorted_by_variant_in_the_order_of_their_first_appearance() -> None:
    read = read_file(b"code,variant\nA1,b\nA2,a\nA3,b\nA4,a\n")
    assert list(read.codes) == ["A1", "A3", "A2", "A4"]
    assert list(read.lines) == [2, 4, 3, 5]
    assert read.variants == [Variant("b", 2), Variant("a", 2)]


def test_root_keys_may_be_given_for_some_codes_only() -> None:
    assert list(read_file(b"code,root_key\nA1,\nA2,ZR4K\nA3\n").root_keys) == [None, "ZR4K", None]


def test_the_highest_number_of_each_prefix_is_found() -> None:
    read = read_file(b"code\nSKA000007\nSKA000003\nXY1000000\nSKA0000009\nFREE-1\n")
    assert read.highest_numbers == {"SKA": 7, "XY": 1_000_000}


def test_every_bad_row_is_named_with_its_line() -> None:
    file = [
        "code,root_key,variant",
        "A1,ZR4K,5g",
        "A 2,,5g",
        "a1,QQ7M,5g",
        "A4,ZR4K,5g",
        "A5,Z,5g",
        f"A6,,{'v' * 65}",
        "A7,,5g,more",
        ",WXYZ,5g",
        f"{'A' * 21},,5g",
        "A9,,5g",
    ]
    errors = refused("\n".join(file))
    assert list(errors) == [
        "/file/3/code",
        "/file/4/code",
        "/file/5/root_key",
        "/file/6/root_key",
        "/file/7/variant",
        "/file/8",
        "/file/9/code",
        "/file/10/code",
    ]
    assert errors["/file/4/code"] == "Line 4 has the code of line 2."
    assert errors["/file/5/root_key"] == "Line 5 has the root key of line 2."


@pytest.mark.parametrize("code", ["ſKA1", "ﬁNE", "straße", "ılk", "SKÄ1", "A\x001", "A\u200b1"])
def test_letters_that_only_look_like_those_of_a_code_are_refused(code: str) -> None:
    assert list(refused(f"code\n{code}\n")) == ["/file/2/code"]


def test_a_root_key_of_other_letters_is_refused() -> None:
    assert list(refused("code,root_key\nA1,ßß\n")) == ["/file/2/root_key"]


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        (b"", "/file/1"),
        (b"serial\nA1\n", "/file/1"),
        (b"A1\nA2\n", "/file/1"),
        (b"code,colour\nA1,red\n", "/file/1"),
        (b"code,code\nA1,A2\n", "/file/1"),
        (b"code\n", "/file"),
        (b"code\n\n \n", "/file"),
        ("code\nA1\n".encode("utf-16"), "/file"),
        (b"code\n\xff\n", "/file"),
        (b"code,variant\nA1,5g\nA2,\n", "/file"),
    ],
    ids=[
        "empty",
        "no code column",
        "no header",
        "unknown column",
        "column twice",
        "no rows",
        "blank rows",
        "UTF-16",
        "not UTF-8",
        "variant missing",
    ],
)
def test_an_unreadable_file_is_refused_with_the_reason(data: bytes, pointer: str) -> None:
    assert list(refused(data)) == [pointer]


def test_an_endless_cell_is_refused_with_its_line() -> None:
    assert "/file/2" in refused(b'code\n"' + b"A" * 200_000 + b'"\n')


def test_a_file_with_too_many_variants_is_refused() -> None:
    rows = "\n".join(f"A{number},v{number}" for number in range(1001))
    assert list(refused(f"code,variant\n{rows}\n")) == ["/file"]


def test_a_file_with_too_many_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qrtrack.domain.packing.imports.ROWS_LIMIT", 2)
    assert len(read_file(b"code\nA1\nA2\n").codes) == 2
    assert list(refused(b"code\nA1\nA2\nA3\n")) == ["/file"]


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_file_is_read_or_refused(data: bytes) -> None:
    for file in (data, b"code,root_key,variant\n" + data):
        read = read_file(file)
        assert len(read.codes) == len(set(read.codes)) == sum(part.quantity for part in read.variants)
        assert read.codes or read.mistakes


def test_a_code_that_reads_as_a_range_is_refused() -> None:
    assert list(refused("code\nA000001\nA000001-A000003\nA-000001\n")) == ["/file/3/code"]


def test_a_code_that_reads_as_another_one_twice_is_refused() -> None:
    assert list(refused("code\nABAB\nSKA000001SKA000001\nA000001A000001\n")) == ["/file/3/code"]


def test_a_quote_that_does_not_end_is_refused() -> None:
    assert "not CSV" in refused('code\n"AB\n')["/file/2"]


def test_mistakes_before_the_unreadable_line_are_named_too() -> None:
    assert list(refused('code\nA1\nA 2\nA3\n"AB\n')) == ["/file/3/code", "/file/5"]
    assert next(iter(refused(b"code\nA1\nA 2\n" + b"A3\n" * 9000 + b"\xff\n"))) == "/file/3/code"


def test_taken_codes_are_named_among_the_other_mistakes_in_the_order_of_the_file() -> None:
    read = read_file(b"code,root_key\nA1,\nA 2,\nA3,Z\nA4,\nA1,\n")
    assert list(read.codes) == ["A1", "A3", "A4"]
    errors = read.refusal(["A4", "A3", "A1"]).errors
    assert [error.pointer for error in errors] == [
        "/file/2/code", "/file/3/code", "/file/4/root_key", "/file/4/code", "/file/5/code", "/file/6/code",
    ]  # fmt: skip
    assert errors[-2].detail == "Line 5, A4: this code exists already, or is reserved for a batch of this service."


def test_the_parsed_file_stays_open() -> None:
    file = io.BytesIO(b"code\nA1\nA 2\n")
    read_codes(file)
    assert file.seek(0) == 0


@pytest.mark.parametrize("row", ["A1,ZR4K,,more", "A1,ZR4K,more", "A1,ZR4K,,,more", '"A1","ZR4K","","more"'], ids=str)
def test_a_cell_in_a_column_without_a_name_is_named_with_its_column(row: str) -> None:
    errors = refused(f"code,root_key,,\n{row}\nA2,QQ7M,,\n")
    place = row.split(",").index(next(cell for cell in row.split(",") if "more" in cell)) + 1
    assert errors == {"/file/2": f"Line 2 has more in column {place}, which the first line does not name."}


def test_a_long_cell_is_not_repeated_whole() -> None:
    assert len(refused("code\nA1," + "x" * 5000 + "\n")["/file/2"]) < 200
    assert len(refused("code," + "x" * 5000 + "\nA1\n")["/file/1"]) < 200


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("serial,root_key", "column code is missing"),
        ("code,colour", "colour is none of them"),
        ("code,root_key,Root_Key", "names root_key twice"),
        ("CODE,code", "names code twice"),
        (",,", "column code is missing"),
        ("code\troot_key", "column code is missing"),
    ],
)
def test_a_header_is_refused_with_what_is_wrong_in_it(header: str, says: str) -> None:
    assert says in refused(f"{header}\nA1,ZR4K\n")["/file/1"]


def workbook() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/worksheets/sheet1.xml", "<worksheet/>")
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (workbook(), "Excel workbook (.xlsx)"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500, "Excel workbook (.xls)"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF"),
        (gzip.compress(b"code\nA1\n"), "gzip"),
        (b"{\\rtf1\\ansi code}", "RTF"),
        (b"<html><table><tr><td>code</td></tr></table></html>", "HTML"),
        ("\ufeffcode\tx\nA1\n".encode("utf-16-le"), "UTF-16"),
        ("\ufeffcode\nA1\n".encode("utf-16-be"), "UTF-16"),
        ("code\nA1\n".encode("utf-16-le"), "UTF-16"),
        ("code\nA1\n".encode("utf-32"), "UTF-16"),
    ],
    ids=["xlsx", "xls", "pdf", "gzip", "rtf", "html", "UTF-16 LE", "UTF-16 BE", "UTF-16 without BOM", "UTF-32"],
)
def test_a_file_of_another_format_is_named_and_what_to_do_with_it(data: bytes, named: str) -> None:
    errors = refused(data)
    assert list(errors) == ["/file"]
    refusal = read_file(data).refusal([])
    for told in (errors["/file"], str(refusal)):
        assert named in told
        assert "save it as CSV" in told
