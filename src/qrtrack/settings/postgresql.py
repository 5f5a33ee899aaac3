"""DATABASE_URL, parsed as libpq parses it. Parameters go to the driver, or are ignored if they change nothing for this
service, or are refused by name: docs/database-url.md lists them all.
"""

import configparser
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlencode

DEFAULT_PORT: Final = 5432
# libpq raises connect_timeout=1 to 2 s, and so do we.
LEAST_SECONDS: Final = 2
# The time for each of several hosts: the first may hang, and readiness, which times out after 3 s, must still reach the
# second.
SECONDS_FOR_EACH: Final = 2
SECONDS: Final = 10

URL: Final = re.compile(
    r"postgres(?:ql)?(?:\+asyncpg)?://(?:(?P<user>[^@/:]*)(?::(?P<password>[^@/]*))?@)?"
    r"(?P<hosts>[^/?]*)(?:/(?P<database>[^?]*))?(?:\?(?P<query>.*))?",
    re.DOTALL,
)
HOST: Final = re.compile(r"(\[(?P<six>[^\]@]*)\]|(?P<name>[^:@\[\]]*))(:(?P<port>[^:@]*))?", re.DOTALL)
QUOTING: Final = "write @ : / ? # % in the user and the password as %40 %3A %2F %3F %23 %25"

# Arguments of asyncpg.connect.
TO_DRIVER: Final = {
    name: {"dbname": "database"}.get(name, name)
    for name in ("user", "password", "dbname", "passfile", "krbsrvname", "gsslib", "target_session_attrs")
}
# asyncpg accepts these only in a DSN.
TLS_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
TLS: Final = frozenset(
    {*TLS_FILES, "sslmode", "sslpassword", "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version"}
)
TO_SERVER: Final[tuple[str, ...]] = ("application_name", "options")
READ_HERE: Final = frozenset({"host", "hostaddr", "port", "connect_timeout", "channel_binding", "service"})
# postgresql/connections.py sets the keepalives itself, and of several hosts the first that accepts writes is used. The
# others change nothing in asyncpg.
KEEPALIVES: Final = {"keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"}
IGNORED: Final = frozenset(
    {*KEEPALIVES, "load_balance_hosts", "fallback_application_name", "sslcompression", "max_protocol_version"}
)
TLS_VERSIONS: Final = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
# The values that are accepted. Other values need what asyncpg cannot do, or what this service must not use.
POSSIBLE: Final[Mapping[str, tuple[str, ...]]] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": TLS_VERSIONS,
    "ssl_max_protocol_version": TLS_VERSIONS,
    "channel_binding": ("disable", "prefer", "require"),
    # A standby is refused, because every transaction may write.
    "target_session_attrs": ("any", "read-write", "primary"),
    "gssencmode": ("disable", "prefer"),
    "gsslib": ("gssapi",),
    "gssdelegation": ("0",),
    "sslsni": ("1",),
    "sslcertmode": ("allow",),
    "client_encoding": ("auto", "utf8", "utf-8", "UTF8", "UTF-8"),
    "replication": ("false", "off", "no", "0"),
}
HINTS: Final = {
    "pgbouncer": ": remove it and set DATABASE_POOLER=transaction",
    "schema": ": remove it; a schema other than public is chosen by the search_path of the user",
}


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """Where the database is: `hosts` in the order of the attempts, and the arguments of asyncpg.connect for each."""

    hosts: tuple[tuple[str | None, int | None], ...]
    # The time limit for one host.
    seconds: float
    options: Mapping[str, Any] = field(repr=False)
    server_settings: Mapping[str, str]

    @property
    def database(self) -> str | None:
        return self.options.get("database")

    @property
    def where(self) -> str:
        """Returns the hosts as a text for log lines."""
        return ", ".join(f"{host or 'local'}:{port or DEFAULT_PORT}" for host, port in self.hosts)


def parse_address(url: str) -> PostgresAddress:
    """Raises ValueError. Its message names the parameter, and never shows a password."""
    found = URL.fullmatch(url.strip())
    if found is None:
        raise ValueError("it must be an address such as postgresql://user:password@host:5432/name")
    given = {"dbname": found["database"], "user": found["user"], "password": found["password"]}
    values = {name: _decoded(value) for name, value in given.items() if value}
    hosts = list(_written_hosts(found["hosts"], split=True))
    asked = _query(found["query"] or "")
    if "service" in asked:
        nearer = {*values, *(("host", "hostaddr", "port") if hosts else ())}
        asked = {name: value for name, value in _service(asked["service"]).items() if name not in nearer} | asked
    _check(asked)
    if "host" in asked or "hostaddr" in asked:
        if "host" in asked and "hostaddr" in asked:
            raise ValueError("its parameters host and hostaddr cannot be used together: leave hostaddr out")
        hosts = list(_written_hosts(asked.get("host") or asked["hostaddr"], split=False))
    values |= asked
    options = {TO_DRIVER[name]: value for name, value in values.items() if name in TO_DRIVER}
    if len(hosts) > 1 and options.get("target_session_attrs", "any") == "any":
        options["target_session_attrs"] = "read-write"
    settings = {name: values[name] for name in TO_SERVER if name in values}
    return PostgresAddress(
        tuple(_with_ports(hosts, values.get("port"))), _seconds(values, len(hosts)), options | _tls(values), settings
    )


def _decoded(text: str) -> str:
    """Decodes percent-encoded text as libpq does: a plus sign stays a plus sign."""
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError(f"it contains a % that is not part of a UTF-8 letter: {QUOTING}") from None
    if "\0" in decoded:
        raise ValueError("it contains %00, which no value may contain")
    return decoded


def _query(text: str) -> dict[str, str]:
    """Returns the parameters. Repeated `host` and `port` parameters form a list; of other repeated ones the last
    counts, as in libpq.
    """
    values: dict[str, str] = {}
    for pair in filter(None, text.split("&")):
        name, equals, value = (_decoded(part) for part in pair.partition("="))
        if not equals:
            raise ValueError(f"its parameter {name[:40]!r} has no value")
        if name == "ssl":
            name, value = "sslmode", {"true": "require"}.get(value, value)
        name = "dbname" if name == "database" else name
        values[name] = f"{values[name]},{value}" if name in ("host", "port") and name in values else value
    return {name: value for name, value in values.items() if value}


def _service(name: str) -> dict[str, str]:
    """Returns the parameters of a section of libpq's connection service file."""
    file = os.environ.get("PGSERVICEFILE") or _of_user(".pg_service.conf")
    services = configparser.ConfigParser(interpolation=None)
    try:
        services.read(file)
        return dict(services[name])
    except (configparser.Error, KeyError, UnicodeDecodeError, OSError):
        raise ValueError(f"its service {name!r} is not in {file}") from None


def _of_user(name: str) -> Path:
    """Returns the path of the file in the user's home folder. A user of a container may have no home: then the file
    does not exist.
    """
    with suppress(RuntimeError):
        return Path.home() / name
    return Path(name)


def _check(asked: Mapping[str, str]) -> None:
    for name, value in asked.items():
        if name not in TLS | IGNORED | READ_HERE | TO_DRIVER.keys() | POSSIBLE.keys() | set(TO_SERVER):
            raise ValueError(f"its parameter {name[:40]!r} is not supported{HINTS.get(name, ': remove it')}")
        if value not in POSSIBLE.get(name, (value,)):
            raise ValueError(f"its parameter {name} must be {' or '.join(POSSIBLE[name])}")
    for name in TLS_FILES:
        file = asked.get(name)
        if file and not (name == "sslrootcert" and file == "system") and not os.access(file, os.R_OK):
            raise ValueError(f"its parameter {name} names the file {file}, which cannot be read")
    _check_certificates(asked)


def _check_certificates(asked: Mapping[str, str]) -> None:
    """Checks the certificate files at the start. Later, a wrong file would look like an outage of the database."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authorities = asked.get("sslrootcert", "system")
    if authorities not in ("", "system"):
        try:
            context.load_verify_locations(authorities)
        except (OSError, ValueError):
            raise ValueError(f"its parameter sslrootcert names {authorities}, which holds no certificate") from None
    if certificate := asked.get("sslcert"):
        key = asked.get("sslkey") or str(_of_user(".postgresql/postgresql.key"))
        try:
            context.load_cert_chain(certificate, key, lambda: asked.get("sslpassword", ""))
        except (OSError, ValueError):
            detail = f"its parameter sslcert names {certificate}, but {key} (sslkey) contains no key that fits it"
            raise ValueError(detail) from None


def _written_hosts(text: str, *, split: bool) -> Iterator[tuple[str | None, str | None]]:
    """Yields each host and its port; None for what is left out. With `split`, `text` is the host part of the URL: it is
    divided at its commas before each part is decoded, because a host may contain an encoded comma.
    """
    decode = _decoded if split else str
    for one in text.split(",") if text else ():
        found = HOST.fullmatch(one)
        if found is None or one.startswith("/"):
            # The parameter `host` may hold a socket's folder, or an IPv6 address without brackets.
            if split:
                raise ValueError(f"its host cannot be read: write IPv6 addresses in brackets, and {QUOTING}")
            yield one, None
            continue
        yield decode(found["six"] or found["name"]) or None, decode(found["port"] or "") or None


def _with_ports(
    hosts: list[tuple[str | None, str | None]], listed: str | None
) -> Iterator[tuple[str | None, int | None]]:
    """Returns each host with its port. `listed` has one port for all hosts, or one for each."""
    hosts = hosts or [(None, None)]
    ports = listed.split(",") if listed else []
    if len(ports) > 1 and len(ports) != len(hosts):
        raise ValueError(f"it names {len(hosts)} hosts and {len(ports)} ports")
    for index, (host, own) in enumerate(hosts):
        port = own or (ports[index % len(ports)] if ports else None)
        yield host, _port(port) if port else DEFAULT_PORT if host else None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 65_536):
        # The message does not show the text, because it may be the rest of a password.
        raise ValueError(f"its port is not a number from 1 to 65535; if it is none at all, {QUOTING}")
    return int(text)


def _seconds(values: Mapping[str, str], hosts: int) -> float:
    given = values.get("connect_timeout")
    if given is None:
        return SECONDS_FOR_EACH if hosts > 1 else SECONDS
    if not re.fullmatch(r"-?[0-9]{1,9}", given, re.ASCII):
        raise ValueError("its parameter connect_timeout must be a number of seconds")
    # With 0 libpq waits without a limit. A request cannot, so 0 means SECONDS.
    return min(max(int(given), LEAST_SECONDS), SECONDS) if int(given) > 0 else SECONDS


def _tls(values: Mapping[str, str]) -> dict[str, Any]:
    """Returns the TLS settings. The driver has no channel binding. With channel_binding=require we verify the server's
    certificate instead, which also stops a man in the middle.
    """
    tls = {name: value for name, value in values.items() if name in TLS}
    if values.get("channel_binding") == "require":
        if tls.get("sslmode") == "disable":
            raise ValueError("its parameters channel_binding=require and sslmode=disable contradict each other")
        tls = {"sslrootcert": "system", **tls, "sslmode": "verify-full"}
    if tls.get("sslmode") == "verify-full" and not _of_user(".postgresql/root.crt").exists():
        # Without ~/.postgresql/root.crt libpq refuses to connect. We use the system's certificate authorities.
        tls = {"sslrootcert": "system", **tls}
    if tls.get("sslrootcert") != "system":
        return {"dsn": f"postgresql://?{urlencode(tls)}"} if tls else {}
    if others := sorted(tls.keys() - {"sslmode", "sslrootcert", "sslnegotiation"}):
        raise ValueError(f"its parameter {others[0]} needs sslrootcert to be a file")
    negotiation = tls.get("sslnegotiation")
    return {"ssl": _verified_by_the_system(), "direct_tls": negotiation == "direct"}


@lru_cache
def _verified_by_the_system() -> ssl.SSLContext:
    """Returns a context with the system's certificate authorities. It is cached: loading them takes 20 ms, and every
    connection needs it.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["postgresql"])
    return context
