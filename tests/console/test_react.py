"""use-reverse-job.js with React 18 and 19, under the console's policy."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from endpoint import answer
from static_site import Site

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
# The files of each package, each after those that it needs.
REACT = {
    "18": {
        "react": "react-18/umd/react.development.js",
        "react-dom/client": "react-dom-18/umd/react-dom.development.js",
    },
    "19": {
        "react": "react/cjs/react.development.js",
        "scheduler": "scheduler/cjs/scheduler.development.js",
        "react-dom": "react-dom/cjs/react-dom.development.js",
        "react-dom/client": "react-dom/cjs/react-dom-client.development.js",
    },
}

pytestmark = pytest.mark.skipif(
    not (MODULES / "react").exists(),
    reason="needs what tests/console/package.json names: npm ci --prefix tests/console",
)


def as_modules(packages: Mapping[str, str]) -> dict[str, str]:
    """React comes as CommonJS, which browsers do not load, and the policy forbids to evaluate it."""
    texts = {"/react/packages.js": "export const packages = {}; export const require = (name) => packages[name];"}
    for place, (name, file) in enumerate(packages.items()):
        source = (MODULES / file).read_text().replace("process.env.NODE_ENV", '"development"')
        texts[f"/react/{place}.js"] = (
            'import { packages, require } from "./packages.js"; const module = { exports: {} };'
            f" (function (exports) {{ {source}\n }}).call(globalThis, module.exports);"
            f" packages[{json.dumps(name)}] = module.exports;"
        )
    imports = "".join(f' import "./{place}.js";' for place in range(len(packages)))
    texts["/react/all.js"] = f'export {{ packages }} from "./packages.js";{imports}'
    return texts


@pytest.mark.parametrize("version", REACT)
async def test_components_show_the_job_and_follow_it(page: Page, site: Site, version: str) -> None:
    site.files |= {**as_modules(REACT[version]), "/tests/": HERE}
    states = [("running", 57), ("completed", 100)]
    statuses = [answer(200, json.dumps({"status": status, "progress": progress})) for status, progress in states]
    submitted = answer(200, json.dumps({"success": True, "job_id": "j1", "status": "queued"}))
    site.api = lambda request: submitted if request.path.endswith("/submit") else statuses.pop(0)
    await page.clock.install(time=0)
    await page.clock.pause_at(1000)
    await page.goto(site.plant_url)
    await page.evaluate("import('/tests/react_app.js')")
    assert (await page.title()).startswith(f"{version}.")
    lines = page.get_by_role("status")
    await expect(lines).to_have_text(["no job"] * 2)
    await page.get_by_text("Prepare").first.click()
    await expect(lines).to_have_text(["j1 running 57 true"] * 2)
    await page.clock.run_for(3000)
    await expect(lines).to_have_text(["j1 completed 100 false"] * 2)
    await page.get_by_text("Forget").last.click()
    await expect(lines).to_have_text(["no job"] * 2)
