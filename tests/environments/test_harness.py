"""The harness itself: servers as a provider makes them, and none left over."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from environments.clusters import VERSIONS, Cluster, Clusters, listens
from environments.machine import Machine
from environments.pgbouncer import start_pgbouncer
from ticking import HANG_SECONDS

KILLED = """
import sys, time
from environments.clusters import Clusters
from environments.machine import Machine
machine = Machine()
print(Clusters(machine).cluster(18).port, machine.folder, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_an_owner_is_no_superuser_and_gets_in_by_password_only(shared: Callable[[int], Cluster], version: int) -> None:
    cluster = shared(version)
    owner = cluster.owner("harness_owner", createrole=True, password="p@ss/w%rd'")
    cluster.database("harness", owner, encoding="LATIN1", settings={"statement_timeout": "7s"})
    assert cluster.sql("SHOW server_version", "harness", owner=owner)[0][0].startswith(f"{version}.")
    assert cluster.sql("SHOW server_encoding", "harness", owner=owner) == [("LATIN1",)]
    assert cluster.sql("SHOW statement_timeout", "harness", owner=owner) == [("7s",)]
    rights = "SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
    assert cluster.sql(rights, "harness", owner=owner) == [("f", "t", "f")]
    owner.password = "wrong"
    with pytest.raises(RuntimeError, match="password authentication failed"):
        cluster.sql("SELECT 1", "harness", owner=owner)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_standby_follows_and_takes_over(clusters: Clusters, version: int) -> None:
    primary = clusters.cluster(version)
    primary.sql("CREATE TABLE kept (n int)")
    standby = primary.standby(synchronous_commit="on")
    primary.sql("INSERT INTO kept VALUES (1)")
    with pytest.raises(RuntimeError, match="read-only transaction"):
        standby.sql("INSERT INTO kept VALUES (2)")
    over = time.monotonic() + HANG_SECONDS
    while standby.sql("SELECT n FROM kept") != [("1",)]:
        assert time.monotonic() < over
        time.sleep(0.05)
    primary.crash()
    standby.promote()
    standby.sql("INSERT INTO kept VALUES (2)")
    assert standby.sql("SELECT count(*) FROM kept") == [("2",)]
    standby.stop()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_crash_loses_what_was_not_in_the_wal(clusters: Clusters, version: int) -> None:
    """Without this the tests of synchronous_commit would prove nothing."""
    cluster = clusters.cluster(version, synchronous_commit="off", wal_writer_delay="10s")
    cluster.sql("CREATE TABLE kept (n int)")
    cluster.sql("CHECKPOINT")
    cluster.sql("INSERT INTO kept VALUES (1)")
    cluster.crash()
    cluster.start()
    assert cluster.sql("SELECT count(*) FROM kept") == [("0",)]
    cluster.stop()


def test_pgbouncer_asks_for_the_password(machine: Machine, shared: Callable[[int], Cluster]) -> None:
    cluster = shared(18)
    owner = cluster.owner("harness_pooled")
    cluster.database("harness_pooled", owner)
    host = start_pgbouncer(machine, cluster, owner)
    psql = Path(cluster._bin) / "psql"
    found = machine.run([psql, "-XAtc", "SELECT current_user", cluster.url(owner, "harness_pooled", host=host)])
    assert found.stdout == "harness_pooled\n"
    owner.password = "wrong"
    with pytest.raises(RuntimeError, match="SASL authentication failed"):
        machine.run([psql, "-XAtc", "SELECT 1", cluster.url(owner, "harness_pooled", host=host)])


def test_no_server_and_no_file_is_left_when_the_tests_are_killed() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, env=environment) as tests:
        assert tests.stdout is not None
        port, folder = tests.stdout.readline().split()
        assert listens(int(port))
        tests.send_signal(signal.SIGKILL)
    over = time.monotonic() + HANG_SECONDS
    while listens(int(port)) or Path(folder).exists():
        assert time.monotonic() < over
        time.sleep(0.05)
