"""Does CouchDB answer, as one cluster, with all copies of all that the backup holds?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from msgspec.structs import replace
from tabulate import tabulate

from runbook import units
from runbook.check import Finding, check
from runbook.context import Look
from runbook.couch import cluster, connect, copies, settings
from runbook.couch.comparing import differences
from runbook.couch.joining import joinscene, precheck
from runbook.couch.restoring import aftercheck, targets
from runbook.couch.restoring.recovery import database_names, placing
from runbook.errors import CouldNotLook, Unreachable
from runbook.events import Verdict


def _finding(
    look: Look,
    problems: Iterable[str],
    expected: str,
    good: str,
    evidence: str = "",
    *,
    verdict: Verdict = "fail",
) -> Finding:
    """``good`` when there are no problems; else the first of them, all of them as evidence."""
    found = list(problems)
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return Finding(
        verdict=verdict if found else "pass",
        expected=expected,
        observed=f"{found[0]}{more}" if found else good,
        evidence="\n".join([*found, evidence]).strip() if len(found) > 1 else evidence,
        simulated=look.mode == "practice",
    )


@check("CouchDB answers", on="production")
async def answers(look: Look) -> Finding:
    """It greets, takes the login, and calls itself up."""
    expected = "CouchDB, up, taking the admin's login"
    client = await connect.node(look, look.host.machine)
    try:
        welcome = await client.aneed()
        up = await client.aget("_up")
    except Unreachable as error:  # silence is the answer to this question
        return _finding(look, [error.what], expected, "", error.next)
    finally:
        client.close()
    version = welcome.get("version") if isinstance(welcome, dict) else None
    problems = [] if version else [f"something else than CouchDB answers on {client.node}"]
    if up.status == 404:
        problems.append(f"CouchDB on {client.node} is in maintenance mode")
    elif not up.ok:
        problems.append(f"_up on {client.node}: {up.error}")
    return _finding(look, problems, expected, f"CouchDB {version}, up")


@check("The nodes reach each other's cluster ports", on="production")
async def ports(look: Look) -> Finding:
    """From this VM to every other one's; asked on each VM, that is both directions."""
    others = [machine for machine in connect.machines(look) if machine.name != look.host.name]
    problems = await precheck.closed(look, look.host.machine, others)
    expected = f"ports {' and '.join(map(str, precheck.PORTS))} of the other production VMs are open"
    hint = (
        "Open them in the firewall between the VMs, and publish them from the container." if problems else ""
    )
    good = f"{len(others) * len(precheck.PORTS)} connections opened"
    return _finding(look, problems, expected, good, hint)


@check("Every node has the name the others know")
async def names(look: Look) -> Finding:
    async with connect.cluster(look) as clients:
        found = await cluster.members(clients)
    wanted = connect.names(look, found)
    problems = [one.problem for one in found.values() if one.problem]
    if problems:
        return _finding(look, problems, _list(wanted.values()), "", verdict="unknown")
    wrong = cluster.misnamed(found, wanted)
    hint = "Set NODENAME to the machine's internal address and recreate the container." if wrong else ""
    return _finding(look, wrong, _list(wanted.values()), _list(one.name for one in found.values()), hint)


@check("The nodes hold no databases of their own")
async def empty(look: Look) -> Finding:
    async with connect.cluster(look) as clients:
        found = await cluster.each(cluster.own_databases, clients.values())
    problems = [f"{name} holds {_list(own)}" for name, own in zip(clients, found, strict=True) if own]
    hint = "A node that joins with databases of its own can hide data." if problems else ""
    return _finding(look, problems, "none besides the system's", "none", hint)


@check("The nodes are one cluster")
async def cluster_formed(look: Look) -> Finding:
    """Every node's _membership: listed and connected are exactly this site's nodes."""
    async with connect.cluster(look) as clients:
        found = await cluster.members(clients)
    wanted = connect.names(look, found)
    evidence = "\n".join(
        f"{name}: {one.problem}"
        if one.problem
        else f"{name}: connected {_list(sorted(one.connected))}; listed {_list(sorted(one.listed))}"
        for name, one in found.items()
    )
    problems = cluster.unjoined(found, wanted)
    unseen = {one.problem for one in found.values()}
    verdict: Verdict = "unknown" if unseen.issuperset(problems) else "fail"
    good = f"all {len(found)} nodes agree"
    return _finding(look, problems, _list(wanted.values()), good, evidence, verdict=verdict)


@check("Every shard has all its copies")
async def copies_placed(look: Look) -> Finding:
    wanted = database_names(look)
    async with connect.cluster(look) as clients:
        one = clients[cluster.veteran(await cluster.members(clients))]
        nodes, n = await placing(look, one)
        problems = await targets.lacking(clients, wanted, nodes, n)
    expected = f"{len(wanted)} databases, each range on {n} nodes"
    return _finding(look, problems, expected, expected, _list(wanted))


@check("The databases hold what the backup holds")
async def contents_match(look: Look, bodies: str = "sample") -> Finding:
    """Ids and revisions of all documents; contents of 100 of each database (``bodies`` sample: always
    the same ones, spread over all), of ``all``, or of ``none``. How many is part of the answer."""
    if bodies not in aftercheck.SAMPLES:
        raise CouldNotLook(f"bodies must be one of {_list(aftercheck.SAMPLES)}, not {bodies!r}.")
    expected = "every document of the backup in its revision, and no others; the compared contents the same"
    async with connect.cluster(look) as clients:
        compared, path = await aftercheck.against_backup(look, clients, aftercheck.SAMPLES[bodies])
    documents = sum(one.actual for one in compared)
    good = f"{documents} documents in {len(compared)} databases: ids and revisions of all as in the backup"
    evidence = differences.table(compared) + (f"\nevery difference by id: {path}" if path else "")
    finding = _finding(look, aftercheck.differing(compared), expected, good, evidence)
    read, all_ = sum(one.bodies for one in compared), sum(one.expected for one in compared)
    return replace(finding, observed=f"{finding.observed}; contents of {read} of {all_} compared")


@check("No document is in conflict")
async def no_conflicts(look: Look) -> Finding:
    """In the databases of the backup, and in _users, where a conflict locks the user out."""
    wanted = database_names(look)
    async with connect.cluster(look) as clients:
        found = await asyncio.to_thread(aftercheck.quarrels, list(clients.values()), wanted)
    problems = [one.words() for one in found if one.count]
    return _finding(look, problems, "one revision of each document", f"none in {len(found)} databases")


@check("All copies of every shard are equal")
async def copies_equal(look: Look) -> Finding:
    """Two looks, with no replication left to do on any node."""
    wanted = database_names(look)
    async with connect.cluster(look) as clients:
        problems = await copies.settled(clients, wanted)
        seen = await copies.look(clients, wanted)
    counts = [copies.count(name, seen[name]) for name in wanted]
    expected = "the same number of documents in every copy, twice, with no backlog"
    rows = [
        (one.database, one.ranges, one.copies, one.documents, "yes" if one.equal else "NO") for one in counts
    ]
    table = tabulate(rows, headers=("database", "ranges", "copies of each", "documents", "equal"))
    return _finding(look, problems, expected, f"{len(wanted)} databases: all copies equal", table)


@check("All copies of all databases are equal, and every node is in service")
async def in_sync(look: Look) -> Finding:
    """Of every database that the cluster has, the system's too; no backup is needed to compare with."""
    async with connect.cluster(look) as clients:
        found = await cluster.members(clients)
        problems = [one.problem for one in found.values() if one.problem]
        held = [name for name, one in found.items() if not one.problem and not one.serves]
        problems += [f"CouchDB on {name} is in maintenance mode" for name in held]
        seen = {} if problems else await copies.look(clients, found=found)
        problems += await copies.settled(clients, seen) if seen else []
    expected = "the same number of documents in every copy, twice, with no backlog; no maintenance mode"
    good = f"{len(seen)} databases: {sum(map(len, seen.values()))} copies, each equal to its sisters"
    return _finding(look, problems, expected, good)


@check("The lost node is off")
async def lost_node_off(look: Look, node: str = "", former: str = "") -> Finding:
    """Before its successor is started: whom the others are connected to, and whether anything answers
    at its ``former`` public address. ``node``: the replaced machine."""
    async with joinscene.seen(look, node) as at:
        if not at.found.others:
            raise CouldNotLook("No other node is in service: nobody can say whom it is connected to.")
        found = await joinscene.evidence(look, at, former)
    alive = [one.text for one in found if one.says == "alive"]
    unseen = [one.text for one in found if one.says == "open"]
    expected = f"nobody has the name {at.found.name} but the successor; its former address is silent"
    good = "; ".join(one.text for one in found)
    hint = "A person will be asked." if unseen and not alive else ""
    return _finding(look, alive or unseen, expected, good, hint, verdict="fail" if alive else "warn")


@check("The nodes' document limit is the site's, everywhere")
async def node_config(look: Look) -> Finding:
    limit = look.site.couchdb.max_document_size
    async with connect.cluster(look) as clients:
        found = await cluster.document_limits(clients)
    wrong = [
        f"max_document_size on {name} is {units.size(size)}" for name, size in found.items() if size != limit
    ]
    return _finding(look, wrong, f"max_document_size = {units.size(limit)} on every node", units.size(limit))


# ── settings files on the VMs ──────────────────────────────────────────────────────────────
@check("Each VM's CouchDB settings are its own, the shared ones the same")
async def settings_adapted(look: Look) -> Finding:
    """From .env, the compose override and CouchDB's own file; secrets are compared, never shown."""
    found = await cluster.each(lambda machine: settings.read(look, machine), connect.machines(look))
    problems = [problem for one in found for problem in one.problems]
    problems += settings.different({one.machine: one.shared for one in found}, settings.SHARED)
    expected = "NODENAME of each VM; one cookie (not the default), secret, admin hash and uuid on all"
    return _finding(look, problems, expected, f"so on {len(found)} VMs")


@check("One cookie, not the default")
async def cookie(look: Look) -> Finding:
    found = await cluster.each(lambda machine: settings.read(look, machine), connect.machines(look))
    problems = [settings.monster(one.machine) for one in found if one.default_cookie]
    problems += settings.different({one.machine: one.shared for one in found}, ("cookie",))
    return _finding(look, problems, "the same cookie on all, not `monster`", f"so on {len(found)} VMs")


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
