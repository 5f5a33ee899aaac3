"""The console's modules, their declarations and the blocks of docs/front-end.md compile in TypeScript's strict mode."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from qrtrack.main import create_app
from qrtrack.settings import Settings
from static_site import STATIC

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs/front-end.md").read_text()
TOOLS = HERE / "node_modules/.bin"
# As strict as a front end may be, with what browsers of 2022 know.
COMPILER = [
    *(str(TOOLS / "tsc"), "--noEmit", "--strict", "--target", "es2022", "--lib", "es2022,dom,dom.iterable"),
    *("--module", "esnext", "--moduleResolution", "bundler", "--allowJs", "--jsx", "react-jsx"),
]

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (TOOLS / "tsc").exists(),
    reason="needs node and, once: npm ci --prefix tests/console",
)


def complaints(*files: Path) -> str:
    words = [*COMPILER, *map(str, files)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=files[0].parent)
    return done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A front end's folder with the modules, packages, and the types of the OpenAPI document as the page makes them."""
    (tmp_path / "node_modules").symlink_to(HERE / "node_modules")
    for file in STATIC.glob("*.js"):
        shutil.copy(file, tmp_path)
    for file in STATIC.glob("*.d.ts"):
        shutil.copy(file, tmp_path)
    (tmp_path / "openapi.json").write_text(json.dumps(create_app(Settings(_env_file=None)).openapi()))
    words = [str(TOOLS / "openapi-typescript"), "openapi.json", "-o", "qrtrack.d.ts"]
    subprocess.run(words, check=True, capture_output=True, cwd=tmp_path)
    return tmp_path


def test_the_modules_are_typed() -> None:
    modules = [file for file in sorted(STATIC.glob("*.js")) if file.read_text().startswith("// @ts-check")]
    assert STATIC / "scan.js" in modules
    assert complaints(*modules) == ""


COMPARISON = """
import * as made from "./reverse-job-made.js"; import * as said from "./reverse-job.js";
import * as madeHook from "./use-reverse-job-made.js"; import * as saidHook from "./use-reverse-job.js";
export const hook: typeof saidHook = madeHook;
export const create: typeof said.createReverseJob = made.createReverseJob;
export const error: said.ReverseJobError = new made.ReverseJobError("network", "No connection");
export const all: Record<keyof typeof said, unknown> = made;
"""


def test_the_declarations_say_what_the_modules_are(project: Path) -> None:
    """A .d.ts hides the .js beside it. Under another name the module is compared with its declaration."""
    for name in ("reverse-job", "use-reverse-job"):
        script = (project / f"{name}.js").read_text()
        code = re.sub(r"/\*.*?\*/|//[^\n]*", "", script, flags=re.DOTALL)
        assert not re.search(r"\b(import|require)\b", code), f"{name}.js has no dependencies: others copy it"
        (project / f"{name}-made.js").write_text(script)
    (project / "comparison.ts").write_text(COMPARISON)
    assert complaints(project / "comparison.ts") == ""


def test_the_console_follows_jobs_with_the_module_that_it_offers() -> None:
    assert 'from "./reverse-job.js"' in (STATIC / "excluding.js").read_text()


# Each of these in a block is an error, and nothing else is.
MISTAKES = {
    "jobStatus.progress": "jobStatus.percent",
    "exclude_codes: []": "exclude_code: []",
    "createUseReverseJob(React)": "createUseReverseJob({})",
    "error.available": "error.availible",
    "({ text, layout })": "({ code, layout })",
}


def test_the_blocks_of_the_page_compile_and_a_wrong_use_does_not(project: Path) -> None:
    blocks = re.findall(r"```(tsx?)\n(.*?)```", PAGE, re.DOTALL)
    files, wrong = [], set()
    for place, (kind, text) in enumerate(blocks):
        files.append(project / f"block{place}.{kind}")
        files[-1].write_text(text)
        for number, (right, mistake) in enumerate(MISTAKES.items()):
            if right in text:
                files.append(project / f"wrong{place}_{number}.{kind}")
                files[-1].write_text(text.replace(right, mistake))
                wrong.add(files[-1].name)
    assert len(blocks) == 6
    assert len(wrong) >= len(MISTAKES)
    assert set(re.findall(r"^([^(\n]+)\(\d+,\d+\): error", complaints(*files), re.MULTILINE)) == wrong
