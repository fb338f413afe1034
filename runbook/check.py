"""The contract of a check: a read-only question about the world.

A check is an async function in ``checks/<subject>.py``, found by its name: ``hosts.disk_free``
is ``disk_free`` in ``checks/hosts.py``. It takes a Look and keyword parameters with defaults of
type str, int, float or bool, and returns a Finding. What it cannot see is "unknown"
(return it, or raise CouldNotLook or HostError: the engine makes the finding), never "fail".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from runbook.context import Look
from runbook.events import Verdict

#: once: one question about the site, from this PC; step: each host of the step;
#: production / machines / backup: those machines. A guide may override it: check(on='backup')
On = Literal["once", "step", "production", "machines", "backup"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    verdict: Verdict
    expected: str
    observed: str
    evidence: str = ""
    simulated: bool = False


CheckFunction = Callable[..., Awaitable[Finding]]


@dataclass(frozen=True)
class Check:
    """``function(look, **parameters)``; ``title`` is the question in a few words."""

    name: str
    title: str
    on: On
    function: CheckFunction

    async def __call__(self, look: Look, **parameters: Any) -> Finding:
        return await self.function(look, **parameters)


def check(title: str, *, on: On = "once") -> Callable[[CheckFunction], Check]:
    """Make a check of an async function; its name is ``<module>.<function>``."""

    def make(function: CheckFunction) -> Check:
        name = f"{function.__module__.rsplit('.', 1)[-1]}.{function.__name__}"
        return Check(name, title, on, function)

    return make
