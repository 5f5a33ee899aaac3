"""DATABASE_URL as providers print it and as libpq reads it."""

import ssl
from pathlib import Path

import pytest

from certificates import Authority
from process import settings_of
from qrtrack.settings import postgresql
from qrtrack.settings.postgresql import PostgresAddress, parse_address

HOSTS: list[tuple[str, list[tuple[str | None, int | None]]]] = [
    ("postgresql://", [(None, None)]),
    ("postgresql:///qrtrack", [(None, None)]),
    ("postgresql:///qrtrack?port=5433", [(None, 5433)]),
    ("postgres://db.example.com/qrtrack", [("db.example.com", 5432)]),
    ("postgresql+asyncpg://db.example.com:6543/qrtrack", [("db.example.com", 6543)]),
    ("postgresql://[2001:db8::7]:5433,[::1]/q", [("2001:db8::7", 5433), ("::1", 5432)]),
    ("postgresql://u@%2Fvar%2Frun%2Fpostgresql:5433/q", [("/var/run/postgresql", 5433)]),
    ("postgresql://u@/q?host=/var/run/postgresql", [("/var/run/postgresql", 5432)]),
    ("postgresql://u@/q?host=%2Ftmp%2Fa%20b&port=5433", [("/tmp/a b", 5433)]),
    ("postgresql://a:5433,b/q", [("a", 5433), ("b", 5432)]),
    ("postgresql:///q?host=a,b&port=5433", [("a", 5433), ("b", 5433)]),
    ("postgresql:///q?host=a,b&port=5433,5434", [("a", 5433), ("b", 5434)]),
    ("postgresql:///q?host=standby&host=primary", [("standby", 5432), ("primary", 5432)]),
    ("postgresql:///q?host=a:5433&host=b:5434", [("a", 5433), ("b", 5434)]),
    ("postgresql:///q?host=::1", [("::1", 5432)]),
    ("postgresql:///q?hostaddr=10.0.0.7", [("10.0.0.7", 5432)]),
    (" postgresql://db/q\n", [("db", 5432)]),
]


@pytest.mark.parametrize(("url", "hosts"), HOSTS)
def test_hosts_as_they_may_be_written(url: str, hosts: list[tuple[str | None, int | None]]) -> None:
    assert list(parse_address(url).hosts) == hosts


@pytest.mark.parametrize(
    ("url", "option", "value"),
    [
        ("postgresql://me@db/q", "user", "me"),
        ("postgresql://me:p%40ss%2Fw%3Ard%25%23+x@db/q", "password", "p@ss/w:rd%#+x"),
        ("postgresql://me:h#sh?x@db/q", "password", "h#sh?x"),
        ("postgresql://me@db/q?password=p%26q", "password", "p&q"),
        ("postgresql://db/my%20data", "database", "my data"),
        ("postgresql://db?dbname=other", "database", "other"),
        ("postgresql://db/q?passfile=/home/x/.pgpass", "passfile", "/home/x/.pgpass"),
        ("postgresql://db/q?target_session_attrs=primary", "target_session_attrs", "primary"),
        # Every transaction may write: of several hosts the first that takes writes is the right one.
        ("postgresql://a,b/q", "target_session_attrs", "read-write"),
        ("postgresql://db/q?ssl=true", "dsn", "postgresql://?sslmode=require"),
        ("postgresql://db/q?ssl=verify-ca", "dsn", "postgresql://?sslmode=verify-ca"),
    ],
)
def test_the_driver_gets_the_options_of_the_address(url: str, option: str, value: str) -> None:
    assert parse_address(url).options[option] == value


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"])
def test_every_sslmode_goes_to_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql/root.crt").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_address(f"postgresql://db/q?sslmode={mode}").options["dsn"] == f"postgresql://?sslmode={mode}"


def test_without_a_file_the_authorities_of_the_system_verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for query in ("sslmode=verify-full", "sslmode=verify-full&sslrootcert=system", "sslrootcert=system"):
        assert parse_address(f"postgresql://db/q?{query}").options["ssl"].check_hostname


def test_an_address_from_neon_verifies_the_certificate() -> None:
    """The driver has no channel binding, so the program verifies the server's certificate instead."""
    url = "postgresql://u:p@ep-x-1.eu-central-1.aws.neon.tech/neondb?sslmode=require&channel_binding=require"
    found = parse_address(url)
    assert found.options["ssl"].verify_mode == ssl.CERT_REQUIRED
    assert found.options["ssl"].check_hostname
    assert "dsn" not in found.options


def test_channel_binding_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    Authority(tmp_path).write(authority := tmp_path / "root.crt")
    found = parse_address(f"postgresql://db/q?sslmode=require&channel_binding=require&sslrootcert={authority}")
    assert "sslmode=verify-full" in found.options["dsn"]
    assert "root.crt" in found.options["dsn"]


def test_the_server_gets_its_settings_and_other_parameters_are_ignored() -> None:
    found = parse_address(
        "postgresql://u:p@db/q?application_name=line%207&options=endpoint%3Dep-x%20-c%20search_path%3Dmine"
        "&keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=3&tcp_user_timeout=5000"
        "&gssencmode=prefer&channel_binding=prefer&load_balance_hosts=disable&client_encoding=utf8&sslsni=1"
    )
    assert found.server_settings == {"application_name": "line 7", "options": "endpoint=ep-x -c search_path=mine"}
    assert set(found.options) == {"user", "password", "database"}


@pytest.mark.parametrize(
    ("query", "hosts", "seconds"),
    [
        ("", "a", 10),
        ("connect_timeout=5", "a", 5),
        ("connect_timeout=1", "a", 2),
        ("connect_timeout=0", "a", 10),
        ("connect_timeout=600", "a", 10),
        ("", "a,b", 2),
        ("connect_timeout=4", "a,b", 4),
    ],
)
def test_how_long_a_host_is_waited_for(query: str, hosts: str, seconds: float) -> None:
    assert parse_address(f"postgresql://{hosts}/q?{query}").seconds == seconds


def test_a_service_of_libpq_is_what_the_address_itself_leaves_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (services := tmp_path / "services").write_text(
        "[plant]\nhost=db.plant\nport=5433\ndbname=theirs\nuser=they\npassword=50%off\nsslmode=require\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    found = parse_address("postgresql:///mine?service=plant&user=me")
    assert found.hosts == (("db.plant", 5433),)
    assert found.options == {
        "user": "me",
        "password": "50%off",
        "database": "mine",
        "dsn": "postgresql://?sslmode=require",
    }
    assert parse_address("postgresql://here/q?service=plant").hosts == (("here", 5432),)
    with pytest.raises(ValueError, match="service 'none'"):
        parse_address("postgresql://?service=none")


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("mysql://db/q", "postgresql://user:password@host"),
        ("postgresql:db", "postgresql://user:password@host"),
        ("", "postgresql://user:password@host"),
        ("postgresql://db/q?pgbouncer=true", "'pgbouncer'.*DATABASE_POOLER=transaction"),
        ("postgresql://db/q?schema=mine", "'schema'.*search_path"),
        ("postgresql://db/q?connection_limit=1", "'connection_limit'"),
        ("postgresql://db/q?require_auth=scram-sha-256", "'require_auth'"),
        ("postgresql://db/q?requirepeer=postgres", "'requirepeer'"),
        ("postgresql://db/q?gssencmode=require", "gssencmode must be disable or prefer"),
        ("postgresql://db/q?sslmode=no-verify", "sslmode must be"),
        ("postgresql://db/q?sslmode=disable&channel_binding=require", "channel_binding=require and sslmode=disable"),
        ("postgresql://db/q?channel_binding=always", "channel_binding must be"),
        ("postgresql://db/q?target_session_attrs=standby", "target_session_attrs must be"),
        ("postgresql://db/q?sslrootcert=/nowhere/root.crt", "sslrootcert names the file /nowhere/root.crt"),
        ("postgresql://db/q?sslrootcert=system&ssl_min_protocol_version=TLSv1.3", "ssl_min_protocol_version needs"),
        ("postgresql://db/q?ssl_min_protocol_version=TLSv9", "ssl_min_protocol_version must be"),
        ("postgresql://db/q?sslnegotiation=maybe", "sslnegotiation must be"),
        ("postgresql://db/q?connect_timeout=soon", "connect_timeout must be"),
        ("postgresql://db/q?host=a,b&port=1,2,3", "2 hosts and 3 ports"),
        ("postgresql://db/q?host=a&hostaddr=10.0.0.1", "host and hostaddr"),
        ("postgresql://db/q?options", "'options' has no value"),
        ("postgresql://u:secret@2001:db8::7/q", "brackets"),
        ("postgresql://u:secret%FF@db/q", "not part of a UTF-8 letter"),
        ("postgresql://u:secret%00@db/q", "%00"),
        ("postgresql://db:70000/q", "port"),
        # Passwords that are not quoted.
        ("postgresql://u:sec/ret@db/q", "port.*%2F"),
        ("postgresql://u:sec@ret@db:5432/q", "host cannot be read.*%40|port.*%40|%40"),
    ],
)
def test_an_unusable_part_is_named_in_one_line_without_the_password(url: str, named: str) -> None:
    with pytest.raises(ValueError, match=named) as refused:
        parse_address(url)
    assert "\n" not in str(refused.value)
    assert "sec" not in str(refused.value).replace("seconds", "").replace("second", "")


def test_a_password_is_not_shown() -> None:
    assert "hunter2" not in repr(parse_address("postgresql://u:hunter2@db/q?sslpassword=hunter2"))


def test_settings_say_it_in_their_way(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="its parameter 'pgbouncer' is not supported"):
        settings_of("postgresql://db/q?pgbouncer=true", tmp_path)


def test_every_parameter_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[1] / "docs/database-url.md").read_text()
    known = postgresql.TLS | postgresql.IGNORED | postgresql.READ_HERE | postgresql.TO_DRIVER.keys()
    missing = [name for name in (*known, *postgresql.TO_SERVER, *postgresql.POSSIBLE) if f"`{name}`" not in page]
    assert missing == []


def test_hosts_are_told_to_people() -> None:
    assert PostgresAddress((("a", 1), (None, None)), 1, {}, {}).where == "a:1, local:5432"
