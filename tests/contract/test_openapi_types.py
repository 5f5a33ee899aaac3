"""The OpenAPI document as front-end developers use it: types of it compile against what a packing screen does, and
against every request of the documents. Needs node, and once: `npm ci --prefix tests/contract`.
"""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from qrtrack.main import create_app
from qrtrack.settings import Settings

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
TOOLS = HERE / "node_modules/.bin"
EXAMPLE = re.compile(r"^curl.*?(?<!\\)$", re.DOTALL | re.MULTILINE)
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
    document = create_app(Settings(_env_file=None)).openapi()
    (folder / "openapi.json").write_text(json.dumps(document))
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
    """Path template and JSON body of each POST of a page; what the shell would fill in is any text."""
    for command in EXAMPLE.findall(document.read_text()):
        words = shlex.split(re.sub(r"'\$\w+'", "x", command.replace("\\\n", " ")))
        if "-d" in words:
            path = next(word for word in words if word.startswith("$QRTRACK/")).removeprefix("$QRTRACK")
            yield path.replace("$BATCH_ID", "{batch_id}"), words[words.index("-d") + 1]


@pytest.mark.parametrize("page", ["api-tour.md", "progress.md"])
def test_the_requests_of_the_documents_compile(types: Path, page: str) -> None:
    found = list(bodies(DOCS / page))
    assert len(found) >= 3
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
