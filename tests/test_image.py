"""What can be checked of image and compose file without a Docker daemon: one image, no root, health checks, time to
stop.
"""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from qrtrack.cli import app
from qrtrack.settings import Settings

ROOT = Path(__file__).parents[1]
DOCKERFILE = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
STAGES = re.split(r"^(?=FROM )", DOCKERFILE, flags=re.MULTILINE)[1:]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
OURS = {name: service for name, service in SERVICES.items() if name != "postgres"}


def instructions(stage: str, name: str) -> list[str]:
    return re.findall(rf"^{name}\s+(.*)$", stage, re.MULTILINE)


def test_the_image_is_built_in_one_stage_and_runs_in_another() -> None:
    build, image = STAGES
    assert " AS build" in instructions(build, "FROM")[0]
    assert instructions(image, "COPY")[0].startswith("--from=build ")
    assert "pip" not in " ".join(instructions(image, "RUN"))


def test_nothing_in_the_image_runs_as_root() -> None:
    image = STAGES[-1]
    [user] = instructions(image, "USER")
    assert user == "qrtrack"
    assert "useradd --system --uid 10001" in image
    assert image.index("USER ") < image.index("ENTRYPOINT ")


def test_dependencies_are_those_that_are_pinned_with_hashes_and_no_others() -> None:
    """The lock is complete (test_lock.py), so pip must not resolve dependencies."""
    installs = re.findall(r"pip (?:--python \S+ )?(?:install|wheel) ([^&\n]*)", STAGES[0])
    assert len(installs) == 4
    assert all("--no-deps" in options for options in installs)
    assert [
        options for options in installs if "-r requirements/" in options and "--require-hashes" not in options
    ] == []


def test_copied_files_exist_and_are_not_ignored() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for stage in STAGES:
        for copied in instructions(stage, "COPY"):
            if not copied.startswith("--from"):
                for source in copied.split()[:-1]:
                    assert (ROOT / source).exists(), source
                    assert source in let_in, source


def test_the_image_says_whether_it_is_alive() -> None:
    [check] = instructions(STAGES[-1], "HEALTHCHECK")
    assert "/healthz" in check
    assert "8000" in check


def test_the_image_holds_no_secret_and_is_production_unless_told_otherwise() -> None:
    assert "QRTRACK_ENV=production" in STAGES[-1]
    set_here = set(re.findall(r"\b([A-Z_]+)=", " ".join(instructions(STAGES[-1], "ENV"))))
    secrets = {name.upper() for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert secrets
    assert set_here.isdisjoint(secrets | {"DATABASE_URL"})


def test_compose_starts_postgresql_a_migration_two_servers_and_a_worker() -> None:
    roles = [service["command"][0] for service in OURS.values()]
    assert sorted(roles) == ["migrate", "serve", "serve", "worker"]
    assert {service["image"] for service in OURS.values()} == {"qrtrack:latest"}
    assert [name for name, service in OURS.items() if "build" in service] == ["migrate"]


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_command_of_compose_is_one_of_the_program(name: str) -> None:
    commands = typer.main.get_command(app)
    role, *options = OURS[name]["command"]
    context = commands.make_context("qrtrack", [role], resilient_parsing=True)
    command = commands.get_command(context, role)  # type: ignore[attr-defined]
    assert command is not None
    command.make_context(role, list(options), parent=context)


def test_the_image_s_own_command_is_one_too() -> None:
    [words] = instructions(STAGES[-1], "CMD")[-1:]
    role, *options = yaml.safe_load(words)
    assert instructions(STAGES[-1], "ENTRYPOINT") == ['["qrtrack"]']
    commands = typer.main.get_command(app)
    context = commands.make_context("qrtrack", [role], resilient_parsing=True)
    commands.get_command(context, role).make_context(role, options, parent=context)  # type: ignore[attr-defined]


def test_services_start_after_the_migration() -> None:
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert "pg_isready" in shlex.join(SERVICES["postgres"]["healthcheck"]["test"])
    for name in OURS.keys() - {"migrate"}:
        assert SERVICES[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}, name


def test_a_container_is_given_longer_to_stop_than_it_takes() -> None:
    takes = Settings(_env_file=None).shutdown_grace_seconds + Settings(_env_file=None).akselgate_deadline_seconds
    for name in SERVICES.keys() - {"migrate"}:
        assert SERVICES[name]["stop_grace_period"] == "75s", name
    assert takes < 75


def test_services_with_a_port_are_asked_for_their_health() -> None:
    for name in OURS.keys() - {"migrate"}:
        options = SERVICES[name]["command"]
        assert options[options.index("--port") + 1] == "8000", name
        assert "healthcheck" not in SERVICES[name], name
    assert SERVICES["migrate"]["healthcheck"] == {"disable": True}


def test_containers_can_do_no_more_than_they_need() -> None:
    for name, service in OURS.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in published)
