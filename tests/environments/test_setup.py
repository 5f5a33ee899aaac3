"""`make setup` and `make bench` of a year from now: the index offers a newer release of everything that is pinned.

The Makefile is the real one, and so are make, Python and the pip that it brings. The packages are dummies of the shape
that once failed: pytest-cov needs `coverage[toml]`, the lock pins `coverage`, and a newer `coverage` is in the index.
"""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Builds an editable wheel as hatchling does, without anything to install.
BACKEND = """
import base64, hashlib, pathlib, zipfile
def get_requires_for_build_editable(config_settings=None):
    return []
def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    name = "plant-1.0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(wheel_directory) / name, "w") as wheel:
        wheel.writestr("plant-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: plant\\nVersion: 1.0\\n")
        wheel.writestr("plant-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("plant-1.0.dist-info/RECORD", "")
    return name
"""
REQUIREMENTS: Mapping[str, Sequence[str]] = {
    "backend": ("helper[fast]>=1",),
    "helper": ("runner; extra == 'fast'",),
    "runner": (),
    "pytest-cov": ("coverage[toml]>=1",),
    "coverage": ("reader; extra == 'toml'",),
    "reader": (),
    "queue": ("driver[binary]>=1",),
    "driver": ("driver-binary; extra == 'binary'",),
    "driver-binary": (),
}
LOCKS = {
    "build": ("backend", "helper", "runner"),
    "dev": ("pytest-cov", "coverage", "reader"),
    "bench": ("queue", "driver", "driver-binary"),
}


def make_wheel(folder: Path, name: str, version: str) -> str:
    """The hash of a wheel of one module; the newer release of a package needs one that is nowhere."""
    module, info = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    needs = REQUIREMENTS[name] if version == "1.0" else (*REQUIREMENTS[name], "nowhere-to-be-found")
    extras = "".join(f"Provides-Extra: {extra}\n" for extra in ("fast", "toml", "binary"))
    files = {
        f"{module}.py": BACKEND if name == "backend" else "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{extras}"
        + "".join(f"Requires-Dist: {line}\n" for line in needs),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {path: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()) for path, text in files.items()}
    record = [f"{path},sha256={digest.decode().rstrip('=')}," for path, digest in digests.items()]
    wheel = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,"]))
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh clone of a small project with our Makefile, and an index beside it with two releases of each package."""
    index = tmp_path / "index"
    index.mkdir()
    hashes = {name: make_wheel(index, name, "1.0") for name in REQUIREMENTS}
    for name in REQUIREMENTS:
        make_wheel(index, name, "2.0")
    clone = tmp_path / "clone"
    (clone / "requirements").mkdir(parents=True)
    (clone / "benchmarks").mkdir()
    shutil.copy(ROOT / "Makefile", clone)
    (clone / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["backend"]\nbuild-backend = "backend"\n'
        '[project]\nname = "plant"\nversion = "1.0"\ndependencies = ["coverage"]\n'
    )
    (clone / "benchmarks/__main__.py").write_text("import driver_binary; print('measured')")
    for lock, names in LOCKS.items():
        pins = "".join(f"{name}==1.0 \\\n    --hash=sha256:{hashes[name]}\n" for name in names)
        (clone / f"requirements/{lock}.txt").write_text(pins)
    return clone


def make(clone: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """With nothing of this machine's package sources: the index beside the clone is all there is."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE", "MFLAGS"))}
    sources = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(clone.parent / "index")}
    return subprocess.run(
        ["make", *words, f"PYTHON={sys.executable}"],
        cwd=clone,
        env=kept | sources,
        check=False,
        capture_output=True,
        text=True,
    )


def installed(clone: Path) -> set[str]:
    script = "from importlib.metadata import distributions as d; print(*{f'{x.name}=={x.version}' for x in d()})"
    done = subprocess.run(
        [clone / ".venv/bin/python", "-c", script], check=True, capture_output=True, text=True, cwd=clone.parent
    )
    return {line for line in done.stdout.split() if not line.startswith(("pip==", "setuptools=="))}


pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def test_make_setup_installs_what_the_lock_names(checkout: Path) -> None:
    done = make(checkout, "setup")
    assert done.returncode == 0, done.stderr
    pinned = {f"{name}==1.0" for name in (*LOCKS["build"], *LOCKS["dev"])}
    assert installed(checkout) == pinned | {"plant==1.0"}

    again = make(checkout, "setup")
    assert (again.returncode, again.stdout) == (0, ""), "what is installed already is not installed again"

    done = make(checkout, "bench")
    assert done.returncode == 0, done.stderr
    assert "measured" in done.stdout
    assert installed(checkout) == pinned | {"plant==1.0"} | {f"{name}==1.0" for name in LOCKS["bench"]}


def test_a_release_that_was_changed_after_the_lock_is_refused(checkout: Path) -> None:
    make_wheel(checkout.parent / "index", "coverage", "1.0")
    wheel = checkout.parent / "index/coverage-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("coverage_more.py", "print('not of the lock')")
    done = make(checkout, "setup")
    assert done.returncode != 0
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
    assert not (checkout / ".venv/.installed").exists(), "the next setup tries again"
