"""The schema of the history, as the steps that made it: a database of any earlier version is brought up to date.

A change of the schema is one more entry at the end of MIGRATIONS; an entry that was released is never changed.
"""

import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagegen_cli.storage.dialect import Connection

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE run (
        id INTEGER PRIMARY KEY AUTOINCREMENT, command TEXT NOT NULL, source TEXT NOT NULL DEFAULT '',
        started REAL NOT NULL, ended REAL
    );
    CREATE TABLE process (
        id INTEGER PRIMARY KEY AUTOINCREMENT, host TEXT NOT NULL, pid INTEGER NOT NULL, born TEXT NOT NULL,
        beat REAL NOT NULL
    );
    CREATE TABLE task (
        id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL REFERENCES run, owner INTEGER,
        provider TEXT NOT NULL, model TEXT NOT NULL, size TEXT NOT NULL, prompt TEXT NOT NULL, request TEXT NOT NULL,
        identity TEXT NOT NULL, folder TEXT NOT NULL, name TEXT NOT NULL, asked INTEGER NOT NULL,
        state TEXT NOT NULL, detail TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '',
        created REAL NOT NULL, started REAL, accepted REAL, ready REAL, ended REAL,
        cancel_asked INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX task_by_run ON task(run);
    CREATE INDEX task_by_state ON task(state);
    CREATE INDEX task_by_identity ON task(identity);
    CREATE INDEX task_by_kind ON task(provider, model, size, id) WHERE ready IS NOT NULL;
    CREATE INDEX task_to_cancel ON task(owner) WHERE cancel_asked = 1;
    CREATE TABLE event (
        id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL, task INTEGER, at REAL NOT NULL,
        kind TEXT NOT NULL, body TEXT NOT NULL
    );
    CREATE INDEX event_by_run ON event(run);
    """,
    "ALTER TABLE task ADD COLUMN began REAL",  # when it left the service's own queue, where that tells
    """
    ALTER TABLE task ADD COLUMN fence INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE task ADD COLUMN source TEXT NOT NULL DEFAULT '';
    ALTER TABLE task ADD COLUMN facts TEXT NOT NULL DEFAULT '{}';
    UPDATE task SET source = (SELECT source FROM run WHERE run.id = task.run);
    ALTER TABLE process ADD COLUMN place TEXT NOT NULL DEFAULT '';
    UPDATE process SET beat = 0;
    CREATE TABLE attempt (
        task INTEGER NOT NULL, number INTEGER NOT NULL, state TEXT NOT NULL, detail TEXT NOT NULL,
        reason TEXT NOT NULL, started REAL, accepted REAL, began REAL, ready REAL, ended REAL,
        PRIMARY KEY (task, number)
    );
    CREATE TABLE sighting (
        process INTEGER NOT NULL, observer TEXT NOT NULL, beat INTEGER NOT NULL, at REAL NOT NULL,
        PRIMARY KEY (process, observer)
    );
    """,
    # Between how many seconds the service worked on it, measured by one process with a monotonic clock.
    """
    ALTER TABLE task ADD COLUMN lasted_least REAL;
    ALTER TABLE task ADD COLUMN lasted_most REAL;
    DROP INDEX task_by_kind;
    CREATE INDEX task_by_kind ON task(provider, model, size, id) WHERE lasted_most IS NOT NULL
    """,
    """
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    INSERT INTO meta (name, value) VALUES ('token', lower(hex(randomblob(6))))
    """,
    """
    ALTER TABLE task RENAME COLUMN asked TO expected_images;
    ALTER TABLE task RENAME COLUMN cancel_asked TO cancel_requested;
    ALTER TABLE task RENAME COLUMN lasted_least TO min_duration_s;
    ALTER TABLE task RENAME COLUMN lasted_most TO max_duration_s;
    ALTER TABLE task ADD COLUMN alternatives TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE process RENAME COLUMN born TO started_at;
    ALTER TABLE process RENAME COLUMN beat TO heartbeat;
    ALTER TABLE sighting RENAME COLUMN beat TO heartbeat
    """,
    # One row a submit: what was reserved for it, and what it cost.
    """
    CREATE TABLE charge (
        id INTEGER PRIMARY KEY AUTOINCREMENT, task INTEGER NOT NULL, run INTEGER NOT NULL, command INTEGER NOT NULL,
        provider TEXT NOT NULL, model TEXT NOT NULL, images INTEGER NOT NULL, each INTEGER, each_unit TEXT NOT NULL,
        amount INTEGER, unit TEXT NOT NULL, source TEXT NOT NULL, status TEXT NOT NULL, at REAL NOT NULL,
        pictures INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX charge_by_task ON charge(task);
    CREATE INDEX charge_by_time ON charge(unit, at, amount) WHERE status != 'returned' AND amount IS NOT NULL;
    CREATE INDEX charge_by_command ON charge(command, unit, amount)
        WHERE status != 'returned' AND amount IS NOT NULL
    """,
    # What price endpoints told; amount NULL: the endpoint has no price for this model.
    """
    CREATE TABLE price (
        service TEXT NOT NULL, model TEXT NOT NULL, amount INTEGER, unit TEXT NOT NULL, per_megapixel INTEGER NOT NULL,
        at REAL NOT NULL, PRIMARY KEY (service, model)
    )
    """,
    # Saved pictures. Of earlier tasks the digests are known that a state or a kept event names; others are ''.
    """
    CREATE TABLE picture (
        task INTEGER NOT NULL, number INTEGER NOT NULL, path TEXT NOT NULL, sha256 TEXT NOT NULL,
        PRIMARY KEY (task, number)
    ) WITHOUT ROWID;
    CREATE INDEX picture_by_sha256 ON picture(sha256) WHERE sha256 != '';
    INSERT INTO picture SELECT task.id, file.key + 1, file.value, ''
        FROM task, json_each(iif(json_valid(detail), detail, '{}'), '$.files') AS file WHERE state = 'done';
    INSERT INTO picture
        SELECT task.id, image.key + 1, json_extract(image.value, '$.file'),
            coalesce(json_extract(image.value, '$.sha256'), '')
        FROM task, json_each(iif(json_valid(detail), detail, '{}'), '$.images') AS image
        WHERE state != 'done' AND detail LIKE '%"file"%' AND json_extract(image.value, '$.file') IS NOT NULL;
    REPLACE INTO picture
        SELECT picture.task, picture.number, picture.path, json_extract(image.value, '$.sha256')
        FROM event, json_each(iif(json_valid(body), body, '{}'), '$.images') AS image
        JOIN picture ON picture.task = event.task AND picture.number = image.key + 1
            AND picture.path = json_extract(image.value, '$.file')
        WHERE event.kind = 'TaskChanged' AND body LIKE '%"file"%' AND picture.sha256 = ''
            AND json_extract(image.value, '$.sha256') IS NOT NULL
    """,
    # What a person keeps: 0 for the whole task, or numbers of its pictures. What is searched for and counted by run.
    """
    ALTER TABLE task ADD COLUMN favourites TEXT NOT NULL DEFAULT '';
    CREATE INDEX task_by_favourite ON task(id) WHERE favourites != '';
    CREATE INDEX task_by_reason ON task(reason) WHERE reason != '';
    CREATE INDEX task_by_model ON task(model);
    CREATE INDEX task_by_provider ON task(provider);
    CREATE INDEX task_by_time ON task(created);
    CREATE INDEX charge_by_run ON charge(run);
    CREATE TABLE unsearched (task INTEGER PRIMARY KEY);
    INSERT INTO unsearched SELECT id FROM task;
    CREATE TABLE prompt_term (term TEXT PRIMARY KEY) WITHOUT ROWID
    """,
    "ALTER TABLE task ADD COLUMN parents TEXT NOT NULL DEFAULT '[]'",  # pictures that it starts from: [[task, picture]]
    "ALTER TABLE task ADD COLUMN cell TEXT NOT NULL DEFAULT '{}'",  # what was varied, by name in order, with its value
    # Tasks for any worker, the machine that a task is at, accounts that processes share, receipts that came too late.
    """
    ALTER TABLE task ADD COLUMN shared INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE task ADD COLUMN host TEXT NOT NULL DEFAULT '';
    ALTER TABLE task ADD COLUMN account TEXT NOT NULL DEFAULT '';
    CREATE INDEX task_for_workers ON task(id) WHERE shared = 1 AND state = 'queued' AND owner IS NULL;
    CREATE INDEX task_taken ON task(id) WHERE shared = 1
        AND state IN ('queued', 'submitting', 'running', 'saving') AND (owner IS NOT NULL OR state != 'queued');
    CREATE INDEX task_at_account ON task(account) WHERE state IN ('submitting', 'running');
    CREATE TABLE lane (account TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
    CREATE TABLE receipt (
        id INTEGER PRIMARY KEY AUTOINCREMENT, task INTEGER NOT NULL, fence INTEGER, job TEXT NOT NULL,
        url TEXT NOT NULL, at REAL NOT NULL
    );
    CREATE INDEX receipt_by_task ON receipt(task)
    """,
    # Places at accounts that are held for tasks whose submit was cut off.
    "CREATE TABLE held (task INTEGER PRIMARY KEY, account TEXT NOT NULL, at REAL NOT NULL)",
    # Processes that wait for a place at an account: since when, and when they last looked.
    """
    CREATE TABLE waiting (
        account TEXT NOT NULL, process INTEGER NOT NULL, since REAL NOT NULL, seen REAL NOT NULL,
        PRIMARY KEY (account, process)
    ) WITHOUT ROWID
    """,
    # How often tasks have changed, by which a process notices that the history was set back: see `continuity`.
    """
    CREATE TABLE changes (number INTEGER NOT NULL);
    INSERT INTO changes (number) VALUES (0);
    CREATE TRIGGER count_run AFTER INSERT ON run BEGIN UPDATE changes SET number = number + 1; END;
    CREATE TRIGGER count_change AFTER UPDATE OF state, fence ON task
        BEGIN UPDATE changes SET number = number + 1; END
    """,
)


def version_of(db: "Connection") -> int:
    """How many of the steps this database has taken."""
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def migrate(db: "Connection") -> None:
    """Take the steps that are missing, inside a transaction of the caller's."""
    for number, script in enumerate(MIGRATIONS[version_of(db) :], version_of(db) + 1):
        for statement in _statements(script):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {number}")


def _statements(script: str) -> Iterator[str]:
    """The statements of a script one by one; a trigger has some inside of it."""
    statement = ""
    for part in script.split(";"):
        statement += f"{part};"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
