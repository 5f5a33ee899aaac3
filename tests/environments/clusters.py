"""Real clusters of PostgreSQL, made as a provider makes them: TCP and passwords only, the superuser kept to itself."""

import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cluster import needed
from environments.machine import Machine
from process import free_port

# The oldest version that is supported, the first whose implicit grants changed, and the newest.
VERSIONS = (15, 16, 18)
SUPERUSER = "provider"
# Small WAL segments: clusters are copied and removed in a moment.
INITDB = f"""
--username={SUPERUSER} --auth-host=scram-sha-256 --auth-local=scram-sha-256
--wal-segsize=1 --no-sync --no-instructions
"""
# Crashes are of processes, never of the machine: the pages that a killed server has written stay, without fsync too.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "150",
    "shared_buffers": "32MB",
    "fsync": "off",
    "wal_level": "replica",
    "max_wal_senders": "5",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
START_SECONDS = 60

Rows = list[tuple[str, ...]]


@dataclass
class Owner:
    """A user of a provider's customer: no superuser."""

    name: str
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12))


class Cluster:
    """One server. It is not running until `start`; `Clusters` makes them."""

    def __init__(self, machine: Machine, version: int, data: Path, password: str, settings: Mapping[str, str]) -> None:
        self.version, self.data, self.port = version, data, free_port()
        self._machine, self._bin, self._password = machine, needed(version), password
        self._settings = {**SETTINGS, **settings}
        self._log = machine.folder / f"postgresql-{version}-{self.port}.log"
        self._process: subprocess.Popen[Any] | None = None

    # The life of the server

    def start(self) -> None:
        """Returns when the server takes connections; after a crash it has recovered by then."""
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        command = [self._bin / "postgres", "-D", self.data, "-p", str(self.port), *options]
        self._process = self._machine.serve(command, self._log)
        over = time.monotonic() + START_SECONDS
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > over:
                raise RuntimeError(f"PostgreSQL {self.version} does not start:\n{self.log()[-2000:]}")
            time.sleep(0.05)

    def stop(self, mode: str = "fast") -> None:
        """`smart`, `fast` or `immediate`, as pg_ctl calls them; returns when the server has ended."""
        number = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode]
        process, self._process = self._process, None
        assert process is not None, "the server does not run"
        process.send_signal(number)
        process.wait(60)

    def crash(self) -> None:
        """What the server had not written to its WAL files is lost, as in a crash of the machine."""
        self.stop("immediate")

    def set(self, **settings: str) -> None:
        """Settings of the next start."""
        self._settings |= settings

    def reject(self, database: str, user: str) -> None:
        """pg_hba.conf refuses the user in this database from now on."""
        file = self.data / "pg_hba.conf"
        file.write_text(f"host {database} {user} all reject\n{file.read_text()}")
        self.sql("SELECT pg_reload_conf()")

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def _accepts(self) -> bool:
        try:
            self.sql("SELECT 1")
        except RuntimeError:
            return False
        return True

    # What an administrator does

    def sql(self, statement: str, database: str = "postgres", *, owner: Owner | None = None) -> Rows:
        """One statement, as the superuser or as an owner; rows of text as psql prints it, NULL as ''."""
        user, password = (owner.name, owner.password) if owner else (SUPERUSER, self._password)
        address = f"host=127.0.0.1 port={self.port} dbname={database} user={user} connect_timeout=60"
        command = [self._bin / "psql", "-XAtq", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d", address, "-c", statement]
        done = self._machine.run(command, PGPASSWORD=password)
        return [tuple(line.split("\t")) for line in done.stdout.splitlines()]

    def owner(self, name: str, *, createrole: bool = False, password: str | None = None) -> Owner:
        """A user who may log in and nothing else, with CREATEROLE if wanted."""
        owner = Owner(name) if password is None else Owner(name, password)
        right = "CREATEROLE" if createrole else "NOCREATEROLE"
        secret = owner.password.replace("'", "''")
        self.sql(f"CREATE ROLE \"{name}\" LOGIN NOSUPERUSER NOCREATEDB {right} PASSWORD '{secret}'")
        return owner

    def database(
        self, name: str, owner: Owner, *, encoding: str = "UTF8", settings: Mapping[str, str] | None = None
    ) -> str:
        """A database of the owner with the provider's settings (ALTER DATABASE); returns its URL."""
        self.sql(
            f'CREATE DATABASE "{name}" OWNER "{owner.name}" TEMPLATE template0'
            f" ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
        )
        for setting, value in (settings or {}).items():
            self.sql(f"ALTER DATABASE \"{name}\" SET {setting} = '{value}'")
        return self.url(owner, name)

    def url(self, owner: Owner, database: str, *, host: str | None = None, query: str = "") -> str:
        """As a provider prints it. `host` is a host with its port, when it is not this server's own."""
        user, password = quote(owner.name, safe=""), quote(owner.password, safe="")
        return f"postgresql://{user}:{password}@{host or self.host}/{quote(database, safe='')}{query and '?' + query}"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    # Replication

    def standby(self, **settings: str) -> "Cluster":
        """A streaming replica, running. `promote` makes it the primary."""
        data = self._machine.subfolder("standby") / "data"
        source = f"host=127.0.0.1 port={self.port} user={SUPERUSER}"
        base = [self._bin / "pg_basebackup", "-D", data, "-d", source, "-X", "stream", "-c", "fast", "-R"]
        self._machine.run(base, PGPASSWORD=self._password)
        replica = Cluster(self._machine, self.version, data, self._password, {**self._settings, **settings})
        replica.start()
        return replica

    def promote(self) -> None:
        """Returns when the server takes writes."""
        assert self.sql("SELECT pg_promote(true, 60)") == [("t",)]


class Clusters:
    """Makes clusters. initdb runs once a version: each cluster begins as a copy of its files."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._made: dict[tuple[int, str, str], tuple[Path, str]] = {}

    def cluster(self, version: int, *, encoding: str = "UTF8", locale: str = "C", **settings: str) -> Cluster:
        """A new running cluster."""
        key = (version, encoding, locale)
        if key not in self._made:
            self._made[key] = self._initdb(*key)
        template, password = self._made[key]
        data = self._machine.subfolder(f"cluster-{version}") / "data"
        self._machine.run(["cp", "-a", template, data])
        made = Cluster(self._machine, version, data, password, settings)
        made.start()
        return made

    def _initdb(self, version: int, encoding: str, locale: str) -> tuple[Path, str]:
        home = self._machine.subfolder(f"initdb-{version}")
        password = secrets.token_urlsafe(16)
        (home / "password").write_text(password)
        (home / "password").chmod(0o644)
        command = [needed(version) / "initdb", *INITDB.split(), f"--encoding={encoding}", f"--locale={locale}"]
        self._machine.run([*command, f"--pwfile={home / 'password'}", "-D", home / "data"])
        return home / "data", password


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
