"""Let the blank replacement of a lost node in, and take it into service when it is complete."""

from __future__ import annotations

from typing import Any, ClassVar

from runbook.action import Outcome, Params, Plan, Probe, Repeat, Scope
from runbook.context import Context, Look
from runbook.couch import attested, cluster
from runbook.couch.attested import Claim
from runbook.couch.joining import insync, join, joinscene, joinwords, precheck, replacement
from runbook.couch.joining.insync import Level
from runbook.couch.joining.joinscene import At
from runbook.couch.joining.lostnode import Evidence
from runbook.couch.joining.precheck import Refusal
from runbook.couch.joining.replacement import Scene
from runbook.errors import ActionFailed
from runbook.units import Duration, parse_duration

#: seconds in which the others connect to the fresh node (46 were seen), and for it to come up
_CONNECT, _UP = 180.0, 30.0


class JoinParams(Params, frozen=True, kw_only=True):
    """``node``: the replaced machine (vm3); ``former``: the lost one's public address, to look that
    nothing answers there; ``within``: how long the copying may take."""

    node: str
    former: str = ""
    within: Duration = "6h"


class Join:
    """The blank successor of a lost node, under the same name: filled by the others, proven
    complete, then taken into service."""

    scope: ClassVar[Scope] = "whole"
    repeat: ClassVar[Repeat] = "safe"
    params: ClassVar[type[Params]] = JoinParams
    outputs: ClassVar[tuple[str, ...]] = ()

    async def probe(self, look: Look, params: Any) -> Probe:
        async with joinscene.seen(look, params.node) as at:
            found, name = at.found, at.machine.name
            if found.fresh.problem or not found.others:
                text = found.fresh.problem or "No other node is in service."
                return Probe(satisfied=None, summary=f"{name} cannot be judged.", evidence=text)
            if refused := replacement.refusals(found):
                evidence = "\n".join(one.what for one in refused)
                return Probe(satisfied=False, summary=f"{name} may not join yet.", evidence=evidence)
            if not found.joined:
                return Probe(satisfied=False, summary=f"{name} is not connected to all others.")
            if not found.fresh.member.serves:
                return Probe(satisfied=False, summary=f"{name} is held in maintenance mode.")
            now = await insync.settled(at.clients, name)
        if not now.equal:
            return Probe(satisfied=False, summary=joinwords.count(name, now), evidence=now.words())
        return Probe(satisfied=True, summary=f"{name} is in service; {joinwords.proven(now)}.")

    async def plan(self, look: Look, params: Any) -> Plan:
        async with joinscene.seen(look, params.node) as at:
            found, name = at.found, at.machine.name
            evidence = await joinscene.evidence(look, at, params.former)
            _refuse([*_alive(evidence), *replacement.refusals(found), *await _on_machines(look, at)])
        questions = [one.text for one in _questions(found, evidence) if not attested.known(look, one)]
        n = min(look.site.couchdb.n, len(found.listed))
        others = ", ".join(one.machine for one in found.others)
        return Plan(
            summary=f"fill {found.name} on {name} from {others}, then take it into service",
            items=(*joinwords.lines(found, evidence, n), *joinwords.steps(found, questions)),
            changes=f"fills CouchDB on {name} with the cluster's copies and takes it into service",
            data={"node": name, "name": found.name},
        )

    async def act(self, context: Context, params: Any, plan: Plan) -> Outcome:
        limit, voice = parse_duration(params.within), context.voice
        async with joinscene.seen(context, plan.data["node"]) as at:
            found, name = at.found, at.machine.name
            evidence = await joinscene.evidence(context, at, params.former)
            _refuse([*_alive(evidence), *replacement.refusals(found)])
            for question in _questions(found, evidence):
                await attested.attest(context, question)
            await join.hold(at.clients[name])
            voice.note(f"CouchDB on {name} is held in maintenance mode", kind="join", node=found.name)
            await _connected(context, at)
            voice.waiting("every copy to be equal to its sisters, twice", limit)
            now = await insync.caught_up(at.clients, name, limit, _Told(context, name))
            await join.release(at.clients[name], _UP)
            _fail(await _apart(at), "Correct what is named, then retry.")
        counts = {"documents": now.done, "ranges": now.ranges, "databases": len(now.databases)}
        voice.note(f"{name}: {joinwords.proven(now)}", kind="join", node=found.name, **counts)
        return Outcome(summary=f"{found.name} on {name} is in service; {joinwords.proven(now)}.")


# ── looking ────────────────────────────────────────────────────────────────────────────────
async def _on_machines(look: Look, at: At) -> list[Refusal]:
    """Cookie and ports; at addresses alone, nobody can look there."""
    if look.site.couchdb.urls:
        return []
    found = await precheck.cookies(look, at.machine, at.others)
    return found if at.found.fresh.problem else [*found, *await precheck.wires(look, at.machine, at.others)]


def _alive(evidence: list[Evidence]) -> list[Refusal]:
    next = "Power the lost machine off for good, at the provider, then retry."
    return [
        Refusal(f"The lost node is not off: {one.text}.", next) for one in evidence if one.says == "alive"
    ]


def _questions(found: Scene, evidence: list[Evidence]) -> list[Claim]:
    asked = [
        Claim(f"off {found.name}", joinwords.question(found, evidence), "it is off for good, or deleted"),
        Claim(f"alone {found.name}", joinwords.alone(found), "go on without them"),
    ]
    return [one for one in asked if one.text]


def _refuse(reasons: list[Refusal]) -> None:
    if reasons:
        what = "\n".join(dict.fromkeys(one.what for one in reasons))
        next = "\n".join(dict.fromkeys(one.next for one in reasons if one.next))
        raise ActionFailed(f"{what}\nNothing was changed.", next=next)


def _fail(problems: list[str], next: str) -> None:
    if problems:
        raise ActionFailed("\n".join(problems), next=next)


# ── acting ─────────────────────────────────────────────────────────────────────────────────
async def _apart(at: At) -> list[str]:
    """Among those that take part: who does not list or see all others, on every node."""
    found = await cluster.members(at.clients)
    wanted = {machine: one.name for machine, one in found.items() if not one.problem}
    return cluster.unjoined(found, wanted, strangers=False)


async def _connected(context: Context, at: At) -> None:
    """Wait until all see each other, and whom they see is the machine that is held here."""
    name, machine, others = at.found.name, at.machine.name, [one.machine for one in at.found.others]
    context.voice.waiting("the others to connect to it", _CONNECT)

    async def apart() -> list[str]:
        return await join.unknown(at.clients, machine, name, others) or await _apart(at)

    _fail(await cluster.until(_CONNECT, apart, 2.0), f"Correct what is named. {join.HELD}")
    context.voice.say(f"whom {', '.join(others)} call {name} is the CouchDB on {machine}")
    # never from the fresh one: finishing gives all nodes the settings of the one that is asked
    old = at.clients[cluster.veteran({one.machine: one.member for one in at.found.others})]
    if await cluster.setup_state(old) != cluster.FINISHED:
        _fail(await cluster.finish(old), f"Retry. {join.HELD}")


class _Told:
    """Progress, and a line for each database when it is complete."""

    def __init__(self, context: Context, machine: str) -> None:
        self._voice, self._machine = context.voice, machine
        self._complete: set[str] = set()

    def __call__(self, now: Level) -> None:
        if not now.databases:
            self._voice.say(f"could not look: {now.words()}")
            return
        self._voice.progress(f"copies on {self._machine}", now.done, now.total, "documents")
        for name in now.databases:
            if name not in now.behind and name not in self._complete:
                self._voice.say(f"{name}: its copies are equal")
        self._complete = set(now.databases) - now.behind.keys()
