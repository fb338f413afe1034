"""What a dump of ours carries beside each ``node-X/<db>.json``, which the platform's dumps lack.

    node-10.0.1.10/
      edxapp_files.json                  as the platform's script writes it
      beside/
        edxapp_files.meta.json           Meta: _security, _revs_limit, shards, sequence, counts
        edxapp_files.attached.json       the documents with attachments, their contents inline

The second file is a dump in the same format, of just those documents; it is there only when there
are any. A dump without this folder is one of the platform's, and is read as that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from runbook.couch.reading import inspection
from runbook.couch.reading.inspection import DumpDamaged
from runbook.couch.reading.reader import Problem, Row

FOLDER = "beside"
META, ATTACHED = ".meta.json", ".attached.json"


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """A database as it was dumped, at ``sequence`` of its changes feed.

    ``q`` and ``revs_limit`` are 0, ``security`` is None where the server did not tell them.
    """

    database: str
    documents: int  #: rows of the dump
    deleted: int
    sequence: str
    q: int = 0
    n: int = 0
    partitioned: bool = False
    security: dict[str, Any] | None = None
    revs_limit: int = 0
    #: documents of the attached dump
    attached: int = 0
    #: documents whose attachments' contents could not be had
    lacking: int = 0
    #: changes after ``sequence`` that could not be followed, of a database that is written to faster
    #: than it can be read; 0 for a dump that is the exact state at ``sequence``
    late: int = 0
    #: what set this database apart from any other of its name
    identity: str = ""
    #: UTC, ISO 8601: when the dump had reached ``sequence``
    made: str = ""


def meta_path(dump: Path) -> Path:
    return dump.parent / FOLDER / (_stem(dump) + META)


def attached_path(dump: Path) -> Path:
    return dump.parent / FOLDER / (_stem(dump) + ATTACHED)


def _stem(dump: Path) -> str:
    return dump.name.removesuffix(".gz").removesuffix(".json")


def load(dump: Path) -> Meta | None:
    """What is known besides of the dump in that file; None for one of the platform's. Raises
    DumpDamaged, OSError."""
    path = meta_path(dump)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Meta)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        text = f"What is known beside {dump.name} cannot be read: {error}."
        raise DumpDamaged(path, Problem("not_json", text)) from None


def whole(dump: Path, rows: Iterator[Row]) -> Iterator[Row]:
    """``rows`` of that dump (or some of them, in the order of their ids), those with attachments
    with the contents inline, as far as they lie beside it. Raises DumpDamaged."""
    path = attached_path(dump)
    if not path.is_file():
        yield from rows
        return
    with closing(inspection.rows(path)) as contents:
        held = next(contents, None)
        for row in rows:
            while held is not None and held.id < row.id:
                held = next(contents, None)
            if row.stubs and held is not None and (held.id, held.rev) == (row.id, row.rev):
                yield held
            else:
                yield row
