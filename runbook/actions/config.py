"""config.unpack and config.adapt: the platform's configuration on each VM."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import ClassVar, TypeVar

import msgspec

from runbook.action import NoParams, Outcome, Params, Plan, Probe, Repeat, Scope
from runbook.context import Context, Look
from runbook.errors import ActionFailed, CouldNotLook, HostError, RunbookError
from runbook.hosts.base import Completed
from runbook.platform import adapt, compose, dotenv, unpack
from runbook.platform.lastwords import last_words
from runbook.units import size


class Unpack:
    """Upload the configuration archive, unpack it aside, move it into place."""

    scope: ClassVar[Scope] = "per_host"
    repeat: ClassVar[Repeat] = "probe_first"
    params: ClassVar[type[Params]] = NoParams
    outputs: ClassVar[tuple[str, ...]] = ("compose_dir",)

    async def probe(self, look: Look, params: NoParams) -> Probe:
        where = unpack.folder(look)
        marker = await unpack.read_marker(look.host, where)
        if marker is None:
            return Probe(satisfied=False, summary=f"{where} was not unpacked here by this program")
        source = await _could_look(unpack.source(look))
        if marker.sha256 != source.listing.sha256:
            return Probe(satisfied=False, summary=f"{where} is from another archive: {marker.source}")
        changed = await unpack.changed(look.host, where, source.files)
        # these are what config.adapt edits; whether they are right is its question
        inside = PurePosixPath(source.compose)
        edited = {str(inside / name) for name in (".env", *compose.FILES)}
        if other := [name for name in changed if name not in edited]:
            return Probe(
                satisfied=False, summary=f"{len(other)} unpacked files differ or are gone: {other[0]}, …"
            )
        return Probe(
            satisfied=True,
            summary=f"{where} is unpacked from this archive: {len(source.files)} files compared",
            evidence=f"{Path(source.path).name} sha256 {marker.sha256}",
            outputs={"compose_dir": marker.compose_dir},
        )

    async def plan(self, look: Look, params: NoParams) -> Plan:
        where, source = unpack.folder(look), await unpack.source(look)
        listing = source.listing
        there = await _exists(look, where)
        found = str(PurePosixPath(where) / source.compose)
        items = [
            f"upload {source.path} ({size(Path(source.path).stat().st_size)}), listed and found safe",
            f"unpack {len(source.files)} files ({size(listing.bytes)}) into a fresh folder beside {where}",
            f"keep the present {where} as {where}.before-<time>" if there else f"{where} is not there yet",
            f"move the new folder to {where}",
            f"the compose file lies in {found}",
        ]
        if (node := look.host.machine.internal) and f"node-{node}" not in source.path:
            items.insert(0, f"the backup has no config.tar.gz of {node}: another node's is used")
        return Plan(
            summary=f"unpack the configuration into {where}",
            items=tuple(items),
            changes=f"replaces the folder {where}" if there else f"makes the folder {where}",
            data={"archive": source.path, "sha256": listing.sha256, "compose_dir": found},
        )

    async def act(self, context: Context, params: NoParams, plan: Plan) -> Outcome:
        where, source = unpack.folder(context), await unpack.source(context)
        if source.listing.sha256 != plan.data["sha256"]:
            raise ActionFailed(f"{source.path} changed since the plan; nothing was unpacked. Plan anew.")
        staging = f"{where}.runbook-staging"
        try:
            kept = await _unpack(context, source, where, staging, plan.data["compose_dir"])
        except (HostError, ActionFailed) as error:
            await _remove(context, staging)
            if "no space left" in str(error).lower():
                raise ActionFailed(
                    f"{context.host.name}: the disk is full; {where} is as it was, the half is removed.",
                    next="Make room there (df -h; docker image prune), then try again.",
                ) from None
            raise
        except BaseException:
            await asyncio.shield(_remove(context, staging))
            raise
        await context.voice.run(["rm", "-rf", "--", staging])
        summary = f"{len(source.files)} files in {where}; the compose file is in {plan.data['compose_dir']}."
        if kept:
            summary += f" What was there is kept as {kept}."
        return Outcome(summary=summary, outputs={"compose_dir": plan.data["compose_dir"]})


async def _unpack(context: Context, source: unpack.Source, where: str, staging: str, compose_dir: str) -> str:
    """Everything up to the two renames that put it in place; returns where the old one is kept."""
    host, voice = context.host, context.voice
    tree, uploaded = f"{staging}/tree", f"{staging}/config.tar.gz"
    await _must(context, ["rm", "-rf", "--", staging])
    await _must(context, ["mkdir", "-p", "--", str(PurePosixPath(where).parent)])
    # not -p: whoever made this folder in between would own what is unpacked there
    await _must(context, ["mkdir", "-m", "0700", "--", staging])
    await _must(context, ["mkdir", "-m", "0700", "--", tree])

    def tick(done: int, total: int) -> None:
        voice.progress("uploading config.tar.gz", done, total, "bytes")

    await host.put_file(Path(source.path), uploaded, tick=tick)
    argv = ["tar", "-xzf", uploaded, "-C", tree, "--no-same-owner", "--no-same-permissions"]
    await _must(context, [*argv, "--strip-components=1"] if source.strip else argv, timeout=600)
    if wrong := await unpack.changed(host, tree, source.files):
        raise ActionFailed(
            f"{host.name}: {len(wrong)} of {len(source.files)} files are not as in the archive ({wrong[0]}); "
            f"{where} is as it was.",
            next="Try again; if it happens again, look at that machine's disk.",
        )
    # inside the folder that is moved: where the marker is, the files are
    marker = unpack.Marker(
        sha256=source.listing.sha256, source=source.path, compose_dir=compose_dir, files=source.files
    )
    await host.write_bytes(f"{tree}/{unpack.MARKER}", msgspec.json.encode(marker))
    kept = ""
    if await _exists(context, where):
        kept = f"{where}.before-{context.clock.now():%Y%m%dT%H%M%S%fZ}"
        await _must(context, ["mv", "-T", "--", where, kept])
    try:
        await _must(context, ["mv", "-T", "--", tree, where])
    except BaseException:
        if kept:
            with suppress(RunbookError):
                await asyncio.shield(host.run(["mv", "-T", "-n", "--", kept, where], timeout=30))
        raise
    return kept


class Adapt:
    """Give this VM its own index and node name, and what all nodes must share."""

    scope: ClassVar[Scope] = "per_host"
    repeat: ClassVar[Repeat] = "probe_first"
    params: ClassVar[type[Params]] = NoParams
    outputs: ClassVar[tuple[str, ...]] = ()

    async def probe(self, look: Look, params: NoParams) -> Probe:
        files = await _could_look(_wanted(look))
        todo = [file.path for file in files if file.old != file.new]
        if todo:
            return Probe(satisfied=False, summary=f"to be written: {', '.join(todo)}")
        return Probe(satisfied=True, summary=f"adapted: {', '.join(file.path for file in files)}")

    async def plan(self, look: Look, params: NoParams) -> Plan:
        files = await _wanted(look)
        todo = [file for file in files if file.old != file.new]
        items = []
        for file in todo:
            items.append(f"{file.path}:" if file.old is not None else f"{file.path} (new):")
            items += [f"  {line}" for line in adapt.difference(file.old or "", file.new)]
            items += [f"  {word}" for word in file.words]
        if any(file.old is not None for file in todo):
            items.append("each changed file is kept as <file>.before-<time>")
        if todo:
            items.append(f"close {PurePosixPath(todo[0].path).parent} to other users (mode 0700)")
        seal = (await look.secrets.get(look.site.couchdb.secret)).reveal()
        return Plan(
            summary=f"write {len(todo)} files for {look.host.name}" if todo else "nothing to write",
            items=tuple(items),
            changes="changes the configuration of the VM",
            data={file.path: adapt.seal(seal, f"{file.old}\0{file.new}") for file in todo},
        )

    async def act(self, context: Context, params: NoParams, plan: Plan) -> Outcome:
        host, files = context.host, await _wanted(context)
        todo = [file for file in files if file.old != file.new]
        key = (await context.secrets.get(context.site.couchdb.secret)).reveal()
        if {file.path: adapt.seal(key, f"{file.old}\0{file.new}") for file in todo} != plan.data:
            raise ActionFailed(
                f"{host.name}: the configuration changed since the plan. Nothing was written.",
                next="Run the step again: it makes a new plan.",
            )
        stamp = f"{context.clock.now():%Y%m%dT%H%M%S%fZ}"
        if todo:
            await _must(context, ["chmod", "0700", "--", str(PurePosixPath(todo[0].path).parent)])
        for file in todo:
            if file.old is not None:
                await _must(context, ["cp", "-p", "--", file.path, f"{file.path}.before-{stamp}"])
            await host.write_bytes(file.path, _bytes(file.new), mode=file.mode)
            context.voice.say(f"wrote {file.path}")
        left = [file.path for file in await _wanted(context) if file.old != file.new]
        if left:
            raise ActionFailed(f"{host.name}: {', '.join(left)} is not as it was written. Look at that VM.")
        return Outcome(summary=f"{len(todo)} files written; the originals are kept beside them.")


class _File(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    old: str | None  #: None: not there
    new: str
    mode: int
    words: tuple[str, ...] = ()


async def _wanted(look: Look) -> list[_File]:
    """Every file that adapting may touch, as it is and as it should be."""
    couchdb, machine, host = look.site.couchdb, look.host.machine, look.host
    cookie, secret, password = [
        (await look.secrets.get(ref)).reveal() for ref in (couchdb.cookie, couchdb.secret, couchdb.password)
    ]
    if cookie == "monster" or not cookie:
        raise ActionFailed(
            "The settings' couchdb.cookie is empty or 'monster', the default: CouchDB 3.2 and later refuse "
            "to start with it. Nothing was changed.",
            next="Set another cookie, the same for all VMs.",
        )
    folder, names = await compose.find_files(look)
    base, overriding = names[0], (names[1] if len(names) > 1 else adapt.OVERRIDE)
    old = {name: await _read(look, f"{folder}/{name}") for name in (".env", base, overriding, adapt.INI)}
    env = dotenv.parse(old[".env"] or "")
    for name, value in env.items():
        if adapt.is_secret(name) and len(value) > 5 and value not in adapt.DEFAULTS:
            look.secrets.learn(value, f"{name} of .env on {host.name}")
    values = {
        "VM_INDEX": str(machine.index),
        "COUCHDB_USER": couchdb.user,
        "COUCHDB_PASSWORD": password,
        "COUCHDB_SECRET": secret,
        "COUCHDB_COOKIE": cookie,
        "DOMAIN_NAME": look.site.platform.domain,
    } | adapt.follow_domain(env, look.site.platform.domain)
    file, words = adapt.free_ports(old[base] or "")
    words += [f"not pinned to a version: {name}" for name in adapt.unpinned(file)]
    node = f"{couchdb.node_prefix}@{machine.internal}"
    overridden = adapt.override(file, old[overriding] or "", node)
    watchtower = "Watchtower stays off until its profile is taken out of this file again"
    note = (watchtower,) if "watchtower" in adapt.services(file) else ()
    ini = adapt.couchdb_ini(
        user=couchdb.user, password=password, secret=secret, max_document_size=couchdb.max_document_size
    )

    def one(name: str, new: str, mode: int, words: tuple[str, ...] = ()) -> _File:
        return _File(path=f"{folder}/{name}", old=old[name], new=new, mode=mode, words=words)

    return [
        one(".env", adapt.edit_env(old[".env"] or "", values), 0o600),
        one(base, file, 0o644, tuple(words)),
        # readable by the container's own user, hence the closed folder around it
        one(adapt.INI, ini, 0o644),
        one(overriding, overridden, 0o644, note),
    ]


T = TypeVar("T")


async def _could_look(work: Awaitable[T]) -> T:
    """For probes: what would make an act fail is a reason for not being able to tell."""
    try:
        return await work
    except ActionFailed as error:
        raise CouldNotLook(error.what, next=error.next) from None


# ── small things ───────────────────────────────────────────────────────────────────────────
async def _read(look: Look, path: str) -> str | None:
    raw = await look.host.read_bytes(path)
    return None if raw is None else raw.decode(errors="surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


async def _exists(look: Look, path: str) -> bool:
    done = await look.host.run(["ls", "-d", "--", path])
    return done.ok


async def _must(context: Context, argv: list[str], *, timeout: float = 60.0) -> Completed:
    done = await context.voice.run(argv, timeout=timeout)
    if not done.ok:
        raise ActionFailed(f"{context.host.name}: {argv[0]} failed: {last_words(done)}")
    return done


async def _remove(context: Context, path: str) -> None:
    with suppress(RunbookError):
        await context.host.run(["rm", "-rf", "--", path], timeout=30)
