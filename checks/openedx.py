"""Does the platform work on each VM: heartbeats, logging in, a course, a learner, HTTPS?"""

from __future__ import annotations

from typing import Any

import msgspec

from checks import _uploads
from checks._http import LIMIT, NoReply, Reply, public_endpoint, redirect_path, request, tls_context
from runbook.check import Finding, check
from runbook.context import Look
from runbook.errors import CouldNotLook
from runbook.events import Verdict
from runbook.site.model import Request

_WELL = (True, "ok", "OK", "up", "healthy", "pass", "true")


@check("LMS and Studio say they are well", on="production")
async def heartbeat(look: Look) -> Finding:
    """``GET /heartbeat`` of both on this VM. The body counts: it names the parts that fail."""
    platform = look.site.platform
    words, verdicts = [], []
    for name, port in (("LMS", platform.lms_port), ("Studio", platform.cms_port)):
        try:
            reply = await _ask(look, "/heartbeat", studio=name == "Studio")
        except NoReply as error:
            verdicts.append("fail")
            words.append(f"{name} ({port}): {error}")
            continue
        verdict, said = judge_heartbeat(reply)
        verdicts.append(verdict)
        words.append(f"{name} ({port}): {said}")
    return Finding(
        verdict="fail" if "fail" in verdicts else "warn" if "warn" in verdicts else "pass",
        expected="200 from /heartbeat of LMS and Studio, every part in it well",
        observed="; ".join(words),
    )


def judge_heartbeat(reply: Reply) -> tuple[Verdict, str]:
    """Open edX answers ``{"part": {"status": true, "message": "OK"}, …}``, 503 when one is not well."""
    try:
        parts = msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, RecursionError):
        parts = None
    sick = [
        f"{name}: {said.get('message', said['status'])}"
        for name, said in (parts.items() if isinstance(parts, dict) else ())
        if isinstance(said, dict) and said.get("status") not in (*_WELL, None)
    ]
    if isinstance(parts, dict) and parts.get("status", True) not in (*_WELL, None) and not sick:
        sick = [f"status: {parts['status']}"]
    if reply.status != 200 or sick:
        return "fail", f"{reply.status} {'; '.join(sick) or reply.text[:200].strip() or reply.reason}"
    if not isinstance(parts, dict):
        return "warn", f"{reply}: 200, but no heartbeat that names its parts"
    return "pass", f"200, well: {', '.join(sorted(parts)) or 'no parts named'}"


@check("The administrator can log in", on="production")
async def admin_login(look: Look) -> Finding:
    return await _configured(look, "admin_login", look.site.requests.admin_login)


@check("A course can be seen", on="production")
async def course(look: Look) -> Finding:
    return await _configured(look, "course", look.site.requests.course)


@check("A learner's data is there", on="production")
async def user(look: Look) -> Finding:
    return await _configured(look, "user", look.site.requests.user)


@check("Uploads are whole", on="production")
async def upload(look: Look, node: str = "") -> Finding:
    """The first, the largest and the last upload of the chosen backup against this VM's CouchDB, and,
    where site.requests.upload is set, against what the LMS serves. By SHA-256 of the decoded file.
    ``node``: whose dump to take them from (10.0.1.10); empty: the first there is."""
    return await _uploads.compare(look, node, _send if look.site.requests.upload else None)


@check("The platform answers over HTTPS", on="production")
async def https(look: Look) -> Finding:
    """The domain's front page and Caddy's /health, on this VM itself."""
    domain, context = look.site.platform.domain, tls_context(look)
    endpoint = await public_endpoint(look)
    direct = look.site.platform.public_through != "ssh"
    words, good = [], True
    for path in ("/", "/health"):
        try:
            reply = await request(endpoint, path, host=domain, tls=context)
        except NoReply as error:
            if direct and error.kind in ("timeout", "unreachable"):
                raise CouldNotLook(
                    f"{endpoint.host}:{endpoint.port} from here: {error}.",
                    next="Is port 443 open to this PC? platform.public_through = 'ssh' asks on the VM.",
                ) from None
            words.append(f"{path}: {error}")
            good = False
            continue
        words.append(f"{path}: {reply}")
        good &= reply.status < 400 if path == "/" else reply.status == 200 and b"OK" in reply.body
    return Finding(
        verdict="pass" if good else "fail",
        expected=f"https://{domain}/ answers, https://{domain}/health says OK",
        observed="; ".join(words),
        evidence=f"asked {endpoint.host}:{endpoint.port} as {domain}, certificate verified",
    )


# ── asking ─────────────────────────────────────────────────────────────────────────────────
async def _ask(look: Look, path: str, *, studio: bool = False, **more: Any) -> Reply:
    """One request to the LMS or Studio of ``look.host`` through SSH, in the domain's name, as the
    proxy in front of it would send it."""
    platform = look.site.platform
    endpoint = await look.host.forward("127.0.0.1", platform.cms_port if studio else platform.lms_port)
    host = f"studio.{platform.domain}" if studio else platform.domain
    headers = {"X-Forwarded-Proto": "https", **more.pop("headers", {})}
    return await request(endpoint, path, host=host, headers=headers, **more)


async def _configured(look: Look, name: str, wanted: Request | None) -> Finding:
    if wanted is None:
        return Finding(
            verdict="unknown",
            expected=f"the answer that [requests.{name}] of runbook.toml describes",
            observed=f"runbook.toml has no [requests.{name}]: nobody has said how to see it",
        )
    expected = f"{wanted.method} {wanted.path}: {wanted.status}"
    expected += f" with {wanted.contains!r} in it" if wanted.contains else ""
    try:
        first, last = await _send(look, wanted, wanted.path)
    except NoReply as error:
        return Finding(verdict="fail", expected=expected, observed=str(error))
    right = first.status == wanted.status
    # a redirect's own body is empty: what it leads to must hold the text
    there = not wanted.contains or any(wanted.contains in reply.text for reply in (first, last))
    observed = str(first) if first is last else f"{first}, then {last}"
    if wanted.contains:
        observed += f"; the text is {'there' if there else 'NOT there'}"
    return Finding(verdict="pass" if right and there else "fail", expected=expected, observed=observed)


async def _send(look: Look, wanted: Request, path: str, limit: int = LIMIT) -> tuple[Reply, Reply]:
    """The configured request: (its reply, the last reply after redirects on the same site). A form
    post is preceded by a GET for the CSRF cookie that Django wants back. Raises NoReply."""
    host = f"studio.{look.site.platform.domain}" if wanted.studio else look.site.platform.domain
    form = {
        key: value if isinstance(value, str) else (await look.secrets.get(value)).reveal()
        for key, value in wanted.form.items()
    }
    cookies: dict[str, str] = {}
    headers = dict(wanted.headers)
    if form:
        page = await _ask(look, path, studio=wanted.studio)
        cookies.update(page.cookies)
        if token := cookies.get("csrftoken"):
            form.setdefault("csrfmiddlewaretoken", token)
            headers = {"X-CSRFToken": token, "Referer": f"https://{host}{path}", **headers}
    first = last = await _ask(
        look,
        path,
        studio=wanted.studio,
        method=wanted.method,
        form=form or None,
        headers=_with(headers, cookies),
        limit=limit,
    )
    for _ in range(5 if wanted.contains else 0):
        target = redirect_path(last, host)
        if target is None:
            break
        cookies.update(last.cookies)
        last = await _ask(look, target, studio=wanted.studio, headers=_with(wanted.headers, cookies))
    return first, last


def _with(headers: dict[str, str], cookies: dict[str, str]) -> dict[str, str]:
    if not cookies:
        return headers
    return {**headers, "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
