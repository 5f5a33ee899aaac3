"""Rules for the repository: requirements are pinned, no file contains the package sources of one machine, and only the
layers that speak HTTP name paths.
"""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))
PACKAGE_SOURCE = re.compile(r"(?<![\w-])--(index-url|extra-index-url|find-links|trusted-host)\b")
ADDRESS = re.compile(r"\b(https?|file)://|^-", re.MULTILINE)


def pins(file: Path) -> dict[str, Requirement]:
    """Returns the pinned requirements of a file by name, without hashes and comments."""
    lines = [line.removesuffix("\\") for line in file.read_text().splitlines() if re.match(r"[A-Za-z0-9]", line)]
    return {canonicalize_name(pin.name): pin for pin in map(Requirement, lines)}


def tracked_files() -> list[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a clone: it looks at the files under version control")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [file for file in files if file.is_file() and file != Path(__file__)]


def test_no_file_names_a_package_source() -> None:
    texts = {file.relative_to(ROOT): file.read_bytes().decode(errors="ignore") for file in tracked_files()}
    assert [name for name, text in texts.items() if PACKAGE_SOURCE.search(text)] == []


@pytest.mark.parametrize("file", REQUIREMENTS, ids=lambda file: file.name)
def test_requirements_hold_no_address_and_no_option(file: Path) -> None:
    assert ADDRESS.findall(file.read_text()) == []


@pytest.mark.parametrize("file", REQUIREMENTS, ids=lambda file: file.name)
def test_every_requirement_is_pinned_to_one_version_with_hashes(file: Path) -> None:
    blocks = re.split(r"^(?=[A-Za-z0-9])", file.read_text(), flags=re.MULTILINE)[1:]
    loose = [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block]
    assert loose == []
    assert all(str(pin.specifier).startswith("==") for pin in pins(file).values())


@pytest.mark.parametrize("name", ["runtime.txt", "build.txt"])
def test_all_requirement_files_pin_the_same_versions(name: str) -> None:
    development = pins(ROOT / "requirements" / "dev.txt")
    pinned = pins(ROOT / "requirements" / name)
    shared = pinned.keys() & development.keys()
    assert {package: str(pinned[package]) for package in shared} == {
        package: str(development[package]) for package in shared
    }


@pytest.mark.parametrize(("name", "extras"), [("runtime.txt", []), ("dev.txt", ["dev"])])
def test_the_pins_are_those_of_the_declared_dependencies(name: str, extras: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [
        *project["dependencies"],
        *(line for extra in extras for line in project["optional-dependencies"][extra]),
    ]
    pinned = pins(ROOT / "requirements" / name)
    stale = [
        line
        for line in declared
        for wanted in [Requirement(line)]
        if (pin := pinned.get(canonicalize_name(wanted.name))) is None
        or not wanted.specifier.contains(str(pin.specifier).removeprefix("=="), prereleases=True)
    ]
    assert stale == [], "run `make lock`"


def test_every_folder_with_python_is_type_checked() -> None:
    folders = {file.relative_to(ROOT).parts[0] for file in tracked_files() if file.suffix == ".py"}
    checked = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["files"]
    assert folders - set(checked) == set(), "add them to `files` of [tool.mypy]"


def test_only_what_speaks_http_names_paths() -> None:
    layers = ["domain", "limits", "models", "postgresql", "repositories", "services", "worker"]
    sources = {file for layer in layers for file in (ROOT / "src" / "qrtrack" / layer).rglob("*.py")}
    assert sources
    assert [str(file) for file in sorted(sources) if "/api/" in file.read_text()] == []
