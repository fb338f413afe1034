"""The small HTTP client, and what LMS and Studio answer."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from checks import openedx
from checks._http import NoReply, Reply, redirect_path, request
from runbook.hosts.base import Endpoint
from runbook.site.model import Platform, Requests, SecretRef
from runbook.site.model import Request as Configured
from tests.unit.doubles import FakeSecrets, ScriptedHost, make_look, make_site
from tests.unit.webs import Answer, Answerer, Asked, Authority, raw, web

DOMAIN = "learn.example.org"
WELL = json.dumps({"modulestore": {"status": True, "message": "OK"}, "sql": {"status": True}}).encode()


def always(status: int, body: bytes = b"", **headers: str) -> Answerer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda asked: (status, sent, body)


# ── the client ─────────────────────────────────────────────────────────────────────────────
async def test_a_request_in_the_name_of_the_domain() -> None:
    with web(always(200, b"hello", Set_Cookie="a=b; Path=/")) as (endpoint, asked):
        reply = await request(endpoint, "/x?y=1", host=DOMAIN, form={"name": "a&b"}, method="POST")
    assert (reply.status, reply.text, reply.cookies) == (200, "hello", {"a": "b"})
    assert (asked[0].method, asked[0].path, asked[0].headers["host"]) == ("POST", "/x?y=1", DOMAIN)
    assert parse_qs(asked[0].body.decode()) == {"name": ["a&b"]}


async def test_a_long_body_is_cut_off() -> None:
    with web(always(200, b"x" * 5000)) as (endpoint, _):
        reply = await request(endpoint, "/", host=DOMAIN, limit=100)
    assert len(reply.body) == 100 and reply.truncated


@pytest.mark.parametrize(
    ("answer", "stay", "kind"),
    [(b"", False, "closed"), (b"SSH-2.0-x\r\n\r\n", False, "nonsense"), (b"", True, "timeout"),
     (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", True, "timeout")],
)  # fmt: skip
async def test_no_answer_says_which_kind(answer: bytes, stay: bool, kind: str) -> None:
    with raw(answer, stay=stay) as endpoint, pytest.raises(NoReply) as caught:
        await request(endpoint, "/", host=DOMAIN, timeout=0.3 if stay else 10)
    assert caught.value.kind == kind


async def test_nobody_there_is_refused() -> None:
    with raw(b"") as endpoint:
        pass
    with pytest.raises(NoReply) as caught:
        await request(endpoint, "/", host=DOMAIN)
    assert caught.value.kind == "refused"


async def test_a_cancelled_request_ends_its_thread() -> None:
    met = threading.Event()
    with raw(b"", stay=True, met=met) as endpoint:
        task = asyncio.create_task(request(endpoint, "/", host=DOMAIN, timeout=60))
        assert await asyncio.to_thread(met.wait, 30)
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.get_running_loop().shutdown_default_executor()  # waits for its threads
    assert time.monotonic() - began < 30


async def test_odd_paths_are_refused_not_sent() -> None:
    with web(always(200)) as (endpoint, asked), pytest.raises(NoReply):
        await request(endpoint, "/a b\r\nX: y", host=DOMAIN)
    assert not asked


def reply(status: int, body: bytes = b"", **headers: str) -> Reply:
    return Reply(status, "", headers, {}, body, False)


@pytest.mark.parametrize(
    ("location", "path"),
    [("/next?x=1", "/next?x=1"), (f"https://{DOMAIN}/a", "/a"), ("https://elsewhere.org/a", None), ("", "/")],
)
def test_redirects_on_the_same_site(location: str, path: str | None) -> None:
    assert redirect_path(reply(302, location=location), DOMAIN) == path
    assert redirect_path(reply(200, location=location), DOMAIN) is None


# ── heartbeat ──────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("status", "body", "verdict", "word"),
    [
        (200, WELL, "pass", "well: modulestore, sql"),
        (503, b'{"sql": {"status": false, "message": "down"}}', "fail", "sql: down"),
        (200, b'{"couchdb": {"status": false, "message": "refused"}}', "fail", "couchdb: refused"),
        (200, b'{"status": "error"}', "fail", "status: error"),
        (200, b'{"status": "ok"}', "pass", ""),
        (200, b"<html>Welcome to nginx", "warn", "no heartbeat"),
        (502, b"Bad Gateway", "fail", "502 Bad Gateway"),
        (200, b"[" * 5000, "warn", ""),
    ],
)
def test_a_heartbeat_is_judged_by_its_body(status: int, body: bytes, verdict: str, word: str) -> None:
    judged, text = openedx.judge_heartbeat(reply(status, body))
    assert judged == verdict and word in text


def vm(lms: Endpoint, cms: Endpoint | None = None, **requests: Any) -> Any:
    host = ScriptedHost("vm1")
    host.forwards = {("127.0.0.1", 8000): lms, ("127.0.0.1", 8001): cms or lms}
    site = make_site(requests=Requests(**requests))
    return make_look(host, site=site, secrets=FakeSecrets({"ADMIN_PASSWORD": "pa&ss"}))


async def test_heartbeat_of_both() -> None:
    with web(always(200, WELL)) as (lms, asked), web(always(503, b"{}")) as (cms, _):
        found = await openedx.heartbeat(vm(lms, cms))
        assert found.verdict == "fail" and "LMS (8000): 200, well" in found.observed
        assert asked[0].headers["host"] == DOMAIN and asked[0].headers["x-forwarded-proto"] == "https"
        assert (await openedx.heartbeat(vm(lms))).verdict == "pass"
    found = await openedx.heartbeat(vm(lms))  # both are closed now
    assert found.verdict == "fail" and "refused" in found.observed


# ── configured requests ────────────────────────────────────────────────────────────────────
async def test_what_nobody_described_is_unknown() -> None:
    with web(always(200)) as (lms, _):
        found = await openedx.course(vm(lms))
    assert found.verdict == "unknown" and "no [requests.course]" in found.observed


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [(200, b"... Demo Course ...", "pass"), (200, b"nothing", "fail"), (404, b"Demo Course", "fail")],
)
async def test_a_course(status: int, body: bytes, verdict: str) -> None:
    with web(always(status, body)) as (lms, asked):
        found = await openedx.course(
            vm(lms, course=Configured(path="/courses/x/about", contains="Demo Course"))
        )
    assert found.verdict == verdict and asked[0].path == "/courses/x/about"


async def test_logging_in_as_django_wants_it() -> None:
    """First a GET for the CSRF cookie; then the form with it; then where the redirect leads."""

    def django(asked: Asked) -> Answer:
        if asked.method == "GET" and asked.path == "/admin/login/":
            return 200, {"Set-Cookie": "csrftoken=t0k; Path=/"}, b"<form>"
        if asked.method == "POST":
            form = parse_qs(asked.body.decode())
            right = form["csrfmiddlewaretoken"] == ["t0k"] and form["password"] == ["pa&ss"]
            right &= "csrftoken=t0k" in asked.headers["cookie"]
            right &= asked.headers["referer"] == f"https://{DOMAIN}/admin/login/"
            return (
                (302, {"Location": "/admin/", "Set-Cookie": "sessionid=s1"}, b"")
                if right
                else (200, {}, b"no")
            )
        signed_in = "sessionid=s1" in asked.headers.get("cookie", "")
        return 200, {}, b"Site administration" if signed_in else b"please log in"

    wanted = Configured(
        path="/admin/login/", method="POST", status=302, contains="Site administration",
        form={"username": "admin", "password": SecretRef(env="ADMIN_PASSWORD")},
    )  # fmt: skip
    with web(django) as (lms, asked):
        found = await openedx.admin_login(vm(lms, admin_login=wanted))
    assert found.verdict == "pass", found.observed
    assert [one.method for one in asked] == ["GET", "POST", "GET"]
    assert "pa&ss" not in found.observed + found.expected + found.evidence


async def test_a_refused_login_fails() -> None:
    wanted = Configured(
        path="/login", method="POST", status=302, form={"username": "admin", "password": "no"}
    )
    with web(always(200, b"wrong password")) as (lms, _):
        found = await openedx.admin_login(vm(lms, admin_login=wanted))
    assert found.verdict == "fail"


# ── https ──────────────────────────────────────────────────────────────────────────────────
async def test_https_of_the_domain_on_the_vm_itself(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    def caddy(asked: Asked) -> Answer:
        return 200, {}, b"OK" if asked.path == "/health" else b"<h1>Learn"

    with web(caddy, authority.context(DOMAIN)) as (endpoint, asked):
        host = ScriptedHost("vm1")
        host.forwards[("127.0.0.1", 443)] = endpoint
        platform = Platform(domain=DOMAIN, public_through="ssh", ca_file=str(authority.file))
        found = await openedx.https(make_look(host, site=make_site(platform=platform)))
        assert found.verdict == "pass", found.observed
        assert asked[0].headers["host"] == DOMAIN

        platform = Platform(domain=DOMAIN, public_through="ssh")
        found = await openedx.https(make_look(host, site=make_site(platform=platform)))
        assert found.verdict == "fail" and "unable to get local issuer" in found.observed
