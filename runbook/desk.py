"""Questions and answers: asked on the record, answered by whatever front end is there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from runbook.errors import WaitsForPerson
from runbook.events import Answered, Asked, Event, Option, QuestionKind
from runbook.front import Answer, FrontEnd
from runbook.secrets import Secret


@dataclass
class Desk:
    """One question at a time: hosts work side by side, but a person is asked one thing after the other."""

    front: FrontEnd
    emit: Callable[[Event], Awaitable[object]]
    #: makes the redactor know a secret that a person typed
    learn: Callable[[str, str], Secret]
    count: int = 0
    last_by: str = ""
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: limits that stand still while a person is asked
    _limits: set[asyncio.Timeout] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def limit(self, seconds: float | None) -> AsyncIterator[asyncio.Timeout]:
        """asyncio.timeout(), for which waiting for people does not count."""
        async with asyncio.timeout(seconds) as limit:
            self._limits.add(limit)
            try:
                yield limit
            finally:
                self._limits.discard(limit)

    @contextlib.contextmanager
    def _standing_still(self) -> Iterator[None]:
        now = asyncio.get_running_loop().time
        left = {limit: when - now() for limit in self._limits if (when := limit.when()) is not None}
        for limit in left:
            limit.reschedule(None)
        try:
            yield
        finally:
            for limit, seconds in left.items():
                if limit in self._limits and not limit.expired():
                    limit.reschedule(now() + seconds)

    async def ask(
        self,
        step: str,
        kind: QuestionKind,
        text: str,
        options: tuple[Option, ...] = (),
        *,
        default: str = "",
        plan_digest: str = "",
        unattended: bool = False,
    ) -> str:
        """The value of the answer; with options, always one of theirs. Raises WaitsForPerson."""
        answer = await self._ask(step, kind, text, options, default, plan_digest, unattended)
        return answer.value

    async def ask_secret(self, step: str, text: str, label: str) -> Secret:
        answer = await self._ask(step, "secret", text, (), "", "", False, label=label)
        if answer.secret is None:
            raise WaitsForPerson(f"{label} was not given.", next="It is asked for again on resume.")
        return self.learn(answer.secret.reveal(), label)

    async def _ask(
        self,
        step: str,
        kind: QuestionKind,
        text: str,
        options: tuple[Option, ...],
        default: str,
        digest: str,
        unattended: bool,
        *,
        label: str = "",
    ) -> Answer:
        async with self._turn:
            self.count += 1
            question = Asked(
                id=f"q{self.count}",
                step=step,
                kind=kind,
                text=text,
                options=options,
                default=default,
                plan_digest=digest,
                unattended=unattended,
            )
            await self.emit(question)
            allowed = {option.value for option in options}
            while True:
                with self._standing_still():
                    answer = await self.front.answer(question)
                if not allowed or answer.value in allowed:
                    break
            if answer.secret is not None:
                self.learn(answer.secret.reveal(), label)
            await self.emit(
                Answered(
                    id=question.id,
                    value=answer.value,
                    by=answer.by,
                    via=answer.via,
                    reason=answer.reason,
                    label=label,
                )
            )
            self.last_by = answer.by
            return answer
