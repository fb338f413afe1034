"""A replacement in words: what the plan of ``couchdb.join`` shows, what it asks, what it reports."""

from __future__ import annotations

from collections.abc import Iterable

from runbook.couch.joining import replacement
from runbook.couch.joining.insync import Level
from runbook.couch.joining.lostnode import Evidence
from runbook.couch.joining.replacement import Scene


def question(found: Scene, evidence: Iterable[Evidence]) -> str:
    """What only a person can know of the lost node; empty when nothing was left open."""
    unseen = [one.text for one in evidence if one.says == "open"]
    if not unseen:
        return ""
    return (
        f"Is the machine of the lost {found.name} off, for good? It must not come back beside its successor. "
        f"From here it cannot be seen: {'; '.join(unseen)}."
    )


def alone(found: Scene) -> str:
    """What nobody can fill; empty when there is nothing of that kind."""
    names = replacement.orphans(found)
    if not names:
        return ""
    return (
        f"No node in service has a copy of parts of {', '.join(names)}: they were on {found.name} alone, and "
        "will be empty. They have to come from a backup."
    )


def lines(found: Scene, evidence: Iterable[Evidence], n: int) -> list[str]:
    """What is true; ``n``: the copies a shard can have."""
    fresh = found.fresh
    state = "it knows the cluster already" if found.joined else "it is blank"
    mode = "" if fresh.member.serves else ", in maintenance mode"
    return [
        *(f"{one.machine}: {one.name}, CouchDB {one.version}, in service" for one in found.others),
        *(f"{one.machine} takes no part: {one.problem or 'in maintenance mode'}" for one in found.aside),
        f"{fresh.machine}: {fresh.name}, CouchDB {fresh.version}{mode}; {state}",
        *(one.text for one in evidence if one.says == "off"),
        *replacement.poor(found, n),
    ]


def steps(found: Scene, questions: Iterable[str]) -> list[str]:
    """What would be done. No counts of documents: a plan has to stay the same while they grow."""
    machine, name = found.fresh.machine, found.name
    copies = sum(name in nodes for one in found.maps for nodes in one.ranges.values())
    return [
        *(f"ask: {text}" for text in questions),
        f"hold {machine} in maintenance mode, and look that it is the one whom the others call {name}",
        f"have the others fill its {copies} copies of {len(found.maps)} databases",
        "take it into service when every copy is equal to its sisters in two looks, with no backlog",
    ]


def count(machine: str, now: Level) -> str:
    return f"{machine} has {now.done} of {now.total} documents; {len(now.behind)} databases differ."


def proven(now: Level) -> str:
    return (
        f"its {now.ranges} copies in {len(now.databases)} databases are equal to their sisters in two looks, "
        f"with no backlog: {now.done} documents"
    )
