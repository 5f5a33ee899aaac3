"""PgBouncer in transaction mode in front of a cluster, as a provider's pooler: own port, the customer's password."""

import shutil
import time

import pytest

from environments.clusters import Cluster, Owner, listens
from environments.machine import Machine
from process import free_port
from ticking import HANG_SECONDS

CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 200
"""


def start_pgbouncer(machine: Machine, cluster: Cluster, *owners: Owner, pool_size: int = 10) -> str:
    """Its host and port, for `Cluster.url`; it ends with the machine."""
    program = shutil.which("pgbouncer")
    if program is None:
        pytest.skip("needs the system package pgbouncer")
    folder, port = machine.subfolder("pgbouncer"), free_port()
    users, configuration = folder / "users.txt", folder / "pgbouncer.ini"
    users.write_text("".join(f'"{owner.name}" "{owner.password}"\n' for owner in owners))
    configuration.write_text(CONFIGURATION.format(server=cluster.port, port=port, users=users, pool_size=pool_size))
    process = machine.serve([program, configuration], folder / "pgbouncer.log")
    over = time.monotonic() + HANG_SECONDS
    while not listens(port):
        if process.poll() is not None or time.monotonic() > over:
            raise RuntimeError(f"PgBouncer does not start:\n{(folder / 'pgbouncer.log').read_text()}")
        time.sleep(0.05)
    return f"127.0.0.1:{port}"
