"""What the stand-in says no with."""

from __future__ import annotations

from runbook.errors import RunbookError


class HttpError(Exception):
    """An error reply: ``{"error": error, "reason": reason}`` with ``status``."""

    def __init__(self, status: int, error: str, reason: str, *, ref: int | None = None) -> None:
        super().__init__(f"{status} {error}: {reason}")
        self.status, self.error, self.reason, self.ref = status, error, reason, ref

    def body(self) -> dict[str, object]:
        found: dict[str, object] = {"error": self.error, "reason": self.reason}
        if self.ref is not None:
            found["ref"] = self.ref
        return found


class BootFailed(RunbookError):
    """The server stopped while starting. ``log`` is what its log says; its data is untouched."""

    def __init__(self, log: str) -> None:
        self.log = log
        super().__init__(
            f"CouchDB did not start. Its log says: {log}", next="Correct the settings, start it again."
        )


class Dropped(Exception):
    """The connection is to be closed without a reply (a fault made on purpose)."""


def bad_request(reason: str) -> HttpError:
    return HttpError(400, "bad_request", reason)


def not_found(reason: str = "missing") -> HttpError:
    return HttpError(404, "not_found", reason)


def no_database() -> HttpError:
    return not_found("Database does not exist.")


def conflict() -> HttpError:
    return HttpError(409, "conflict", "Document update conflict.")


def unsupported(what: str) -> HttpError:
    """Real CouchDB can do this; the stand-in says plainly that it cannot."""
    return HttpError(501, "not_implemented", f"The lab's CouchDB stand-in does not do {what}.")
