"""The console's modules and their declarations hold for the TypeScript compiler, in its strict mode."""

import shutil
import subprocess
from pathlib import Path

import pytest

from static_site import STATIC

HERE = Path(__file__).parent
COMPILER = HERE / "node_modules/.bin/tsc"
# As strict as a front end may be, with what browsers of 2022 know.
STRICT = [str(COMPILER), "--noEmit", "--strict", "--target", "es2022", "--lib", "es2022,dom", "--allowJs"]
RESOLUTION = ["--module", "esnext", "--moduleResolution", "bundler"]

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not COMPILER.exists(),
    reason="needs node and, once: npm ci --prefix tests/console",
)


def complaints(*files: Path) -> str:
    done = subprocess.run(
        [*STRICT, *RESOLUTION, *map(str, files)], capture_output=True, text=True, check=False, cwd=HERE
    )
    return done.stdout + done.stderr


def test_the_modules_are_typed() -> None:
    modules = [file for file in sorted(STATIC.glob("*.js")) if file.read_text().startswith("// @ts-check")]
    assert STATIC / "scan.js" in modules
    assert complaints(*modules) == ""
