"""A listing becomes the exact state of its database at one moment: by what the changes feed tells.

The feed is followed from before the listing to its end; each document comes with its change, as it
was then, with its attachments. What the dump has already (the feed tells it all the same) is passed
over without its document being read.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import UNSET

from runbook.couch import changes
from runbook.couch.asking import Asking, CutOff
from runbook.couch.changes import Change
from runbook.couch.client import Client
from runbook.couch.dumping import inlined
from runbook.couch.dumping.ledger import Ledger

#: changes followed at most: so many times the documents there are, and so many besides
_TIMES, _BESIDES = 3, 100_000


def follow(ledger: Ledger, database: str, asking: Asking, answer: Path, spool: Path) -> int:
    """Follow the feed from ``ledger["sequence"]`` to its end, where the dump is exact then: 0. Of a
    database that is written to faster than it can be read: changes that are left, about. ``answer``
    is a file that may be written to, ``spool`` the one of ``inlined``. Raises what ``Asking.ask`` does,
    OSError."""
    most, read = _TIMES * ledger.documents() + _BESIDES, 0
    while read < most:
        page = asking.ask(lambda client: changes.page(client, database, ledger["sequence"]))
        rows = page.results
        new = next((place for place, one in enumerate(rows) if _news(ledger, one)), None)
        if new is None:
            ledger["sequence"] = str(page.last_seq)
            if len(rows) < changes.PAGE:
                return 0
            read += len(rows)
            continue
        if new:
            ledger["sequence"] = str(rows[new - 1].seq)
        found, told = 1, changes.DOCUMENTS
        while found and told == changes.DOCUMENTS and read < most:
            found, told = asking.ask(lambda client: _take(client, ledger, database, asking, answer, spool))
            read += told
        if told < changes.DOCUMENTS:
            return 0
    return max(1, page.pending)


def _news(ledger: Ledger, one: Change) -> bool:
    rev = ledger.revision(one.id)
    return bool(rev) if one.deleted else rev != one.rev


def _take(
    client: Client, ledger: Ledger, database: str, asking: Asking, answer: Path, spool: Path
) -> tuple[int, int]:
    """A page of changes with their documents into the ledger: how many were news, and how many the
    page has."""
    news = 0
    page = changes.documents(client, database, ledger["sequence"], answer, asking.go_on)
    with ledger.together(), inlined.opened(spool, ledger) as file:
        for one in page.results:
            if not _news(ledger, one):
                continue
            news += 1
            if one.deleted:
                ledger.gone(one.id)
            elif one.doc is UNSET or not inlined.store(ledger, file, one.id, memoryview(one.doc)):
                raise CutOff(client, f"the changes of {database}")
        ledger["sequence"] = str(page.last_seq)
        return news, len(page.results)
