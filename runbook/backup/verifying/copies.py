"""The nodes' copies of each database, compared: document by document where they are not the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from runbook.backup.verifying.examine import Examined
from runbook.backup.verifying.feed import Came
from runbook.backup.verifying.findings import Findings
from runbook.backup.verifying.pool import Pool
from runbook.backup.verifying.source import Content
from runbook.couch.reading import inspection
from runbook.couch.reading.inspection import DumpDamaged, Inspection
from runbook.couch.reading.selection import NEVER, Question, Selection, choose
from runbook.errors import RunbookError


class _Order(msgspec.Struct, frozen=True):
    """A database whose copies differ, with what is known of each dump already."""

    database: str
    dumps: dict[str, Path]
    known: tuple[tuple[Inspection, tuple[int, int], str], ...]
    limit: int
    base: str


def compare(content: Content, limit: int, base: str, pool: Pool, found: Findings) -> None:
    """Raises InterruptedError."""
    orders, equal = [], []
    for database, copies in content.dumps().items():
        sound = {node: one for node, one in copies.items() if one.dump and not one.dump.fatal}
        if database in NEVER or len(sound) < 2:
            continue
        if len({one.sha256 for one in sound.values()}) == 1:
            equal.append(database)
        elif content.folder is None:
            counts = ", ".join(f"{node} {one.dump.rows}" for node, one in sound.items() if one.dump)
            found.add(
                "copies",
                "unjudged",
                f"the copies of {database} differ ({counts} documents); in a tar.gz they are not compared "
                "document by document",
            )
        else:
            orders.append(_order(database, sound, content.folder, limit, base))
    if equal:
        found.add("copies", "good", f"the nodes' copies are equal: {', '.join(equal)}")
    for order, (state, text) in zip(orders, pool.map(_compared, orders), strict=True):
        found.add("copies", "good" if state else "doubt", f"{order.database}: {text}")


def _order(database: str, copies: Mapping[str, Examined], folder: Path, limit: int, base: str) -> _Order:
    known = tuple((one.dump, one.stamp, one.sha256) for one in copies.values() if one.dump)
    return _Order(database, {node: folder / one.name for node, one in copies.items()}, known, limit, base)


def _compared(order: _Order, came: Came) -> tuple[bool, str]:
    """(is it as it is with any cluster that is written to, what was found)"""
    for dump, stamp, sha256 in order.known:
        # of one that is compressed this is not the text's, which is what is compared there
        inspection.remember(dump, order.limit, stamp, "" if dump.path.endswith(".gz") else sha256)
    try:
        one = choose(order.database, order.dumps, limit=order.limit, base=order.base)
    except (DumpDamaged, OSError) as error:
        return (
            False,
            f"the copies could not be compared: {error.what if isinstance(error, RunbookError) else error}",
        )
    if isinstance(one, Question):
        return False, one.text
    return not _strange(one), f"{one.expected} documents of {len(order.dumps)} copies: {one.note}"


def _strange(one: Selection) -> bool:
    return bool(one.clashes) or "different" in one.note
