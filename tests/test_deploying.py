"""Compares docs/deploying.md with the program: its units start commands that exist, and the page explains the rotation
of every secret.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from qrtrack.cli import app
from qrtrack.settings import Settings

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/deploying.md").read_text()
FILES = dict(re.findall(r"```ini\n# (/etc/\S+)\n(.*?)\n```", PAGE, re.DOTALL))
UNITS = {name: text for name, text in FILES.items() if name.endswith(".service")}
QRTRACK = str(Path(sys.executable).with_name("qrtrack"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for name, text in FILES.items():
        file = tmp_path / name.removeprefix("/etc/systemd/system/").lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("/opt/qrtrack/venv/bin/qrtrack", QRTRACK))
    named = [str(tmp_path / Path(name).name.replace("@", "@8001")) for name in UNITS]
    (tmp_path / "qrtrack-serve@.service").rename(tmp_path / "qrtrack-serve@8001.service")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *named],
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    complaints = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "qrtrack" in line]
    assert complaints == []


def test_the_units_start_commands_with_options_that_exist() -> None:
    started = [re.findall(r"^ExecStart=\S+/qrtrack (.*)$", text, re.MULTILINE) for text in UNITS.values()]
    assert sorted(command.split()[0] for [command] in started) == ["migrate", "serve", "worker"]
    for [command] in started:
        name, *words = command.split()
        helped = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
        plain = re.sub(r"\x1b\[[0-9;]*m", "", helped)
        assert [word for word in words if word.startswith("--") and word not in plain] == []


def test_a_process_has_as_long_to_stop_as_in_a_container() -> None:
    period = yaml.safe_load((ROOT / "compose.yaml").read_text())["x-qrtrack"]["stop_grace_period"]
    stops = re.findall(r"^TimeoutStopSec=(.*)$", PAGE, re.MULTILINE)
    assert [f"{seconds}s" for seconds in stops] == [period] * 2


def test_the_example_of_settings_names_settings() -> None:
    named = re.findall(r"^([A-Z_]+)=", FILES["/etc/qrtrack/qrtrack.env"], re.MULTILINE)
    assert {name.lower() for name in named} <= set(Settings.model_fields)
    assert {"QRTRACK_ENV", "DATABASE_URL", "PUBLIC_BASE_URL", "SECRET_KEY", "CRON_SECRET"} <= set(named)


def test_every_secret_has_a_line_that_says_how_to_change_it() -> None:
    chapter = PAGE.split("## Changing a secret")[1].split("\n## ")[0]
    told = set(re.findall(r"`([A-Z_]+)`", "".join(re.findall(r"^\|(.*?)\|", chapter, re.MULTILINE))))
    page_of_settings = (ROOT / "docs/settings.md").read_text()
    secrets = set(re.findall(r"^\| `([A-Z_]+)` \| \*secret\*", page_of_settings, re.MULTILINE))
    assert secrets <= told, secrets - told
