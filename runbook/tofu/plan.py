"""What OpenTofu says, read: plans (``show -json``), event streams, locks. Pure functions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec

from runbook.hosts.base import Machine
from runbook.tofu import job as tofujob

Kind = Literal["create", "update", "replace", "delete", "forget", "output"]
_ORDER: tuple[Kind, ...] = ("delete", "replace", "forget", "update", "create", "output")


class Change(msgspec.Struct, frozen=True, kw_only=True):
    kind: Kind
    address: str
    #: every text in what is there now, to tell which machine it is
    before: tuple[str, ...] = ()
    #: names of the attributes that change (update, replace)
    attributes: tuple[str, ...] = ()

    @property
    def destroys(self) -> bool:
        return self.kind in ("delete", "replace")

    @property
    def words(self) -> str:
        why = f"  ({', '.join(self.attributes)})" if self.attributes else ""
        return f"{self.kind:8}{self.address}{why}"


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A plan. ``digest`` covers what would change, not the plan file's bytes."""

    changes: tuple[Change, ...]
    drifted: tuple[str, ...]  #: addresses that were changed outside
    digest: str
    usable: bool  #: OpenTofu itself calls it complete and applicable
    empty_state: bool


def read_plan(raw: bytes) -> Planned:
    """``show -json`` of a plan file. Raises ValueError when it is none."""
    try:
        plan = msgspec.json.decode(raw)
        plan["format_version"]  # what every plan has
        resources = [one for one in plan.get("resource_changes", ()) if _kind(one["change"]["actions"])]
        changes = [_change(one) for one in resources]
        outputs = {name: one for name, one in plan.get("output_changes", {}).items() if _kind(one["actions"])}
        changes += [Change(kind="output", address=name) for name in outputs]
        drift = tuple(str(one["address"]) for one in plan.get("resource_drift", ()))
    except (msgspec.DecodeError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"the plan cannot be read: {error!r}") from None
    covered = [[one["address"], one.get("deposed"), one["change"]] for one in resources]
    text = msgspec.json.encode([covered, outputs], order="sorted")
    return Planned(
        changes=tuple(sorted(changes, key=lambda one: (_ORDER.index(one.kind), one.address))),
        drifted=drift,
        digest=hashlib.sha256(text).hexdigest(),
        usable=plan.get("applyable", True) is not False and not plan.get("errored", False),
        empty_state="prior_state" in plan and not _values(plan["prior_state"]).get("root_module"),
    )


def _values(state: dict[str, Any]) -> dict[str, Any]:
    return state.get("values") or {}


def _kind(actions: list[str]) -> Kind | None:
    known: dict[tuple[str, ...], Kind] = {
        ("create",): "create",
        ("update",): "update",
        ("delete",): "delete",
        ("forget",): "forget",
    }
    if len(actions) == 2:
        return "replace"
    return known.get(tuple(actions))


def _change(one: dict[str, Any]) -> Change:
    change = one["change"]
    kind = _kind(change["actions"])
    assert kind
    before, after = change.get("before") or {}, change.get("after") or {}
    attributes: list[str] = []
    if kind in ("update", "replace"):
        unknown = change.get("after_unknown") or {}
        attributes = sorted(
            name
            for name in {*before, *after}
            if before.get(name) != after.get(name) and unknown.get(name) is not True
        )
    return Change(
        kind=kind,
        address=str(one["address"]),
        before=tuple(texts(before)),
        attributes=tuple(attributes),
    )


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def is_machine(change: Change, machine: Machine) -> bool:
    """Is that resource this machine? By its addresses or its name among the resource's values, and
    for the backup VM by the resource's own name too."""
    if machine.role == "backup" and "backup" in change.address.lower():
        return True
    marks = {machine.address, machine.internal, machine.name} - {""}
    return any(text in marks for text in change.before)


# ── what it said ───────────────────────────────────────────────────────────────────────────
class Lock(msgspec.Struct, frozen=True, kw_only=True):
    who: str
    since: str
    id: str
    operation: str = ""


def lock(text: str) -> Lock | None:
    """The lock that a message speaks of."""
    if "state lock" not in text:
        return None
    found = dict(re.findall(r"^[\s│|]*(ID|Who|Created|Operation):\s+(.+?)\s*$", text, re.MULTILINE))
    return Lock(
        who=found.get("Who", "unknown"),
        since=found.get("Created", "unknown"),
        id=found.get("ID", "unknown"),
        operation=found.get("Operation", ""),
    )


def is_stale(text: str) -> bool:
    return "Saved plan is stale" in text


def needs_init(text: str) -> bool:
    """Was the folder never initialised? (A missing .terraform tells nothing: without providers to
    download none is made.)"""
    return bool(re.search(r"(tofu|terraform|run) init\b|not initiali|initialization required", text, re.I))


def events(raw: bytes) -> list[dict[str, Any]]:
    return [event for line in raw.splitlines() if (event := tofujob.parse(line)) is not None]


def problems(raw: bytes) -> str:
    """The errors of an event stream, each with the resources that met it (``a, b: why``), or its last
    lines where it is plain text."""
    seen = events(raw)
    # a diagnostic says more than the line that told of it first
    found = _reasons(seen) or {tofujob.line(event): [] for event in seen if event.get("@level") == "error"}
    if found:
        return "\n".join(f"{', '.join(where)}: {why}" if where else why for why, where in found.items())
    lines = [line for line in raw.decode(errors="replace").splitlines() if line.strip(" │╷╵")]
    return "\n".join(line for line in lines[-12:] if tofujob.parse(line) is None)


def _reasons(seen: Iterable[dict[str, Any]]) -> dict[str, list[str]]:
    """What the provider said (summary and detail), and which resources it said that of."""
    found: dict[str, list[str]] = {}
    for event in seen:
        said = event.get("diagnostic")
        if isinstance(said, dict) and said.get("severity") == "error":
            why = ": ".join(str(said[key]).strip() for key in ("summary", "detail") if said.get(key))
            if place := tofujob.place(said):
                why += f" ({place})"
            where = found.setdefault(why, [])
            if said.get("address"):
                where.append(str(said["address"]))
    return found


def progress(seen: Iterable[dict[str, Any]]) -> tuple[int, str]:
    """(resources that are through, what goes on now)."""
    through, last = 0, ""
    for event in seen:
        if event.get("type") in ("apply_complete", "apply_errored"):
            through += 1
        if event.get("type") in ("apply_start", "apply_progress", "apply_complete", "provision_start"):
            last = str(event.get("@message", ""))
    return through, last
