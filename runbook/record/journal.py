"""The append-only record of a run; the only truth about it.

``journal.jsonl`` in the run's folder (lines: see chain.py), written by one process at a time
(``journal.lock``), by one thread, each record flushed to the disk before append() returns.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path, PurePath
from typing import Any

import msgspec

from runbook.clock import Clock, stamp
from runbook.errors import JournalDamaged, StateError
from runbook.events import Event, JournalRepaired, Record, Unknown
from runbook.record import chain
from runbook.record.lock import Lock
from runbook.record.output import OutputFile
from runbook.record.runs import RunSummary, new_run_id, runs, slug
from runbook.redact import Redactor

__all__ = [
    "Journal",
    "OutputFile",
    "RunSummary",
    "Verification",
    "new_run_id",
    "read",
    "runs",
    "slug",
    "verify",
]

NAME = "journal.jsonl"
#: Fields of events that name things or take fixed words. They come from the guide, the site and
#: this program, never from outside; a secret that happens to equal one must not break the record.
# fmt: off
_FIXED = frozenset((
    "type", "mode", "verdict", "phase", "how", "outcome", "kind", "id", "run", "step", "host", "hosts", "job",
    "attempt", "digest", "plan_digest", "guide_sha256", "output", "output_sha256", "lab", "via", "given",
    "files",
))
# fmt: on


@dataclass(frozen=True)
class Verification:
    """``head`` is the last record's hash; ``problems`` say which record is wrong, and how."""

    ok: bool
    records: int
    head: str
    problems: tuple[str, ...] = ()


class Journal:
    """Made by create() or open(), which block for a moment; ended by close()."""

    def __init__(
        self, folder: Path, clock: Clock, redactor: Redactor, lock: Lock, file: int, scanned: chain.Scan
    ) -> None:
        self.folder = folder
        self._clock, self._redactor, self._lock, self._file = clock, redactor, lock, file
        self._records, self._head, self._size = scanned.records, scanned.head, scanned.good
        self._broken = ""
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="journal")

    @classmethod
    def create(cls, folder: Path, clock: Clock, redactor: Redactor) -> Journal:
        """A new run's folder (mode 0700) and empty journal (0600). Raises StateError."""
        try:
            for parent in (folder.parent.parent, folder.parent):
                parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700)
            lock = Lock(folder / "journal.lock")
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            file = os.open(folder / NAME, flags, 0o600)
            _sync_folder(folder)
            _sync_folder(folder.parent)
        except FileExistsError:
            raise StateError(
                f"There is already a run in {folder}; it was not touched.", next="Choose another name."
            ) from None
        except OSError as error:
            raise StateError(
                f"The run's folder {folder} cannot be made: {error.strerror}.", next="Nothing was run."
            ) from None
        return cls(folder, clock, redactor, lock, file, chain.scan(b""))

    @classmethod
    def open(cls, folder: Path, clock: Clock, redactor: Redactor) -> Journal:
        """Go on writing. A last line that was cut off is set aside, and that goes on record.

        Raises JournalLocked while another process writes it, JournalDamaged when the chain is
        broken (nothing is changed then), StateError.
        """
        if not (folder / NAME).is_file():
            raise _absent(folder)
        lock = _lock(folder)
        try:
            scanned = chain.scan(_bytes(folder))
            if scanned.problems:
                raise _damaged(folder, scanned)
            kept = _set_aside(folder, scanned, clock) if scanned.tail else ""
            file = os.open(folder / NAME, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
            journal = cls(folder, clock, redactor, lock, file, scanned)
        except OSError as error:
            lock.release()
            raise _unwritable(folder, error) from None
        except BaseException:
            lock.release()
            raise
        if kept:
            event = JournalRepaired(dropped_bytes=len(scanned.tail), kept_as=kept)
            journal._write(journal._plain(event), stamp(clock.now()))
        return journal

    def records(self) -> list[Record]:
        """All records, as they are in the file."""
        return list(self._records)

    @property
    def head(self) -> str:
        """The last record's hash."""
        return self._head

    async def append(self, event: Event) -> Record:
        """Onto the disk, redacted; in the order of the calls. What was begun is finished even
        when the caller is cancelled. Raises StateError when the disk fails; the journal then
        is as it was before, and a later append may succeed."""
        plain, at = self._plain(event), stamp(self._clock.now())
        try:
            written = asyncio.get_running_loop().run_in_executor(self._writer, self._write, plain, at)
        except RuntimeError:
            raise StateError(f"The journal in {self.folder} is closed.") from None
        # seen even if nobody waits for it any more
        written.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(written)

    def append_now(self, event: Event) -> Record:
        """append() where there is no event loop: returns when it is on the disk."""
        return self._writer.submit(self._write, self._plain(event), stamp(self._clock.now())).result()

    async def close(self) -> None:
        """Finish what is being written; let go of the lock."""
        await asyncio.to_thread(self._writer.shutdown)
        self.close_now()

    def close_now(self) -> None:
        """close() where there is no event loop."""
        self._writer.shutdown()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            self._lock.release()

    def _plain(self, event: Event) -> dict[str, Any]:
        plain = msgspec.to_builtins(event, enc_hook=_as_text)
        return {key: value if key in _FIXED else self._redactor.data(value) for key, value in plain.items()}

    def _write(self, event: dict[str, Any], at: str) -> Record:
        """In the writer thread (or before there is one)."""
        if self._broken:
            raise StateError(self._broken, next="Make room or mend the disk, then resume the run.")
        raw, digest = chain.line(len(self._records) + 1, at, self._head, event)
        parsed = chain.parse(raw)
        if parsed is None or isinstance(parsed[0].event, Unknown):
            raise StateError(f"An event of type {event.get('type')} cannot be read back; it was not written.")
        try:
            if os.fstat(self._file).st_size != self._size:
                self._broken = (
                    f"Something else changed the journal in {self.folder}; nothing more is written."
                )
                raise StateError(self._broken, next="Look at it with `runbook report verify`.")
            _write_all(self._file, raw)
            os.fsync(self._file)
        except OSError as error:
            self._take_back(error)
            raise StateError(
                f"The journal in {self.folder} cannot be written: {error.strerror}. "
                "What was to be recorded is not; the records before it are safe.",
                next="Make room or mend the disk, then resume the run.",
            ) from None
        self._size += len(raw)
        self._head = digest
        self._records.append(parsed[0])
        return parsed[0]

    def _take_back(self, error: OSError) -> None:
        """A line that was written in part is cut off again."""
        try:
            os.ftruncate(self._file, self._size)
        except OSError:
            self._broken = (
                f"The journal in {self.folder} could not be written ({error.strerror}), "
                "and its last line may be cut off."
            )


def read(folder: Path) -> list[Record]:
    """The records, without a lock; a cut-off last line is left out. Raises JournalDamaged, StateError."""
    scanned = chain.scan(_bytes(folder))
    if scanned.problems:
        raise _damaged(folder, scanned)
    return scanned.records


def verify(folder: Path) -> Verification:
    """Prove the chain, offline. Raises StateError when there is no journal to read."""
    return check(folder)[1]


def check(folder: Path) -> tuple[list[Record], Verification]:
    """The records as far as they can be read, damaged or not, and what the chain proves."""
    scanned = chain.scan(_bytes(folder))
    problems = list(scanned.problems)
    if scanned.tail:
        problems.append(f"after record {len(scanned.records)}: {len(scanned.tail)} bytes of a cut-off line")
    if not scanned.records:
        problems.append("there is no record in it")
    return scanned.records, Verification(not problems, len(scanned.records), scanned.head, tuple(problems))


def _damaged(folder: Path, scanned: chain.Scan) -> JournalDamaged:
    return JournalDamaged(
        f"The journal {folder / NAME} is damaged: {scanned.problems[0]}. It was not touched.",
        next="`runbook report verify` lists all that is wrong; go on from a whole copy, or start a new run.",
    )


def _absent(folder: Path) -> StateError:
    return StateError(f"There is no journal in {folder}.", next="`runbook runs` lists the runs.")


def _unwritable(folder: Path, error: OSError) -> StateError:
    return StateError(
        f"The journal in {folder} cannot be written: {error.strerror}.", next="Nothing was run."
    )


def _lock(folder: Path) -> Lock:
    try:
        return Lock(folder / "journal.lock")
    except OSError as error:
        raise _unwritable(folder, error) from None


def _bytes(folder: Path) -> bytes:
    try:
        return (folder / NAME).read_bytes()
    except FileNotFoundError:
        raise _absent(folder) from None
    except OSError as error:
        raise StateError(f"The journal in {folder} cannot be read: {error.strerror}.") from None


def _set_aside(folder: Path, scanned: chain.Scan, clock: Clock) -> str:
    """Move the cut-off end to a file of its own, first there and then away; its name."""
    name = f"journal.cut-{clock.now().astimezone(UTC):%Y%m%dT%H%M%SZ}"
    names: Iterable[str] = (name, *(f"{name}-{number}" for number in range(2, 1000)))
    kept = next(name for name in names if not (folder / name).exists())
    file = os.open(folder / kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _write_all(file, scanned.tail)
        os.fsync(file)
    finally:
        os.close(file)
    _sync_folder(folder)
    file = os.open(folder / NAME, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.ftruncate(file, scanned.good)
        os.fsync(file)
    finally:
        os.close(file)
    return kept


def _as_text(value: Any) -> Any:
    """What an act may put into a note's data besides JSON values; of a Secret, only its label."""
    if isinstance(value, Mapping):
        return dict(value)
    return str(value) if isinstance(value, PurePath) else repr(value)


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _sync_folder(folder: Path) -> None:
    """A new file's name is on the disk too."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
