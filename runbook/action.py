"""The contract of an action: probe, plan, act.

An action is a class in ``runbook/actions/<group>.py``, found by its name: ``compose.up`` is
``Up`` in ``runbook/actions/compose.py``, ``couchdb.setup_cluster`` is ``SetupCluster``.
It holds no state between calls. Parameters are a frozen msgspec struct, decoded strictly from
the step's ``[with]`` table (unknown keys and wrong types are refused by ``guide check``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Protocol

import msgspec

from runbook import units
from runbook.context import Context, Look

#: per_host: once for each host of the step, side by side; whole: once, over all of them
Scope = Literal["per_host", "whole"]
#: safe: may be repeated blindly; probe_first: look before; never: not without asking a person
Repeat = Literal["safe", "probe_first", "never"]


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every action's parameters. Those declared as units.Duration or units.Size are refused
    in another form, also when they come out of a reference."""

    def __post_init__(self) -> None:
        for field in msgspec.structs.fields(self):
            try:
                units.check_form(getattr(self, field.name), field.type)
            except ValueError as error:
                raise ValueError(f"{field.encode_name}: {error}") from None


class NoParams(Params, frozen=True):
    """For actions that take none."""


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """What is true now. ``satisfied``: True the world already is as the step wants it, False not,
    None could not look. ``outputs`` are what the step would save, when satisfied."""

    satisfied: bool | None
    summary: str
    evidence: str = ""
    outputs: Mapping[str, Any] = {}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Exactly what would be done, where. Everything in it is covered by its digest, and act()
    receives exactly the plan that was confirmed.

    ``items`` are lines for a person; ``data`` is for act() (JSON values only, no secrets).
    ``danger``: names that must be typed before this plan may run (never unattended).
    ``bulky``: True when re-planning is expensive, so the plan may be kept in the run's folder.
    """

    summary: str
    items: tuple[str, ...] = ()
    changes: str = ""
    danger: tuple[str, ...] = ()
    data: Any = None

    def digest(self) -> str:
        """SHA-256 of its canonical JSON."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What an act reports; the verdict comes from the checks after it."""

    summary: str
    outputs: Mapping[str, Any] = {}


class Action(Protocol):
    """``probe`` and ``plan`` are read-only. ``act`` raises ActionFailed (what happened, what was
    and was not changed, what next), HostError or OutcomeUnknown; it can be cancelled at any await and
    then leaves nothing running. CouldNotLook from probe means satisfied=None."""

    scope: ClassVar[Scope]
    repeat: ClassVar[Repeat]
    params: ClassVar[type[Params]]
    #: names that outputs may have (``save`` of a step is validated against them); () = none
    outputs: ClassVar[tuple[str, ...]]

    async def probe(self, look: Look, params: Any) -> Probe: ...

    async def plan(self, look: Look, params: Any) -> Plan: ...

    async def act(self, context: Context, params: Any, plan: Plan) -> Outcome: ...
