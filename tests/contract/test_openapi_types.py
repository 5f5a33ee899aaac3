"""The OpenAPI document as front-end developers use it: types of it compile against what a packing screen does, and
against every request of the documents. Needs node, and once: `npm ci --prefix tests/contract`.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qrtrack.main import create_app
from qrtrack.settings import Settings

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
TOOLS = HERE / "node_modules/.bin"
DOCUMENT = create_app(Settings(_env_file=None)).openapi()
# From one curl to the next, or to the end of the block.
COMMAND = re.compile(r"^curl (?:(?!^curl |^```).)*", re.DOTALL | re.MULTILINE)
PATH = re.compile(r'"\$QRTRACK(/[^"?]+)')
BODY = re.compile(r"""-d '((?:[^']|'[^'\s]*\$[^'\s]*')+)'(?=[ \n]|\Z)""")
FILLED_IN = re.compile(r"'[^'\s]*\$[^'\s]*'")
COMPILER = ["--noEmit", "--strict", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler"]

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (TOOLS / "tsc").exists() or not (TOOLS / "openapi-typescript").exists(),
    reason="needs node and what tests/contract/package.json names: npm ci --prefix tests/contract",
)


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the types as `openapi-typescript openapi.json` writes them, without any option."""
    folder = tmp_path_factory.mktemp("types")
    (folder / "openapi.json").write_text(json.dumps(DOCUMENT))
    run(TOOLS / "openapi-typescript", folder / "openapi.json", "-o", folder / "openapi.ts", cwd=HERE)
    return folder


def compiled(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    run(TOOLS / "tsc", *COMPILER, folder / name, cwd=HERE)


def test_a_packing_screen_reads_answers_and_refusals_without_a_cast(types: Path) -> None:
    text = (HERE / "usage.ts").read_text()
    assert " as " not in re.sub(r"//.*", "", text)
    compiled(types, "usage.ts", text)


def test_a_wrong_use_does_not_compile(types: Path) -> None:
    text = (HERE / "usage.ts").read_text().replace("is<number>()(refusal.drift", "is<string>()(refusal.drift")
    with pytest.raises(AssertionError, match="TS2345"):
        compiled(types, "wrong.ts", text)


def bodies(document: Path) -> Iterator[tuple[str, str]]:
    """Path and JSON body of each POST of a page; what the shell would fill in is any text."""
    for command in COMMAND.findall(document.read_text()):
        path, body = PATH.search(command), BODY.search(command)
        if path and body:
            yield template_of(path[1]), FILLED_IN.sub("x", body[1])


def template_of(path: str) -> str:
    """The path of the document that a path of a page is, its shell variables standing for the path's parameters."""
    wanted = re.sub(r"\$\w+", "{}", path)
    templates: dict[str, Any] = DOCUMENT["paths"]
    return next(template for template in templates if re.sub(r"\{\w+\}", "{}", template) == wanted)


@pytest.mark.parametrize("page", ["api-tour.md", "plant.md", "progress.md", "akselgate.md"])
def test_the_requests_of_the_documents_compile(types: Path, page: str) -> None:
    found = list(bodies(DOCS / page))
    # A body that the expressions above do not see would not be compiled.
    commands = COMMAND.findall((DOCS / page).read_text())
    assert len(found) == sum("$QRTRACK" in command and " -d '" in command for command in commands) >= 3
    lines = [
        'import type { paths } from "./openapi";',
        'type Json<T> = { post: { requestBody?: { content: { "application/json": T } } } };',
        "type Body<T> = T extends Json<infer Sent> ? Sent : never;",
        *(
            f"export const sent{place}: Body<paths[{json.dumps(path)}]> = {body};"
            for place, (path, body) in enumerate(found)
        ),
    ]
    compiled(types, page.replace(".md", ".ts"), "\n".join(lines))
