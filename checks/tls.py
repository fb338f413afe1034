"""Does each VM show a valid certificate for the domain?"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from checks._http import TIMEOUT, Line, NoReply, connect_tls, public_endpoint, tls_context
from runbook.check import Finding, check
from runbook.context import Look
from runbook.errors import CouldNotLook
from runbook.hosts.base import Endpoint

#: a certificate that ends sooner is not being renewed (Caddy renews at a third of its life)
SOON = timedelta(days=7)
#: X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python's ssl has no name for
_NO_CHECK_TIME = 0x200000


@dataclass(frozen=True)
class Shown:
    """A certificate as a server showed it; ``refused`` says why it was not believed."""

    issuer: str
    until: datetime | None
    serial: str
    fingerprint: str
    refused: str = ""

    def __str__(self) -> str:
        until = f"until {self.until:%Y-%m-%d %H:%M} UTC" if self.until else "end not readable"
        serial = f", serial {self.serial}" if self.serial else ""
        return f"issuer {self.issuer or 'not readable'}, {until}{serial}, SHA-256 {self.fingerprint}"


@check("HTTPS with a valid certificate", on="production")
async def https(look: Look) -> Finding:
    """Chain, name and expiry, for the domain and studio.<domain>, on this VM itself (not on
    whichever the DNS answers)."""
    domain = look.site.platform.domain
    names = (domain, f"studio.{domain}")
    endpoint, trust = await public_endpoint(look), tls_context(look)
    direct = look.site.platform.public_through != "ssh"
    now = look.clock.now()
    observed, evidence, verdicts = [], [], []
    for name in names:
        try:
            shown = await show(endpoint, name, trust)
        except NoReply as error:
            if direct and error.kind in ("timeout", "unreachable"):
                raise CouldNotLook(
                    f"{endpoint.host}:{endpoint.port} from here: {error}.",
                    next="Is port 443 open to this PC? platform.public_through = 'ssh' asks on the VM.",
                ) from None
            verdicts.append("fail")
            observed.append(f"{name}: {error}")
            continue
        evidence.append(f"{name}: {shown}")
        if shown.refused:
            verdicts.append("fail")
            observed.append(f"{name}: {shown.refused}")
        elif shown.until and shown.until - now <= SOON:
            verdicts.append("warn")
            observed.append(f"{name}: ends {shown.until:%Y-%m-%d}, renewal is overdue")
        else:
            verdicts.append("pass")
            observed.append(f"{name}: valid")
    return Finding(
        verdict="fail" if "fail" in verdicts else "warn" if "warn" in verdicts else "pass",
        expected=f"trusted certificates for {' and '.join(names)}, good for more than {SOON.days} days",
        observed="; ".join(observed),
        evidence="; ".join([f"asked {endpoint.host}:{endpoint.port}", *evidence]),
    )


async def show(endpoint: Endpoint, name: str, trust: ssl.SSLContext) -> Shown:
    """The certificate for ``name``, believed or with the reason why not. Raises NoReply."""
    try:
        return _shown(*await _shake(endpoint, name, trust), refused="")
    except NoReply as error:
        if error.kind != "tls":
            raise
        refused = str(error)
    der, _ = await _shake(endpoint, name, _lenient())
    try:
        # Python tells the contents of a certificate only after verifying it: against itself, then
        der, facts = await _shake(endpoint, name, _lenient(der))
    except NoReply:
        facts = {}
    return _shown(der, facts, refused=refused)


def _lenient(anchor: bytes = b"") -> ssl.SSLContext:
    """Believes all; or, given a certificate, that one whatever its name, issuer and dates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED if anchor else ssl.CERT_NONE
    if anchor:
        context.load_verify_locations(cadata=anchor)
        context.verify_flags = ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    return context


def _shown(der: bytes, facts: dict[str, Any], *, refused: str) -> Shown:
    issuer = {key: value for pair in facts.get("issuer", ()) for key, value in pair}
    until = facts.get("notAfter")
    return Shown(
        issuer=" ".join(issuer[key] for key in ("organizationName", "commonName") if key in issuer),
        until=datetime.fromtimestamp(ssl.cert_time_to_seconds(until), UTC) if until else None,
        serial=facts.get("serialNumber", ""),
        fingerprint=hashlib.sha256(der).hexdigest(),
        refused=refused,
    )


async def _shake(endpoint: Endpoint, name: str, context: ssl.SSLContext) -> tuple[bytes, dict[str, Any]]:
    """One handshake: the certificate, and what Python tells of it. Raises NoReply."""
    line = Line()

    def shake() -> tuple[bytes, dict[str, Any]]:
        try:
            secured = connect_tls(line, endpoint, name, context, TIMEOUT)
            return secured.getpeercert(binary_form=True) or b"", dict(secured.getpeercert() or {})
        finally:
            line.close()

    try:
        async with asyncio.timeout(TIMEOUT):
            return await asyncio.to_thread(shake)
    except TimeoutError:
        raise NoReply("timeout", f"no answer within {TIMEOUT:g} s") from None
    finally:
        line.end()
