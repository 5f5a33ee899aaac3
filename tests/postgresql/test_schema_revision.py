"""A database with a revision from before the first release is refused by name. Migrations are never edited."""

import hashlib
import re
from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path

import asyncpg
import pytest
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory

from qrtrack.postgresql import schema_revision
from qrtrack.postgresql.database_checks import DatabaseUnfit
from qrtrack.postgresql.schema_revision import SchemaNewer

# Every revision that squashes have replaced, from the whole history of the repository.
BEFORE_RELEASE = """
20261122_accurate_webhooks 20261122_akselgate 20261122_attempts 20261122_case_spans 20261122_count_repairs
20261122_dispatch_guards 20261122_leased_groups 20261122_notifications 20261122_packing_line 20261122_progress
20261122_retention 20261122_stale_attempts 20261122_webhook_contract 20261122_webhook_owners
20261122_worker_processes 20261126_accurate 20261126_akselgate 20261126_alerts 20261126_case_labels 20261126_console
20261126_console_lists 20261126_interrupted 20261126_labels 20261126_money_allow_list 20261126_overview
20261126_own_parents 20261126_packing 20261126_packing_undo 20261126_printers 20261126_progress
20261126_secret_key_fingerprint 20261126_shared 20261126_undone_packs 20261126_verification
"""
# What each migration executes. A database that has a migration never executes it again, so a later edit would reach new
# databases only.
DIGESTS = {
    "0001_shared": "cbe7ae2772fac711",
    "0002_packing": "a5f9513b2952ad07",
    "0003_accurate": "cf3dbeb0a8af60b6",
    "0004_akselgate": "a0bd092e1ec9e436",
    "0005_progress": "945fe5fe58dfe7f8",
    "0006_labels": "9ce4f9c8e67d31f0",
    "0007_verification": "2466c8353fa542ad",
}

SCRIPTS = sorted(ScriptDirectory.from_config(schema_revision._config()).walk_revisions(), key=lambda one: one.revision)


@pytest.fixture
async def connection(migrated_url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection in a transaction that is rolled back after the test."""
    connection = await asyncpg.connect(migrated_url.replace("+asyncpg", ""))
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


async def check_at(connection: "asyncpg.Connection[asyncpg.Record]", revision: str) -> None:
    await connection.execute("UPDATE alembic_version SET version_num = $1", revision)
    await schema_revision.check_revision(connection)


async def test_every_revision_of_a_development_version_is_refused_by_name(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    for revision in BEFORE_RELEASE.split():
        with pytest.raises(DatabaseUnfit) as refused:
            await check_at(connection, revision)
        assert f"development version from before the first release (revision {revision})" in str(refused.value)


async def test_a_migration_that_this_version_lacks_is_of_a_newer_version(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    with pytest.raises(SchemaNewer, match=r"newer version \(revision 9999_later\): install that version"):
        await check_at(connection, "9999_later")


def test_migrations_are_one_numbered_chain() -> None:
    """A revision without a number would be refused as one from before the first release."""
    before: str | None = None
    for number, script in enumerate(SCRIPTS, start=1):
        assert re.fullmatch(rf"{number:04}_[a-z_]+", script.revision)
        assert Path(script.path).stem == script.revision
        assert script.down_revision == before
        before = script.revision
    assert schema_revision._newest() == before


def test_a_migration_stays_as_databases_have_executed_it() -> None:
    """Does DIGESTS lack a new migration? Add it. Does a digest differ? Undo the change, and write a new migration."""
    assert {script.revision: digest_of(script) for script in SCRIPTS} == DIGESTS


def digest_of(script: Script) -> str:
    """Returns the digest of the SQL that the migration executes. Comments and line breaks do not change it."""
    executed = StringIO()
    options = {"as_sql": True, "output_buffer": executed, "tenant_role": "tenant"}
    with Operations.context(MigrationContext.configure(dialect_name="postgresql", opts=options)):
        script.module.upgrade()
    return hashlib.sha256(" ".join(executed.getvalue().split()).encode()).hexdigest()[:16]
