"""Who asks: basic logins, session cookies, server admins and users of ``_users``."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runbook.lab.couchdb import fabric, jsontext, passwords
from runbook.lab.couchdb.errors import HttpError
from runbook.lab.couchdb.web import Request

if TYPE_CHECKING:
    from runbook.lab.couchdb.node import StandIn

PREFIX = "org.couchdb.user:"


@dataclass(frozen=True)
class Caller:
    name: str | None = None
    roles: tuple[str, ...] = ()
    by: str = ""  #: "default" (basic) or "cookie"

    @property
    def admin(self) -> bool:
        return "_admin" in self.roles


def refused(reason: str = "Name or password is incorrect.") -> HttpError:
    return HttpError(401, "unauthorized", reason)


class Logins:
    """One node's logins. Proven passwords are remembered until the settings or the user change."""

    def __init__(self, node: StandIn) -> None:
        self._node = node
        self._proven: set[tuple[str, str, str]] = set()

    def caller(self, request: Request) -> Caller:
        """Raises HttpError 401 for a wrong login; no login at all is nobody."""
        header = request.headers.get("authorization", "")
        if header[:6].lower() == "basic ":
            return self._basic(header[6:].strip())
        for part in request.headers.get("cookie", "").split(";"):
            key, _, value = part.strip().partition("=")
            if key == "AuthSession" and value:
                return self._cookie(value)
        return Caller()

    def login(self, name: str, password: str) -> Caller:
        """Raises HttpError 401."""
        stored = self._node.config.get("admins", name)
        if stored:
            if self._prove((name, stored, password), lambda: passwords.admin_matches(stored, password)):
                return Caller(name, ("_admin",), "default")
            raise refused()
        user = self._user(name)
        mark = str(user)
        if user is None or not self._prove(
            (name, mark, password), lambda: passwords.user_matches(user, password)
        ):
            raise refused()
        return Caller(name, _roles(user), "default")

    def cookie(self, name: str) -> str:
        """A Set-Cookie value for somebody who just proved his password."""
        secret = self._node.config.get("chttpd_auth", "secret")
        moment = int(self._node.network.wall())
        value = passwords.cookie(name, secret, self._salt(name), moment)
        return f"AuthSession={value}; Version=1; Path=/; HttpOnly"

    def _basic(self, coded: str) -> Caller:
        try:
            name, colon, password = base64.b64decode(coded).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise refused() from None
        if not colon:
            raise refused()
        return self.login(name, password)

    def _cookie(self, value: str) -> Caller:
        found = passwords.opened(value)
        if found is None:
            raise HttpError(400, "bad_request", "Malformed AuthSession cookie. Please clear your cookies.")
        name, moment, seal = found
        secret = self._node.config.get("chttpd_auth", "secret")
        limit = self._node.config.number("chttpd_auth", "timeout", 600)
        if not passwords.sealed(name, moment, seal, secret, self._salt(name)):
            return Caller()
        if self._node.network.wall() > moment + limit:
            return Caller()
        if self._node.config.get("admins", name):
            return Caller(name, ("_admin",), "cookie")
        return Caller(name, _roles(self._user(name) or {}), "cookie")

    def _prove(self, mark: tuple[str, str, str], test: Any) -> bool:
        if mark in self._proven:
            return True
        if not test():
            return False
        if len(self._proven) > 1000:
            self._proven.clear()
        self._proven.add(mark)
        return True

    def _salt(self, name: str) -> str:
        stored = self._node.config.get("admins", name)
        if stored:
            return passwords.admin_salt(stored)
        return str((self._user(name) or {}).get("salt", ""))

    def _user(self, name: str) -> dict[str, Any] | None:
        """The user's document; none when there is none, or conflicts make it doubtful."""
        found = self._node.disk.dbs.get("_users")
        if found is None or found.deleted:
            return None
        state = fabric.state(self._node, found, PREFIX + name)
        if state is None or state.winner.deleted:
            return None
        if state.conflicts(deleted=False):
            self._node.note("warning", f"user document of {name} has conflicts; login refused")
            return None
        fields: dict[str, Any] = jsontext.value(b"{%b}" % state.winner.members)
        return fields


def _roles(user: dict[str, Any]) -> tuple[str, ...]:
    roles = user.get("roles")
    return tuple(str(role) for role in roles) if isinstance(roles, list) else ()
