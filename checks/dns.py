"""Do the domain's authoritative servers send people to today's VMs?

Asked of the servers that decide, not of a resolver: a resolver may serve yesterday's answer until its
time to live is over.
"""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass, field
from datetime import timedelta

import dns.asyncquery
import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from runbook.check import Finding, check
from runbook.context import Look
from runbook.errors import CouldNotLook
from runbook.events import Verdict
from runbook.units import duration

TIMEOUT = 5.0


@dataclass(frozen=True)
class Server:
    label: str
    address: str
    port: int = 53


@dataclass
class Answer:
    """What one server says of one name. ``trouble``: it gave no usable answer."""

    server: str
    name: str
    addresses: set[str] = field(default_factory=set)
    ttl: int = 0
    trouble: str = ""
    authoritative: bool = True

    def __str__(self) -> str:
        if self.trouble:
            return f"{self.server} on {self.name}: {self.trouble}"
        found = " ".join(sorted(self.addresses)) or "no address"
        remark = "" if self.authoritative else ", not authoritative"
        return f"{self.server} on {self.name}: {found} (TTL {duration(self.ttl)}{remark})"


@check("DNS points at the production VMs", on="once")
async def points_at_vms(look: Look) -> Finding:
    """Every authoritative server gives exactly the production machines' addresses for the domain (and
    site.dns.names). "unknown" when none of them answers."""
    wanted = _wanted(look)
    names = look.site.dns.names or (look.site.platform.domain,)
    servers = [parse_server(text) for text in look.site.dns.servers] or await _authoritative(names[0])
    answers = await asyncio.gather(*(ask(one, name, "A") for one in servers for name in names))
    heard = [answer for answer in answers if not answer.trouble]
    if not heard:
        raise CouldNotLook(
            f"No name server answered: {'; '.join(map(str, answers))}.",
            next="Look at this PC's network, and at site.dns.servers.",
        )
    wrong = [answer for answer in heard if answer.addresses != wanted]
    verdict: Verdict = "fail" if wrong else "warn" if len(heard) < len(answers) else "pass"
    observed = "; ".join(map(str, answers))
    if not wrong:
        six = [one for one in await _ipv6(servers, names) if one.addresses - wanted]
        if six:
            verdict = "warn"
            observed += f"; IPv6 visitors go elsewhere: {'; '.join(map(str, six))}"
    return Finding(
        verdict=verdict,
        expected=f"{' and '.join(names)}: {' '.join(sorted(wanted))}, from every authoritative server",
        observed=observed,
        evidence=_stale(look, heard, wrong),
    )


def _wanted(look: Look) -> set[str]:
    machines = look.hosts.select("each production")
    try:
        return {str(ipaddress.ip_address(machine.address)) for machine in machines}
    except ValueError:
        raise CouldNotLook(
            f"The machines' addresses are names ({', '.join(one.address for one in machines)}), so DNS"
            " cannot be compared with them.",
            next="Give their IP addresses in runbook.toml.",
        ) from None


def _stale(look: Look, heard: list[Answer], wrong: list[Answer]) -> str:
    """When the last client that still holds an old answer has let it go."""
    longest = max(answer.ttl for answer in heard)
    if wrong and not longest:
        return "How long clients keep the old answer is not known: no TTL was seen."
    if wrong:
        return f"After the change, clients may keep the old answer for another {duration(longest)}."
    gone = look.clock.now() + timedelta(seconds=longest)
    return (
        f"The last stale client is gone by {gone:%Y-%m-%d %H:%M:%S} UTC at the latest"
        f" (TTL {duration(longest)}, if the change was made only now and the old record had the same TTL)."
    )


def parse_server(text: str) -> Server:
    """``192.0.2.1``, ``192.0.2.1:5353``, ``2001:db8::1``, ``[2001:db8::1]:5353``. Raises CouldNotLook."""
    address, port = text.strip(), "53"
    if address.startswith("["):
        address, _, rest = address[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif address.count(":") == 1:
        address, _, port = address.partition(":")
    try:
        return Server(text, str(ipaddress.ip_address(address)), int(port))
    except ValueError:
        raise CouldNotLook(
            f"site.dns.servers: {text!r} is not an address or address:port.", next="Correct runbook.toml."
        ) from None


async def _authoritative(name: str) -> list[Server]:
    """The zone's name servers, as this PC's resolver tells. Raises CouldNotLook."""
    resolver = dns.asyncresolver.Resolver()
    resolver.lifetime = TIMEOUT * 2
    try:
        zone = await dns.asyncresolver.zone_for_name(dns.name.from_text(name), resolver=resolver)
        found = await resolver.resolve(zone, "NS")
        servers = []
        for record in found:
            host = str(record.target)
            for address in await resolver.resolve(host, "A"):
                servers.append(Server(f"{host.rstrip('.')} ({address.address})", address.address))
        return servers
    except (dns.exception.DNSException, OSError) as error:
        raise CouldNotLook(
            f"The name servers of {name} could not be found: {error}",
            next='Name them in runbook.toml: [dns] servers = ["address"].',
        ) from None


async def ask(server: Server, name: str, kind: str) -> Answer:
    """One question to one server, over UDP, then TCP if it was cut off."""
    answer = Answer(server.label, name)
    try:
        query = dns.message.make_query(name, kind)
        query.flags &= ~dns.flags.RD
        reply, _ = await dns.asyncquery.udp_with_fallback(query, server.address, TIMEOUT, server.port)
    except (dns.exception.DNSException, OSError, ValueError) as error:
        slow = isinstance(error, dns.exception.Timeout)
        answer.trouble = f"no answer within {TIMEOUT:g} s" if slow else f"no answer ({error})"
        return answer
    if reply.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        answer.trouble = f"refuses: {dns.rcode.to_text(reply.rcode())}"
        return answer
    answer.authoritative = bool(reply.flags & dns.flags.AA)
    sets = [found for found in reply.answer if found.rdtype == dns.rdatatype.from_text(kind)]
    answer.addresses = {str(ipaddress.ip_address(record.address)) for found in sets for record in found}
    answer.ttl = max((found.ttl for found in reply.answer), default=0)
    return answer


async def _ipv6(servers: list[Server], names: tuple[str, ...]) -> list[Answer]:
    """Leftover AAAA records would send some visitors to machines that are gone."""
    found = await asyncio.gather(*(ask(one, name, "AAAA") for one in servers for name in names))
    return [answer for answer in found if answer.addresses]
