"""The statements that psql runs as the superuser at the start. They give the embedded database a plain owner,
`qrtrack`.

That owner may create the tenant role, and is no superuser: no SQL statement that a request could inject makes the
server read a file or run a program.
"""

from typing import Final

# Nobody can connect to template0, so CREATE DATABASE never fails because its template is in use.
CREATE_DATABASE: Final = r"""
SELECT pg_advisory_lock(hashtext('create database')) \g /dev/null
SELECT 'CREATE ROLE qrtrack LOGIN CREATEROLE' WHERE to_regrole('qrtrack') IS NULL \gexec
SELECT format('CREATE DATABASE %I OWNER qrtrack TEMPLATE template0', :'name')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
SELECT datdba = 'qrtrack'::regrole FROM pg_database WHERE datname = :'name';
"""
# Transfers ownership from `postgres` in data folders that an earlier version made. REASSIGN OWNED refuses the first
# superuser of a cluster. The sequences of columns follow their tables.
CARRY_OVER: Final = """
BEGIN;
SELECT pg_advisory_xact_lock(hashtext('carry over'));
DO $$
DECLARE statement text;
BEGIN
    FOR statement IN
        SELECT format('ALTER TABLE %s OWNER TO qrtrack', oid::regclass) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relowner = 'postgres'::regrole
          AND (relkind IN ('r', 'p', 'v', 'm') OR relkind = 'S' AND NOT EXISTS (
               SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid
                                       AND refclassid = 'pg_class'::regclass AND deptype IN ('a', 'i')))
        UNION ALL
        SELECT format('ALTER ROUTINE %s OWNER TO qrtrack', oid::regprocedure) FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND proowner = 'postgres'::regrole
        UNION ALL
        SELECT format('GRANT %I TO qrtrack WITH ADMIN TRUE, SET TRUE, INHERIT FALSE', rolname) FROM pg_roles
        WHERE oid IN (SELECT unnest(polroles) FROM pg_policy)
    LOOP
        EXECUTE statement;
    END LOOP;
    EXECUTE format('ALTER DATABASE %I OWNER TO qrtrack', current_database());
END $$;
COMMIT;
"""
