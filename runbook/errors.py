"""Every error a person can meet, drawn once.

    RunbookError                 what happened; what to do next
    ├── UseError                 wrong use: arguments, names (exit 2)
    │   ├── GuideError           a guide's file and line
    │   ├── SiteError            a key of runbook.toml and its expected form
    │   └── SecretError          a secret's reference could not be followed
    ├── StateError               the run's own files
    │   ├── JournalLocked        another process writes this journal
    │   └── JournalDamaged       the hash chain is broken at a record
    ├── HostError                a machine could not be used
    │   ├── Unreachable          no connection (nothing was changed)
    │   ├── HostKeyUnknown       first contact; carries the fingerprint
    │   ├── HostKeyChanged       stopped; carries both fingerprints
    │   ├── LoginRefused         the server answered and said no
    │   ├── TimedOut             a command's limit passed; says whether it is gone
    │   └── OutcomeUnknown       the connection went while something ran (exit 4)
    ├── ActionFailed             an act ended and the world is not as wanted (exit 1)
    ├── CouldNotLook             a check or probe could not see; verdict "unknown", never "fail"
    └── WaitsForPerson           only a person can answer (exit 3)

Exit codes of the program live here and nowhere else.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USE = 2
EXIT_WAITS = 3
EXIT_UNKNOWN = 4
EXIT_INTERRUPTED = 130


class RunbookError(Exception):
    """Something a person must hear of.

    ``what`` says what happened, on which host and file, and what was and was not changed;
    ``next`` says what to do now. Neither may hold a secret; both may hold raw remote text
    (it is sanitised where it is printed).
    """

    exit_code = EXIT_FAILED

    def __init__(self, what: str, *, next: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.next = next

    def __str__(self) -> str:
        return f"{self.what} {self.next}".strip()


class UseError(RunbookError):
    exit_code = EXIT_USE


class GuideError(UseError):
    """A guide is wrong. ``problems`` lists every finding as (file, line, text)."""

    def __init__(self, problems: list[tuple[str, int, str]]) -> None:
        self.problems = problems
        text = "\n".join(f"{file}:{line}: {text}" for file, line, text in problems)
        super().__init__(text, next="Nothing was run.")


class SiteError(UseError):
    """The settings are wrong. ``problems`` lists (key, text with the expected form)."""

    def __init__(self, file: str, problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        text = "\n".join(f"{file}: {_joined(key, text)}" for key, text in problems)
        super().__init__(text, next="Nothing was touched.")


def _joined(key: str, text: str) -> str:
    return f"{key} {text}" if text.startswith("is ") else f"{key}: {text}"


class SecretError(UseError):
    pass


class StateError(RunbookError):
    exit_code = EXIT_USE


class JournalLocked(StateError):
    pass


class JournalDamaged(StateError):
    pass


class HostError(RunbookError):
    """A machine could not be used; ``host`` is its name in this run."""

    def __init__(self, host: str, what: str, *, next: str = "") -> None:
        super().__init__(what, next=next)
        self.host = host


class Unreachable(HostError):
    pass


class HostKeyUnknown(HostError):
    def __init__(self, host: str, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        super().__init__(
            host,
            f"{host} is not known yet. Fingerprint {fingerprint}.",
            next="Compare it with the machine's console, then accept.",
        )


class HostKeyChanged(HostError):
    def __init__(self, host: str, known: str, offered: str) -> None:
        self.known, self.offered = known, offered
        super().__init__(
            host,
            f"Host key of {host} CHANGED (was {known}, now {offered}). Nothing was sent to it.",
            next=f"Was {host} rebuilt? If not, something else may answer in its place: do not go on, call "
            "the contact. If it was, compare on its console and trust it anew.",
        )


class LoginRefused(HostError):
    pass


class TimedOut(HostError):
    """``gone``: True the process is stopped, False STILL RUNNING, None could not look."""

    def __init__(self, host: str, what: str, *, gone: bool | None, next: str = "") -> None:
        self.gone = gone
        super().__init__(host, what, next=next)


class OutcomeUnknown(HostError):
    exit_code = EXIT_UNKNOWN


class ActionFailed(RunbookError):
    pass


class CouldNotLook(RunbookError):
    pass


class WaitsForPerson(RunbookError):
    exit_code = EXIT_WAITS
