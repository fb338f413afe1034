"""Certificates as each VM shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from checks import _http, tls
from runbook.errors import CouldNotLook
from runbook.hosts.base import Endpoint
from runbook.site.model import Platform
from tests.unit.doubles import ScriptedHost, make_look, make_site
from tests.unit.webs import Answer, Asked, Authority, raw, web

DOMAIN = "learn.example.org"
NAMES = (DOMAIN, f"studio.{DOMAIN}")


def nothing(asked: Asked) -> Answer:
    return 200, {}, b""


def vm(endpoint: Endpoint, ca: Path | str = "", **more: Any) -> Any:
    host = ScriptedHost("vm1")
    host.forwards[("127.0.0.1", 443)] = endpoint
    platform = Platform(**{"domain": DOMAIN, "public_through": "ssh", "ca_file": str(ca), **more})
    return make_look(host, site=make_site(platform=platform))


async def test_a_valid_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "Good Authority")
    with web(nothing, authority.context(*NAMES)) as (endpoint, _):
        found = await tls.https(vm(endpoint, authority.file))
    assert found.verdict == "pass", found.observed
    assert found.observed == f"{DOMAIN}: valid; studio.{DOMAIN}: valid"
    assert "issuer Good Authority, until 2" in found.evidence and "serial" in found.evidence


async def test_one_that_is_not_renewed_warns(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with web(nothing, authority.context(*NAMES, days=3)) as (endpoint, _):
        found = await tls.https(vm(endpoint, authority.file))
    assert found.verdict == "warn" and "renewal is overdue" in found.observed


@pytest.mark.parametrize(
    ("names", "days", "trusted", "word"),
    [
        ((DOMAIN,), 60, True, f"studio.{DOMAIN}: Hostname mismatch"),
        (NAMES, -1, True, "expired"),
        (NAMES, 60, False, "unable to get local issuer"),
    ],
)
async def test_a_bad_one_fails_and_is_described(
    tmp_path: Path, names: tuple[str, ...], days: float, trusted: bool, word: str
) -> None:
    authority = Authority(tmp_path, "Staging Authority")
    with web(nothing, authority.context(*names, days=days)) as (endpoint, _):
        found = await tls.https(vm(endpoint, authority.file if trusted else ""))
    assert found.verdict == "fail" and word in found.observed
    assert f"studio.{DOMAIN}: issuer Staging Authority, until 2" in found.evidence


async def test_a_refused_handshake_and_a_closed_port_fail(tmp_path: Path) -> None:
    with web(nothing) as (endpoint, _):  # plain HTTP where TLS should be
        found = await tls.https(vm(endpoint))
        assert found.verdict == "fail" and f"{DOMAIN}: " in found.observed
    found = await tls.https(vm(endpoint))
    assert found.verdict == "fail" and "connection refused" in found.observed


async def test_a_blocked_way_from_here_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    async def blocked(*args: Any) -> Any:
        raise _http.NoReply("timeout", "no answer in time")

    monkeypatch.setattr(tls, "_shake", blocked)
    look = vm(Endpoint("127.0.0.1", 1), public_through="direct")
    with pytest.raises(CouldNotLook, match=r"203.0.113.11:443 from here: no answer in time"):
        await tls.https(look)


async def test_a_server_that_says_nothing_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "TIMEOUT", 0.3)

    with raw(b"", stay=True) as endpoint:
        found = await tls.https(vm(endpoint))
    assert found.verdict == "fail" and "no answer" in found.observed


async def test_a_bad_ca_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(CouldNotLook, match="cannot be read as certificates"):
        await tls.https(vm(Endpoint("127.0.0.1", 1), tmp_path / "nosuch.pem"))
