"""The last line of defence: are enough backups kept, and is the copy on this PC safe?

What a program cannot see is a question that a person answers once a quarter (runbook backup safeguards).
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from runbook.backup import inventory, keeping
from runbook.backup.inventory import Inventory, Item
from runbook.backup.safeguards import answers, copies, encryption, mounts, permissions, seen, tofustate
from runbook.check import Finding, check
from runbook.context import Look
from runbook.errors import CouldNotLook, HostError
from runbook.events import Verdict
from runbook.text import printable
from runbook.units import Duration, Size, duration, parse_duration, parse_size

ASK = "runbook backup safeguards"


# ── the schedule ───────────────────────────────────────────────────────────────────────────
@check("Every tier of backups is as it should be", on="backup")
async def retention(look: Look) -> Finding:
    """Daily at 01:00, 7 kept; 4 weeklies; 12 monthlies; the cron entries; room for weeks to come."""
    found = await keeping.look(look, look.host)
    said = [f"{one.name}: {text}" for one in found.tiers for text in one.remarks()]
    if found.schedule.verdict != "pass":
        said.append(found.schedule.words)
    if found.room.verdict != "pass":
        said.append(found.room.problem or f"room for {(found.room.days or 1) - 1} days at the current growth")
    said += found.complaints
    depth = ", ".join(f"{one.found} of {one.keep} {one.name}" for one in found.tiers)
    return _found(look, found.verdict, "7 daily, 4 weekly, 12 monthly backups, none missing", said or [depth])


# ── what can be looked at ──────────────────────────────────────────────────────────────────
@check("The local backups lie on an encrypted device", on="once")
async def encrypted(look: Look) -> Finding:
    """LUKS and the like, fscrypt, ZFS, FileVault; where that cannot be seen, a person is asked."""
    expected = f"{look.site.backup.local} on an encrypted device"
    try:
        found = await encryption.look(Path(look.site.backup.local), look.host)
    except CouldNotLook as error:
        return await _asked(look, "encrypted", expected, but=str(error))
    return _found(look, "pass" if found.encrypted else "fail", expected, [found.how])


@check("A second copy is there and equal", on="once")
async def second_copy(look: Look, read_up_to: Size = "2GB") -> Finding:
    """In one of backup.copies lies the newest local backup, the same by SHA-256. A copy that is away
    counts for a quarter after it was found equal."""
    expected = "the newest local backup in one of backup.copies, equal by SHA-256"
    places = look.site.backup.copies
    if not places:
        return _found(look, "fail", expected, ["backup.copies in the settings names no folder"])
    found = await inventory.take(look, vm=False)
    newest = copies.newest_here(found)
    if newest is None:
        return _found(look, "fail", expected, ["there is no complete backup on this PC"])
    said: list[str] = []
    verdicts: list[Verdict] = []
    for number, path in enumerate(places, 1):
        verdict, words = await _one_copy(look, found, newest, f"copy {number}", path, parse_size(read_up_to))
        verdicts.append(verdict)
        said.append(f"{path}: {words}")
    best = min(range(len(said)), key=lambda n: ("pass", "warn", "unknown", "fail").index(verdicts[n]))
    differing = [words for verdict, words in zip(verdicts, said, strict=True) if verdict == "fail"]
    if verdicts[best] == "pass" and differing:
        return _found(look, "warn", expected, [*differing, said[best]])
    return _found(look, verdicts[best], expected, [said[best], *said[:best], *said[best + 1 :]])


async def _one_copy(
    look: Look, found: Inventory, newest: Item, name: str, path: str, up_to: int
) -> tuple[Verdict, str]:
    now, folder = look.clock.now(), seen.state_folder(look)
    place = next(one for one in found.places if one.name == name)
    if place.state == "unknown":
        return "unknown", place.problem
    if place.state == "absent":
        looks = await asyncio.to_thread(seen.read, folder)
        last = seen.last_equal((one for one in looks if one.site == look.site.name and one.path == path), now)
        if last is None:
            return "unknown", "not there now, and never compared: attach it and look again"
        words = f"not there now; {last.equal} on it was equal on {last.day}"
        if last.equal != newest.id:
            return "warn", f"{words}, but the newest here is {newest.id}"
        return ("pass" if now.date() - last.day <= answers.VALID else "warn"), words
    there = copies.same_in(found, name, newest.id)
    if there is None:
        others = [one.id for one in found.backups if one.place == name]
        return "fail", f"{newest.id} is not on it" + (f" (its newest is {others[0]})" if others else "")
    stop = threading.Event()
    try:
        compared = await asyncio.to_thread(copies.compare, newest, there, up_to, stop)
    except OSError as error:
        return "unknown", f"{error.filename or path} cannot be read: {error.strerror}"
    finally:
        stop.set()  # cancelled: the thread ends at its next block
    if compared.equal is None:
        return "unknown", compared.words
    if not compared.equal:
        return "fail", f"{newest.id} is not the same there: {compared.words}"
    await asyncio.to_thread(seen.note, folder, look.site.name, {path: True}, now, newest.id)
    return "pass", f"{newest.id} is equal, {compared.words}"


@check("The further copies are not attached all the time", on="once")
async def detached(look: Look) -> Finding:
    """By the looks of a month: a drive that was within reach at every one is lost with the PC. Before a
    month of looks has passed, a person is asked."""
    expected = "backup.copies away at some look of the last month"
    places = look.site.backup.copies
    if not places:
        raise CouldNotLook("backup.copies in the settings names no folder")
    now, folder = look.clock.now(), seen.state_folder(look)
    reachable = {path: await asyncio.to_thread(Path(path).expanduser().is_dir) for path in places}
    await asyncio.to_thread(seen.note, folder, look.site.name, reachable, now)
    looks = [one for one in await asyncio.to_thread(seen.read, folder) if one.site == look.site.name]
    attached, away, early = [], [], []
    for path in places:
        habit, shown, days = seen.habit((one for one in looks if one.path == path), now)
        if habit == "away" and shown:
            away.append(f"{path} was away on {shown.day}")
        elif habit == "attached" and shown:
            attached.append(f"{path} was there at every look since {shown.day} ({days} days)")
        elif habit == "never":
            early.append(f"{path} was not there at any look: attach it once")
        else:
            early.append(f"{path} was there at every look, on {days} days; it takes a month to tell")
    if away:
        return _found(look, "pass", expected, [*away, *attached, *early])
    if attached:
        return _found(look, "warn", expected, [*attached, *early])
    return await _asked(look, "detached", expected, but=early[0])


@check("The local backups are not open to others", on="once")
async def private(look: Look) -> Finding:
    """By the modes of the backups and of all folders above them; copies too, where they are there."""
    expected = "local backups and copies that no other user of this PC can read"
    open_to_others: list[str] = []
    open_to_group: list[str] = []
    keeps_none: list[str] = []
    looked = 0
    for place in (look.site.backup.local, *look.site.backup.copies):
        folder = Path(place).expanduser()
        try:
            if not await asyncio.to_thread(folder.is_dir):
                continue
            names = [one.name for one in await asyncio.to_thread(lambda at: list(at.iterdir()), folder)]
            found = await asyncio.to_thread(permissions.readable, folder, names)
        except OSError as error:
            raise CouldNotLook(f"{error.filename or folder} cannot be read: {error.strerror}") from None
        looked += 1
        if kind := await asyncio.to_thread(_keeps_none, folder):
            keeps_none.append(
                f"{place} is on {kind}, which keeps no permissions: only encryption protects it"
            )
            continue
        for one in found:
            (open_to_others if one.to == "others" else open_to_group).extend(one.paths)
    if not looked:
        raise CouldNotLook(f"{look.site.backup.local} is not there")
    said = [f"others can use {path}: chmod -R go= {path!r}" for path in open_to_others]
    said += keeps_none
    group = [f"the group can use {path}: chmod -R go= {path!r}" for path in open_to_group]
    if said or group:
        verdict: Verdict = "fail" if open_to_others else "warn"
        return _found(look, verdict, expected, [*said, *(group if not open_to_others else [])])
    return _found(look, "pass", expected, [f"{looked} folders looked at"])


def _keeps_none(folder: Path) -> str:
    """The file system's kind, when it keeps no modes."""
    try:
        kind = mounts.holding(str(folder.resolve())).fstype
    except CouldNotLook:
        return ""
    return kind if kind in permissions.KEEPS_NONE else ""


@check("The newest local backup was verified lately", on="once")
async def verified(look: Look, within: Duration = "31d") -> Finding:
    """By the records beside the backups; what was found then counts too."""
    expected = f"the newest local backup verified within {within}, and sound"
    found = await inventory.take(look, vm=False)
    newest = copies.newest_here(found)
    if newest is None:
        return _found(look, "fail", expected, ["there is no complete backup on this PC"])
    again = f"runbook backup verify {newest.path}"
    last = newest.verified
    if last is None:
        return _found(look, "fail", expected, [f"{newest.id} was never verified here: {again}"])
    age = max(0.0, (look.clock.now() - last.at).total_seconds())
    words = f"{newest.id} was verified {duration(age)} ago: {last.verdict}"
    if last.verdict == "damaged":
        return _found(look, "fail", expected, [f"{words}: {last.first}"])
    if age > parse_duration(within):
        return _found(look, "fail", expected, [f"{words}; do it again: {again}"])
    verdict: Verdict = "warn" if last.verdict == "doubtful" else "pass"
    return _found(look, verdict, expected, [f"{words}: {last.first}" if last.first else words])


@check("OpenTofu's state is backed up", on="once")
async def tofu_state(look: Look) -> Finding:
    """A *.tfstate in the local backups' folder or a further copy, the same as the one in use; where there
    is none, a person is asked (the state may be kept by a server)."""
    expected = "a copy of the OpenTofu state beside the backups, the same as the one in use"
    places = [Path(one) for one in (look.site.backup.local, *look.site.backup.copies)]
    paths = await asyncio.to_thread(tofustate.find, places)
    try:
        found = await asyncio.to_thread(tofustate.judge, paths, Path(look.site.tofu.folder))
    except HostError as error:
        raise CouldNotLook(str(error)) from None
    if not found:
        return await _asked(look, "tofu_state", expected, but="no *.tfstate lies beside the backups")
    said = [f"{one.path}: {one.words}" for one in found]
    return _found(look, "warn" if found[0].current is False else "pass", expected, said)


@check("There are notes of custom configuration", on="once")
async def notes(look: Look) -> Finding:
    """Asked once a quarter; an answer that is the path of a file is looked at each time."""
    expected = "notes of custom configuration, where they can be found"
    found = await _asked(look, "notes", expected)
    answer = (await _answer(look, "notes"))[1]
    if found.verdict != "pass" or answer is None or not answer.text.startswith(("/", "~/")):
        return found
    path = Path(answer.text)
    try:
        there = await asyncio.to_thread(lambda: path.expanduser().stat().st_size > 0)
    except (OSError, RuntimeError, ValueError):
        there = False
    if there:
        return found
    return _found(look, "fail", expected, [f"{answer.text} is empty, or not there any more"])


# ── what only a person can tell ────────────────────────────────────────────────────────────
@check("The media are kept safe from damage and theft", on="once")
async def media(look: Look) -> Finding:
    """Asked once a quarter."""
    return await _asked(look, "media", "media kept safe, as somebody said within a quarter")


@check("The credentials are stored safely", on="once")
async def credentials(look: Look) -> Finding:
    """Asked once a quarter."""
    return await _asked(look, "credentials", "credentials stored safely, as somebody said within a quarter")


@check("The access to the domain's registrar is documented", on="once")
async def registrar(look: Look) -> Finding:
    """Asked once a quarter."""
    return await _asked(look, "registrar", "registrar access documented, as somebody said within a quarter")


async def _answer(look: Look, key: str) -> tuple[answers.State, answers.Answer | None]:
    try:
        given = await asyncio.to_thread(answers.read, seen.state_folder(look))
    except OSError as error:
        raise CouldNotLook(f"the answers cannot be read: {error.strerror}") from None
    return answers.state(given, look.site.name, key, look.clock.now())


async def _asked(look: Look, key: str, expected: str, *, but: str = "") -> Finding:
    """What a person said. ``but``: why a look did not tell."""
    state, answer = await _answer(look, key)
    said = [but] if but else []
    if answer is None:
        return _found(look, "unknown", expected, [f"{answers.NEVER}: {ASK}", *said])
    words = f"{answer.who} on {answer.at:%Y-%m-%d}: {answer.text}"
    if state == "expired":
        return _found(
            look, "unknown", expected, [f"{answers.AGAIN}, the answer is older than a quarter ({words})"]
        )
    if state == "future":
        return _found(
            look, "unknown", expected, [f"{answers.AGAIN}, the answer is dated in the future ({words})"]
        )
    return _found(look, "pass" if state == "yes" else "fail", expected, [words, *said])


def _found(look: Look, verdict: Verdict, expected: str, said: list[str]) -> Finding:
    """The first of ``said`` is what was observed; all of it is evidence."""
    more = f" (and {len(said) - 1} more)" if len(said) > 1 else ""
    return Finding(
        verdict=verdict,
        expected=expected,
        observed=printable(said[0], limit=600) + more,
        evidence="\n".join(said),
        simulated=look.mode == "practice",
    )
