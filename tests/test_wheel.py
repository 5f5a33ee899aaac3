"""The contents of the wheel."""

from pathlib import Path
from zipfile import ZipFile

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]
CONSOLE = ROOT / "src/qrtrack/console"


def test_the_wheel_contains_all_files_of_the_console(tmp_path: Path) -> None:
    """Scripts, templates, texts, and the WebAssembly that reads codes for the camera."""
    [wheel] = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    files = [file for file in CONSOLE.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    assert CONSOLE / "static/zxing_reader.wasm" in files
    assert {str(file.relative_to(ROOT / "src")) for file in files} - packed == set()
