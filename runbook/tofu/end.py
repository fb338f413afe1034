"""What came of an apply that failed: the provider's own reasons, what was made and what was not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runbook.errors import ActionFailed, RunbookError
from runbook.hosts.base import Completed
from runbook.tofu import plan as tofuplan
from runbook.tofu import program as tofu
from runbook.tofu.program import Workshop

#: names told of one kind
_NAMES = 12


async def apply_failed(shop: Workshop, done: Completed, planned: Mapping[str, str]) -> RunbookError:
    """The error for an apply that did not end well. ``done.stdout`` is its event stream; ``planned``:
    what was to be done, by address (``create``, ``update`` …)."""
    happened = outcome(tofuplan.events(done.stdout), planned, await _state(shop))
    if done.exit_status is not None and (done.exit_status < 0 or done.exit_status > 128):
        return ActionFailed(
            f"OpenTofu was killed (status {done.exit_status}): a machine may exist that its state does not "
            f"know, or be half made.\n{happened}",
            next="Compare the cloud's list of machines with `tofu state list`; then run the step again.",
        )
    return tofu.failed("apply", done, happened)


def outcome(events: list[dict[str, Any]], planned: Mapping[str, str], state: set[str] | None) -> str:
    """``Done: create a.``, ``Not done: create b.``: by what OpenTofu told while it worked and by its
    ``state`` afterwards (None: it could not be read)."""
    told: dict[str, set[str]] = {"apply_complete": set(), "apply_errored": set()}
    for event in events:
        hook, kind = event.get("hook"), str(event.get("type"))
        resource = hook.get("resource") if isinstance(hook, dict) else None
        if kind in told and isinstance(resource, dict):
            told[kind].add(str(resource.get("addr")))
    done: list[str] = []
    half: list[str] = []
    rest: list[str] = []
    for address, kind in planned.items():
        text = f"{kind} {address}"
        if address in told["apply_errored"]:
            # what was begun and is in the state is marked as tainted there
            begun = kind in ("create", "replace") and state is not None and address in state
            (half if begun else rest).append(text)
        else:
            (done if address in told["apply_complete"] else rest).append(text)
    words = [f"Done, and stays: {_listed(done)}."]
    if half:
        words.append(f"Half done, and made anew by the next apply: {_listed(half)}.")
    words.append(f"Not done: {_listed(rest)}.")
    if state is None:
        words.append("OpenTofu's state could not be read: this is what it told while it worked.")
    return " ".join(words)


def _listed(texts: list[str]) -> str:
    more = f" and {len(texts) - _NAMES} more" if len(texts) > _NAMES else ""
    return ", ".join(texts[:_NAMES]) + more if texts else "nothing"


async def _state(shop: Workshop) -> set[str] | None:
    """The addresses that OpenTofu's state holds now; None when it cannot be read."""
    try:
        listed = await shop.call("state", "list")
    except RunbookError:
        return None
    if not listed.ok:
        return set() if b"No state file" in listed.stderr + listed.stdout else None
    return set(listed.stdout.decode(errors="replace").split("\n")) - {""}
