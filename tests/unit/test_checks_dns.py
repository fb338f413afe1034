"""DNS: what the authoritative servers say against the production machines."""

from __future__ import annotations

from typing import Any

import pytest

from checks import dns
from runbook.errors import CouldNotLook
from runbook.site.model import Dns
from tests.unit.doubles import FakeClock, ScriptedHost, make_look, make_site
from tests.unit.webs import name_server

DOMAIN = "learn.example.org"
NEW = ["203.0.113.11", "203.0.113.12"]
OLD = ["198.51.100.1"]


def look(*servers: str, names: tuple[str, ...] = ()) -> Any:
    vms = [ScriptedHost("vm1"), ScriptedHost("vm2"), ScriptedHost("backup")]
    return make_look(
        ScriptedHost("operator"),
        *vms,
        site=make_site(dns=Dns(servers=servers, names=names)),
        clock=FakeClock(),
    )


async def test_right_on_every_server() -> None:
    zone = {(DOMAIN, "A"): NEW}
    async with name_server(zone) as one, name_server(zone) as two:
        found = await dns.points_at_vms(look(one, two))
    assert found.verdict == "pass"
    assert f"{one} on {DOMAIN}: 203.0.113.11 203.0.113.12 (TTL 5m00)" in found.observed
    assert "last stale client is gone by 2026-11-24 03:05:00 UTC" in found.evidence


@pytest.mark.parametrize("records", [OLD, [*NEW, *OLD], NEW[:1], []])
async def test_old_extra_or_missing_addresses_fail(records: list[str]) -> None:
    async with name_server({(DOMAIN, "A"): NEW}) as good, name_server({(DOMAIN, "A"): records}) as bad:
        found = await dns.points_at_vms(look(good, bad))
    assert found.verdict == "fail" and " ".join(sorted(records) or ["no address"]) in found.observed


async def test_every_name_counts() -> None:
    zone = {(DOMAIN, "A"): NEW, (f"studio.{DOMAIN}", "A"): OLD}
    async with name_server(zone) as one:
        found = await dns.points_at_vms(look(one, names=(DOMAIN, f"studio.{DOMAIN}")))
    assert found.verdict == "fail" and f"studio.{DOMAIN}: 198.51.100.1" in found.observed


async def test_a_server_that_refuses_is_a_remark_and_none_is_unknown() -> None:
    async with name_server({(DOMAIN, "A"): NEW}) as good, name_server({}, rcode=5) as bad:
        found = await dns.points_at_vms(look(good, bad))
        assert found.verdict == "warn" and "refuses: REFUSED" in found.observed
        with pytest.raises(CouldNotLook, match="No name server answered"):
            await dns.points_at_vms(look(bad))


async def test_a_silent_server_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "TIMEOUT", 0.2)
    async with name_server({}, silent=True) as one:
        with pytest.raises(CouldNotLook, match="no answer within"):
            await dns.points_at_vms(look(one))


async def test_leftover_ipv6_addresses_are_pointed_out() -> None:
    async with name_server({(DOMAIN, "A"): NEW, (DOMAIN, "AAAA"): ["2001:db8::1"]}) as one:
        found = await dns.points_at_vms(look(one))
    assert found.verdict == "warn" and "2001:db8::1" in found.observed


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("192.0.2.1", "192.0.2.1", 53),
        ("192.0.2.1:5353", "192.0.2.1", 5353),
        ("2001:db8::1", "2001:db8::1", 53),
        ("[2001:db8::1]:5353", "2001:db8::1", 5353),
        ("[2001:db8::1]", "2001:db8::1", 53),
    ],
)
def test_servers_as_written(text: str, address: str, port: int) -> None:
    assert (dns.parse_server(text).address, dns.parse_server(text).port) == (address, port)


@pytest.mark.parametrize("text", ["ns1.example.org", "192.0.2.1:x", ""])
def test_servers_that_are_none(text: str) -> None:
    with pytest.raises(CouldNotLook, match="not an address"):
        dns.parse_server(text)
