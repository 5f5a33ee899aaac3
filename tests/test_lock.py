"""The lock is complete. Setup, image and benchmarks install only what it names (`--no-deps`), so each requirement of a
pinned package must be pinned too, with its extras, and on every Python and system.
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from email import message_from_string
from email.message import Message
from importlib import metadata
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PYPROJECT: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
DEPENDENCIES: list[str] = PYPROJECT["project"]["dependencies"]
EXTRAS: Mapping[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]
# What each file is for. hatchling asks for `editables` itself when it builds an editable wheel.
ROOTS = {
    "runtime": DEPENDENCIES,
    "dev": [*DEPENDENCIES, *EXTRAS["dev"]],
    "bench": [*DEPENDENCIES, *EXTRAS["bench"]],
    "build": [*PYPROJECT["build-system"]["requires"], "editables"],
}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SYSTEMS = (("linux", "Linux", "x86_64"), ("linux", "Linux", "aarch64"), ("darwin", "Darwin", "arm64"))
ENVIRONMENTS = [
    {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": system,
        "platform_version": "",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": platform,
    }
    for python in PYTHONS
    for platform, system, machine in SYSTEMS
]


def locked(name: str) -> list[Requirement]:
    lines = (ROOT / f"requirements/{name}.txt").read_text().splitlines()
    return [Requirement(line.removesuffix("\\")) for line in lines if re.match(r"[A-Za-z0-9]", line)]


def is_for(requirement: Requirement, environment: dict[str, str], extra: str = "") -> bool:
    return requirement.marker is None or requirement.marker.evaluate(environment | {"extra": extra})


def gaps(
    roots: list[str], pins: list[Requirement], packages: Mapping[str, Message], environment: dict[str, str]
) -> Iterator[str]:
    """Yields the requirements of the roots in this environment, direct or indirect, that no pin satisfies."""
    pinned = {canonicalize_name(pin.name): pin for pin in pins if is_for(pin, environment)}
    waiting, seen = [(Requirement(line), "") for line in roots], set[tuple[str, str]]()
    while waiting:
        wanted, extra = waiting.pop()
        if not is_for(wanted, environment, extra):
            continue
        name = canonicalize_name(wanted.name)
        if name not in pinned or not wanted.specifier.contains(str(pinned[name].specifier)[2:], prereleases=True):
            yield f"{wanted} on {environment['python_version']} {environment['sys_platform']}"
            continue
        for needed in {"", *wanted.extras} - {known for package, known in seen if package == name}:
            seen.add((name, needed))
            lines = packages[name].get_all("Requires-Dist", [])
            waiting += [(Requirement(line), needed) for line in lines]


def installed(pins: list[Requirement]) -> dict[str, Message]:
    """Returns the metadata of the pinned packages that this environment has in the pinned version."""
    found = {canonicalize_name(each.metadata["Name"]): each for each in metadata.distributions()}
    return {
        name: message_from_string(found[name].read_text("METADATA") or "")
        for pin in pins
        if (name := canonicalize_name(pin.name)) in found and f"=={found[name].version}" == str(pin.specifier)
    }


def downloaded(pins: list[Requirement], folder: Path) -> dict[str, Message]:
    """Returns the metadata of the pinned packages from the package index. Skips the test if there is no index."""
    wanted = [f"{pin.name}{pin.specifier}" for pin in pins]
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--retries", "0", "--dest", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", *options, *wanted], check=False, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"needs a package index, for what only the benchmarks use: {done.stderr.strip()[-200:]}")
    packages: dict[str, Message] = {}
    for wheel in folder.glob("*.whl"):
        with ZipFile(wheel) as archive:
            [name] = [name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
            package = message_from_string(archive.read(name).decode())
        packages[canonicalize_name(package["Name"])] = package
    return packages


@pytest.fixture(scope="module", params=sorted(ROOTS))
def lock(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Message]]:
    """The name of a requirements file, and the metadata of its packages."""
    name = str(request.param)
    packages = installed(locked(name))
    missing = [pin for pin in locked(name) if canonicalize_name(pin.name) not in packages]
    assert name == "bench" or missing == [], "run `make setup`"
    return name, packages | (downloaded(missing, tmp_path_factory.mktemp("wheels")) if missing else {})


def test_all_that_is_needed_is_pinned_on_every_python_and_system(lock: tuple[str, dict[str, Message]]) -> None:
    name, packages = lock
    found = {gap for environment in ENVIRONMENTS for gap in gaps(ROOTS[name], locked(name), packages, environment)}
    assert sorted(found) == [], "run `make lock`"


def test_every_pin_runs_on_every_python(lock: tuple[str, dict[str, Message]]) -> None:
    _, packages = lock
    refusing = [
        f"{package['Name']} {package['Requires-Python']}"
        for package in packages.values()
        if not all(SpecifierSet(package.get("Requires-Python", "")).contains(f"{python}.0") for python in PYTHONS)
    ]
    assert refusing == []


@pytest.mark.parametrize(
    ("roots", "pins", "gap"),
    [
        (["tool"], ["tool==1"], None),
        (["tool[toml]"], ["tool==1"], "reader>=2; extra == 'toml'"),
        (["tool[toml]"], ["tool==1", "reader==2"], None),
        (["tool[toml]"], ["tool==1", "reader==1"], "reader>=2; extra == 'toml'"),
        (["tool[all]"], ["tool==1"], "reader>=2; extra == 'toml'"),
        (["other"], ["other==1"], "tool[toml]"),
        (["tool[new]"], ["tool==1"], 'backport; python_version >= "3.14" and extra == "new"'),
        (["tool[new]"], ["tool==1", 'backport==1; python_version >= "3.14"'], None),
        (["tool>1"], ["tool==1"], "tool>1"),
    ],
)
def test_a_gap_is_found(roots: list[str], pins: list[str], gap: str | None) -> None:
    requirements = {
        "tool": [
            "reader>=2; extra == 'toml'",
            "tool[toml]; extra == 'all'",
            "backport; python_version >= '3.14' and extra == 'new'",
        ],
        "other": ["tool[toml]"],
        "reader": [],
        "backport": [],
    }
    packages = {
        name: message_from_string("".join(f"Requires-Dist: {line}\n" for line in lines))
        for name, lines in requirements.items()
    }
    found = {
        each.partition(" on ")[0]
        for environment in ENVIRONMENTS
        for each in gaps(roots, [Requirement(pin) for pin in pins], packages, environment)
    }
    assert found == ({str(Requirement(gap))} if gap else set())
