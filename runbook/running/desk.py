"""Questions and answers: asked on the record, answered by whatever front end is there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from msgspec.structs import replace

from runbook.errors import WaitsForPerson
from runbook.events import Answered, AnswerRefused, Asked, Event, Option, QuestionKind, QuestionWithdrawn
from runbook.front import Answer, FrontEnd
from runbook.secrets import Secret

#: refused answers to one question after which the front end is taken to be broken
MOST_REFUSED = 20


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
    #: while a person is asked: what is left of each limit, in seconds
    _left: dict[asyncio.Timeout, float] | None = None

    @contextlib.asynccontextmanager
    async def limit(self, seconds: float | None) -> AsyncIterator[asyncio.Timeout]:
        """asyncio.timeout(), for which waiting for people does not count."""
        async with asyncio.timeout(seconds) as limit:
            self._limits.add(limit)
            if self._left is not None and seconds is not None:
                self._left[limit] = seconds
                limit.reschedule(None)
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
        self._left = left
        try:
            yield
        finally:
            self._left = None
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
        optional: bool = False,
    ) -> str:
        """The value of the answer; with options, always one of theirs. Raises WaitsForPerson."""
        answer = await self._ask(
            Asked(
                id="",
                step=step,
                kind=kind,
                text=text,
                options=options,
                default=default,
                plan_digest=plan_digest,
                unattended=unattended,
                optional=optional,
            )
        )
        return answer.value

    async def ask_secret(self, step: str, text: str, label: str) -> Secret:
        answer = await self._ask(Asked(id="", step=step, kind="secret", text=text), label)
        if answer.secret is None:
            raise WaitsForPerson(f"{label} was not given.", next="It is asked for again on resume.")
        return self.learn(answer.secret.reveal(), label)

    async def _ask(self, question: Asked, label: str = "") -> Answer:
        """``question`` gets its id when its turn has come."""
        async with self._turn:
            self.count += 1
            question = replace(question, id=f"q{self.count}")
            await self.emit(question)
            try:
                with self._standing_still():
                    answer = await self._answer(question)
            except BaseException as error:
                # whoever asked is gone or told: nobody waits for an answer any more
                await self.emit(QuestionWithdrawn(id=question.id, why=_why(error)))
                raise
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

    async def _answer(self, question: Asked) -> Answer:
        """One that is for this question, and one of its choices; others are refused, on record."""
        allowed = {option.value for option in question.options}
        for _ in range(MOST_REFUSED):
            answer = await self.front.answer(question)
            if answer.id != question.id:
                why = "it answers a question that is no longer open"
            elif allowed and answer.value not in allowed:
                why = "it is none of the choices"
            else:
                return answer
            await self.emit(
                AnswerRefused(id=question.id, given=answer.id, by=answer.by, via=answer.via, why=why)
            )
        raise WaitsForPerson(
            f"{MOST_REFUSED} answers to a question could not be taken: {why}.",
            next="Go on with `runbook resume`, in another front end if this one keeps failing.",
        )


def _why(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "what asked it was ended"
    if isinstance(error, WaitsForPerson):
        return "nobody answered"
    return f"the front end failed: {type(error).__name__}: {error}"
