"""A shell on a machine for a person: offered where one can be had, and put on record."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook.errors import RunbookError
from runbook.events import Option, ShellClosed, ShellOpened
from runbook.front import LendsTerminal
from runbook.wording import place

if TYPE_CHECKING:
    from runbook.running.engine import Engine

#: what ssh ends with when it could not connect
_NO_CONNECTION = 255


@dataclass
class Shells:
    engine: Engine

    # ── as a choice when a step failed ─────────────────────────────────────────────────────
    def option(self, step: str) -> tuple[Option, ...]:
        """The choice with its consequence; none where no shell can be had."""
        machines = self._machines(step) if self._lender() else []
        if not machines:
            return ()
        where = machines[0].label if len(machines) == 1 else "a machine"
        return (Option("shell", f"Open a shell on {where}", "on record; then this is asked again"),)

    async def choose(self, step: str) -> str:
        """Ask on which machine, and open it. Returns what a person should know of it, or ""."""
        machines = self._machines(step)
        choice = machines[0].value
        if len(machines) > 1:
            choice = await self.engine.desk.ask(
                step,
                "choice",
                "A shell on which machine? `exit` brings you back to the step.",
                (*machines, Option("back", "None", "back to the choices")),
                default=choice,
            )
        if choice == "back":
            return ""
        try:
            status = await self.open(choice, self.engine.desk.last_by, step, standing=True)
        except RunbookError as error:
            return str(error)
        return f"{place(choice)}: ssh could not connect, as it said." if status == _NO_CONNECTION else ""

    def _machines(self, step: str) -> list[Option]:
        """Those of the last attempt that are known, the ones in trouble first."""
        attempt = self.engine.state.steps[step].last
        if attempt is None:
            return []
        trouble = {
            host.name: host.outcome
            for host in attempt.hosts.values()
            if host.outcome in ("failed", "unknown", "cancelled")
        }
        for check in attempt.checks:
            if check.required and check.verdict in ("fail", "unknown"):
                trouble.setdefault(check.host, f"{check.check}: {check.verdict}")
        names = [name for name in dict.fromkeys([*trouble, *attempt.hosts]) if self._argv(name)]
        # a check that asks around from this PC does not make this PC the machine in trouble
        names.sort(key=lambda name: name == "operator" and name not in attempt.hosts)
        return [Option(name, place(name), trouble.get(name, "")) for name in names]

    # ── at any moment ──────────────────────────────────────────────────────────────────────
    async def open(self, host: str, by: str, step: str, *, standing: bool = False) -> int:
        """Give the person a shell there until it ends; its exit status. ``standing``: the run does
        nothing else meanwhile. Raises RunbookError when none can be had; it says what to type."""
        argv, lender = self._argv(host), self._lender()
        if not argv:
            raise RunbookError(f"{place(host)} is not known yet: an earlier step makes it.")
        if lender is None:
            raise RunbookError(
                f"This program has no terminal to lend for a shell on {place(host)}.",
                next=f"Open another one and type: {shlex.join(argv)}",
            )
        engine = self.engine
        shell = f"s{len(engine.state.shells) + 1}"
        await engine.emit(ShellOpened(id=shell, step=step, host=host, by=by, standing=standing))
        began, status = engine.clock.monotonic(), None
        try:
            status = await lender.lend(host, argv)
        finally:
            seconds = round(engine.clock.monotonic() - began, 3)
            await engine.emit(ShellClosed(id=shell, host=host, seconds=seconds, exit_status=status))
        return status

    def _argv(self, host: str) -> list[str]:
        return self.engine.hosts.shell_argv(host)

    def _lender(self) -> LendsTerminal | None:
        front = self.engine.desk.front
        return front if isinstance(front, LendsTerminal) and front.can_lend else None
