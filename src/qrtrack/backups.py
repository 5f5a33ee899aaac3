"""Backs up and restores the whole database: the embedded PostgreSQL, or the server of DATABASE_URL."""

import os
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from qrtrack.database import Database
from qrtrack.disk import write_out
from qrtrack.postgresql import schema_revision
from qrtrack.postgresql.tenant_role import provide_role, quoted
from qrtrack.postgresql.tools import Tell, ToolFailed, Tools, tools_of
from qrtrack.repositories.base import Connection

# The pg_dump of the wheel can read servers up to its own version.
NEWEST_SERVER: Final = 18
FIRST_WITH_TRANSACTION_TIMEOUT: Final = 17
# Finds a table or view of the database. Those of extensions do not count: providers install extensions in new
# databases.
FIRST_RELATION: Final = """
SELECT relname FROM pg_class AS relation
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = relation.oid AND deptype = 'e')
ORDER BY relkind <> 'r', relname LIMIT 1
"""
REVISION: Final = re.compile(rb"^COPY public\.alembic_version .*\n(\S+)\n", re.MULTILINE)
# Counts from the sequence, not from the highest id of the table: an earlier restore may have raised the sequence above
# it.
SKIP: Final = """
SELECT setval(name, nextval(name) + {request_ids})
FROM pg_get_serial_sequence('public.t_akselgate_transaction_log', 'id') AS name WHERE {request_ids} > 0;
UPDATE public.qr_serial_counters SET last_number = last_number + {serials} WHERE last_number > 0 AND {serials} > 0;
"""
ROLE: Final = re.compile(rb"^CREATE POLICY own_rows ON public\.qr_batches TO (\S+) ", re.MULTILINE)


class BackupFailed(RuntimeError):
    """A backup or a restore was refused, or it failed. The file and the tables are as before. The message says why."""


class NotEmpty(BackupFailed):
    """The database already holds a table, a view or a sequence."""


async def back_up(database: Database, file: Path, *, overwrite: bool, tell: Tell) -> str:
    """Writes a consistent snapshot of the whole database into a file, which appears complete or not at all.

    Returns the revision of the backed-up schema. It may be older than the program's, since people back up before they
    migrate. Raises BackupFailed.
    """
    async with _session(database) as connection:
        revision = await schema_revision.read_revision(connection)
        server = connection.get_server_version().major
    if revision is None:
        raise BackupFailed("The database holds no tables of qrtrack: there is nothing to back up.")
    if server > NEWEST_SERVER:
        raise BackupFailed(
            f"The server is PostgreSQL {server}, and this qrtrack reads servers up to {NEWEST_SERVER}. Install"
            f" a newer qrtrack, or use the pg_dump of PostgreSQL {server}."
        )
    with _appearing(file, overwrite=overwrite) as draft:
        async with tools_of(database.connector.connect, tell) as tools:
            try:
                await tools.run("pg_dump", "--format=custom", "--verbose", f"--file={draft}")
            except ToolFailed as error:
                raise BackupFailed(f"There is no backup: {error}") from error
    return revision


@asynccontextmanager
async def _session(database: Database) -> AsyncIterator[Connection]:
    """Opens a separate connection. Raises DatabaseUnavailable or DatabaseRefused; the command prints the reason."""
    with database.outages.translated(quietly=True):
        connection = await database.connector.connect()
        try:
            yield connection
        finally:
            await connection.close()


@contextmanager
def _appearing(file: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yields the path of a draft that only its owner can read. If the block succeeds, the draft gets the name of the
    file.
    """
    exists = BackupFailed(f"{file} exists already. Choose another name, or give --overwrite.")
    if str(file) == "-" or (file.exists() and not file.is_file()):
        raise BackupFailed(f"{file} is not a file. Name a file to write, such as qrtrack.dump.")
    if file.exists() and not overwrite:
        raise exists
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise BackupFailed(f"{file} cannot be written: {error.strerror}. Choose another folder.") from error
    try:
        yield draft
        write_out(draft)
        if overwrite:
            draft.replace(file)
        else:
            _name(draft, file)
        write_out(file.parent)
    except FileExistsError as error:
        raise exists from error
    finally:
        draft.unlink(missing_ok=True)


def _name(draft: Path, file: Path) -> None:
    """Gives the draft its final name. Raises FileExistsError: a link fails if the file was made meanwhile, a rename
    would replace it.
    """
    try:
        os.link(draft, file)
    except FileExistsError:
        raise
    except OSError:
        # Some network drives do not support links.
        if file.exists():
            raise FileExistsError from None
        draft.rename(file)


async def restore(
    database: Database, file: Path, *, role: bytes, skip_request_ids: int = 0, skip_serials: int = 0, tell: Tell
) -> None:
    """Puts a backup into an empty database, in one transaction.

    The rights of the backup's `role` are granted to this installation's tenant role instead: in the backup's own
    cluster that role belongs to the first database. `skip_request_ids` and `skip_serials` pass over ids and numbers
    that may have been used after the backup. Raises BackupFailed, NotEmpty or TenantRoleUnusable.
    """
    async with _session(database) as connection:
        if relation := await connection.fetchval(FIRST_RELATION):
            raise NotEmpty(f"The database is not empty: it holds {relation}. A backup is restored into an empty one.")
        server = connection.get_server_version().major
    # The backup grants rights to the tenant role, and does not create it.
    async with database.engine.begin() as pooled:
        await pooled.run_sync(provide_role, database.tenant_role)
    async with tools_of(database.connector.connect, tell) as tools:
        try:
            await tools.load(
                file,
                has_transaction_timeout=server >= FIRST_WITH_TRANSACTION_TIMEOUT,
                roles=(role, quoted(database.tenant_role).encode()),
                then=SKIP.format(request_ids=skip_request_ids, serials=skip_serials),
            )
        except ToolFailed as error:
            raise BackupFailed(f"Nothing was restored: {error}") from error
    async with _session(database) as connection:
        # Without statistics PostgreSQL would use bad plans until autovacuum analyses the tables.
        await connection.execute("ANALYZE")


async def read(file: Path) -> tuple[str, bytes]:
    """Returns the revision of a backup's schema, and the quoted role that its policies name. Raises BackupFailed for a
    file that this version cannot restore.
    """
    revision = await _read_revision(file)
    found = ROLE.search(await Tools(lambda *_: None).read("pg_restore", "--section=post-data", "--file=-", str(file)))
    return revision, found[1] if found else b""


async def _read_revision(file: Path) -> str:
    options = ("--data-only", "--table=alembic_version", "--file=-", str(file))
    try:
        found = REVISION.search(await Tools(lambda *_: None).read("pg_restore", *options))
    except ToolFailed as error:
        raise BackupFailed(f"{file} is not a complete backup: {error}") from error
    if found is None:
        raise BackupFailed(f"{file} is not a backup of qrtrack: it holds no revision of the schema.")
    revision = found[1].decode()
    if schema_revision.is_before_release(revision):
        raise BackupFailed(
            f"{file} was made by a development version from before the first release (revision {revision}): restore it "
            "with that version. docs/troubleshooting.md says what to export (A database from before the first release)."
        )
    if not schema_revision.is_known(revision):
        raise BackupFailed(f"{file} was made by a newer version (revision {revision}): install that version.")
    return revision
