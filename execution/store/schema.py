"""No process but `desk` and the deploy step migrates; every other one refuses to run on a schema that is not its own."""

from __future__ import annotations

import sys

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor


def migrations_pending() -> list[str]:
    """Names of the migrations that the database lacks."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


def migrations_require() -> None:
    """End the process with one sentence when the database cannot be asked or lacks a migration."""
    try:
        pending = migrations_pending()
    except DatabaseError as error:
        sys.exit(f"The database cannot be asked: {str(error).strip().splitlines()[0]}.")
    finally:
        connection.close()
    if pending:
        sys.exit(
            f"The database lacks {len(pending)} migrations ({pending[0]} …): start `manage.py desk`, or run `manage.py migrate`."
        )
