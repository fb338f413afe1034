"""Take a backup of CouchDB now: every database as it was at one moment, in the platform's layout.

A cluster is one state and dumped once, under the folder of its first node; its databases are
spread over all nodes, several at once. Each is compared with the servers before the whole becomes
a backup. See ``snapshot`` for how one is read while it is written to, ``beside`` for what is kept
that the platform's dumps lack, ``dumpfolder`` for the folder.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime
from pathlib import Path

import msgspec

from runbook.couch import threads
from runbook.couch.asking import ATTEMPTS, FIRST_PAUSE, Asking, Stopped
from runbook.couch.client import Client
from runbook.couch.dumping import dumpproof
from runbook.couch.dumping.dumpfolder import DumpFolder
from runbook.couch.dumping.dumpplan import DumpPlan, Target
from runbook.couch.dumping.snapshot import Snapshot
from runbook.couch.progress import Progress
from runbook.couch.reading.beside import Meta
from runbook.couch.restoring.pace import quiet
from runbook.errors import ActionFailed, RunbookError

#: databases read at once, over all nodes
PARALLEL = 6
_TICK = 0.2


class Dumped(msgspec.Struct, frozen=True, kw_only=True):
    """``metas``: ``node/database`` -> what is known beside its dump."""

    path: str
    metas: dict[str, Meta]
    resumed: bool = False

    @property
    def documents(self) -> int:
        return sum(one.documents for one in self.metas.values())

    def remarks(self) -> list[str]:
        """What a person has to know of it."""
        found = []
        for name, one in self.metas.items():
            if one.late:
                found.append(
                    f"{name}: {one.late} documents changed after sequence {one.sequence[:24]}; it is written "
                    "to faster than it can be read, and some documents in the dump may be newer than others"
                )
            if one.lacking:
                found.append(f"{name}: the attachments of {one.lacking} documents could not be had")
        return found


class Dumping:
    """One dump: ``run`` blocks until the backup is there, ``stop`` ends it from another thread.

    ``clients``: by the address that names a node's folder, those of ``planned``. ``say`` hears lines for
    a person, from any thread.
    """

    def __init__(
        self,
        folder: Path,
        plan: DumpPlan,
        clients: Mapping[str, Client],
        *,
        say: Callable[[str], None] = quiet,
        parallel: int = PARALLEL,
        attempts: int = ATTEMPTS,
        pause: float = FIRST_PAUSE,
    ) -> None:
        self.folder, self.plan, self.clients = DumpFolder(folder), plan, dict(clients)
        self.say, self.parallel, self.attempts, self.pause = say, parallel, attempts, pause
        self.progress = Progress(plan.documents, plan.bytes)
        self._stop, self._gate = threading.Event(), threading.Lock()

    def run(self) -> Dumped:
        """Raises ActionFailed, LoginRefused, DumpDamaged and the Client's errors after many attempts.
        What was read by then stays in the folder's ``.part``, and the next run goes on with it."""
        try:
            resumed = self.folder.open(self.plan.state)
            if resumed:
                self.say(f"going on with what was read before, in {self.folder.part}")
            metas = self._take_all()
            made = min(datetime.fromisoformat(one.made) for one in metas.values())
            self.folder.finish(self.plan.nodes, made, self._beat)
        except (OSError, sqlite3.Error) as error:
            raise self._not_written(error) from None
        finally:
            self.folder.close()
        return Dumped(path=str(self.folder.path), metas=metas, resumed=resumed)

    def stop(self) -> None:
        """End soon: connections are cut."""
        self._stop.set()
        for client in self.clients.values():
            client.close()

    def _take_all(self) -> dict[str, Meta]:
        """The largest first; the first error ends the others."""
        order = sorted(enumerate(self.plan.targets), key=lambda pair: -pair[1].bytes)
        pool = ThreadPoolExecutor(self.parallel, thread_name_prefix="dump")
        try:
            tasks = {one.name: pool.submit(self._take, one, turn) for turn, one in order}
            for task in wait(tasks.values(), return_when="FIRST_EXCEPTION").done:
                if error := task.exception():
                    raise error
            return {one.name: tasks[one.name].result() for one in self.plan.targets}
        except BaseException:
            self._stop.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _take(self, target: Target, turn: int) -> Meta:
        place = self.folder.place(target.node, target.database)
        asking = Asking(self._nodes(target, turn), self._stop, attempts=self.attempts, pause=self.pause)
        snapshot = Snapshot(
            target.database,
            place.dump,
            place.work,
            asking,
            identity=target.identity,
            progress=self.progress,
            gate=self._gate,
        )
        try:
            meta = snapshot.take()
            wrong = dumpproof.problems(place.dump, target.database, asking, self._gate)
        except (Stopped, OSError, sqlite3.Error):
            raise
        except RunbookError as error:
            raise ActionFailed(
                f"The dump of {target.name} did not come to its end: {error.what}",
                next=f"{error.next} There is no backup yet; the next call goes on from there.".strip(),
            ) from None
        if wrong:
            raise ActionFailed(
                f"The dump of {target.name} is not what the servers hold: {' '.join(wrong)}",
                next=f"There is no backup. Start again into another folder; {self.folder.part} is of no use.",
            )
        self.say(f"{target.database}: {meta.documents} documents, compared with the servers")
        return meta

    def _nodes(self, target: Target, turn: int) -> list[Client]:
        if self.plan.each_node:
            return [self.clients[target.node]]
        every = [self.clients[name] for name in self.plan.sources]
        start = turn % len(every)
        return every[start:] + every[:start]

    def _beat(self) -> None:
        if self._stop.is_set():
            raise Stopped("Stopped.")

    def _not_written(self, error: OSError | sqlite3.Error) -> ActionFailed:
        where = getattr(error, "filename", None) or self.folder.part
        reason = getattr(error, "strerror", None) or str(error)
        return ActionFailed(
            f"{where} could not be written: {reason}. {self.folder.path} was not made.",
            next=f"Make room there and try again: it goes on with what lies in {self.folder.part}.",
        )


async def dump(
    folder: Path,
    plan: DumpPlan,
    clients: Mapping[str, Client],
    *,
    progress: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] = quiet,
) -> Dumped:
    """Dump in threads; ``progress`` and ``say`` are called on the event loop. When this is cancelled,
    the clients are closed and all threads have ended before it returns. Raises as Dumping.run."""
    work = Dumping(folder, plan, clients, say=threads.teller(say))
    return await threads.watched(work, (lambda: progress(work.progress)) if progress else None)
