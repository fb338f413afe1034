"""LMS and Studio stand-ins: they know only what the VM's CouchDB tells them, as the real ones do."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import secrets
from collections.abc import Callable, Mapping
from html import escape
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from runbook.lab.web import Reply, Request

LOGIN = ("/user_api/v1/account/login_session/", "/api/user/v1/account/login_session/")
ACCOUNTS = "/api/user/v1/accounts/"


class _Down(Exception):
    """CouchDB does not answer, refuses the password, or has no such database."""


class Platform:
    """One LMS or Studio. ``couch_port`` tells where the VM's CouchDB listens now, if it does; the
    password is the one in the service's environment, so a wrong .env shows here."""

    def __init__(
        self, name: str, environment: Mapping[str, str], couch_port: Callable[[], int | None]
    ) -> None:
        self._name, self._couch_port = name, couch_port
        user, password = environment.get("COUCHDB_USER", ""), environment.get("COUCHDB_PASSWORD", "")
        self._auth = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._database = f"openedx_{environment.get('VM_INDEX', '1') or '1'}"
        self._title = environment.get("PLATFORM_NAME", "Open edX")

    def answer(self, request: Request) -> Reply:
        path = unquote(urlsplit(request.path).path)
        try:
            if path == "/heartbeat":
                return self._heartbeat()
            if path in LOGIN:
                return self._login(request) if request.method == "POST" else self._login_form()
            if path == "/":
                self._ask(f"/{self._database}")
                return Reply(200, f"<title>{escape(self._title)}</title><h1>{self._name}</h1>".encode())
            if path.startswith("/courses/"):
                return self._course(path.removeprefix("/courses/").removesuffix("/about").removesuffix("/"))
            if path.startswith(ACCOUNTS):
                return self._account(path.removeprefix(ACCOUNTS).rstrip("/"))
            if path.startswith("/uploads/"):
                return self._upload(path.removeprefix("/uploads/"))
        except _Down as down:
            return Reply.json(503, {"error": str(down)})
        return Reply.text(404, "Page not found")

    def healthy(self) -> bool:
        return self._heartbeat_status() == 200

    def _heartbeat_status(self) -> int:
        try:
            return self._heartbeat().status
        except _Down:
            return 503

    def _heartbeat(self) -> Reply:
        try:
            self._ask(f"/{self._database}")
            self._ask("/_users")
        except _Down as down:
            return Reply.json(503, {"couchdb": {"status": False, "message": str(down)}})
        return Reply.json(200, {"couchdb": {"status": True, "message": "OK"}, "service": self._name})

    def _login_form(self) -> Reply:
        cookie = f"csrftoken={secrets.token_hex(16)}; Path=/; SameSite=Lax"
        return Reply(200, b"<form method=post></form>", headers=(("Set-Cookie", cookie),))

    def _login(self, request: Request) -> Reply:
        """As Django: the form's token must be the cookie's."""
        cookies = SimpleCookie(_header(request, "Cookie"))
        form = {key: values[0] for key, values in parse_qs(request.body.decode("utf-8", "replace")).items()}
        token = _header(request, "X-CSRFToken") or form.get("csrfmiddlewaretoken", "")
        if "csrftoken" not in cookies or cookies["csrftoken"].value != token:
            return Reply.text(403, "CSRF verification failed. Request aborted.")
        name = form.get("email_or_username") or form.get("email") or form.get("username") or ""
        refused = Reply.json(400, {"success": False, "value": "Email or password is incorrect."})
        if "@" in name:
            found = self._document(self._database, f"email.{name}")
            name = str(found["username"]) if found else ""
        account = self._document("_users", f"org.couchdb.user:{name}") if name else None
        if account is None or not _password_fits(account, form.get("password", "")):
            return refused
        return Reply.json(200, {"success": True, "redirect_url": f"/dashboard?user={name}"})

    def _course(self, course: str) -> Reply:
        found = self._document(self._database, course)
        if found is None or found.get("type") != "course":
            return Reply.text(404, "Course not found")
        title, about = escape(str(found.get("display_name"))), escape(str(found.get("about")))
        return Reply(200, f"<title>{title}</title><h1>{title}</h1><p>{about}</p>".encode())

    def _account(self, name: str) -> Reply:
        found = self._document(self._database, f"user.{name}")
        if found is None:
            return Reply.json(404, {"detail": "Not found."})
        return Reply.json(200, {key: found.get(key) for key in ("username", "name", "email", "date_joined")})

    def _upload(self, name: str) -> Reply:
        found = self._document("edxapp_files", name)
        if found is None:
            return Reply.text(404, "No such file")
        return Reply(200, base64.b64decode(str(found["data"])), str(found.get("content_type")))

    def _document(self, database: str, name: str) -> dict[str, Any] | None:
        return self._ask(f"/{database}/{quote(name, safe='')}", absent=True)

    def _ask(self, path: str, *, absent: bool = False) -> dict[str, Any] | None:
        """GET from the VM's CouchDB. None for a document that is not there (``absent``), but a
        database that is not there is a platform that is down."""
        port = self._couch_port()
        if port is None:
            raise _Down("CouchDB: connection refused")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request(
                "GET", path, headers={"Authorization": self._auth, "Accept": "application/json"}
            )
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise _Down(f"CouchDB: {error}") from None
        finally:
            connection.close()
        answer = json.loads(body) if body else {}
        if response.status == 404 and absent and "atabase" not in str(answer.get("reason")):
            return None
        if response.status != 200:
            raise _Down(f"CouchDB answered {response.status} {answer.get('error')}: {answer.get('reason')}")
        return dict(answer)


def _header(request: Request, name: str) -> str:
    return next((value for key, value in request.headers.items() if key.lower() == name.lower()), "")


def _password_fits(account: Mapping[str, Any], password: str) -> bool:
    """CouchDB 3.3 hashes with PBKDF2-SHA1; ``pbkdf2_prf`` names another function in newer ones."""
    salt, rounds = str(account.get("salt", "")).encode(), int(account.get("iterations", 10))
    wanted = str(account.get("derived_key", ""))
    function = str(account.get("pbkdf2_prf", "sha")).replace("sha256", "sha-256").replace("-", "") or "sha1"
    function = {"sha": "sha1"}.get(function, function)
    derived = hashlib.pbkdf2_hmac(function, password.encode(), salt, rounds, len(wanted) // 2 or 20)
    return hmac.compare_digest(derived.hex(), wanted)
