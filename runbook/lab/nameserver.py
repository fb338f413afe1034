"""An authoritative name server for the practice domain, on loopback, UDP and TCP."""

from __future__ import annotations

import asyncio
import contextlib
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from runbook.lab.layout import DOMAIN, MONITORING, OLD_ADDRESSES, PRODUCTION, STUDIO

TTL = 60


class NameServer:
    """``addresses`` are the A records of the domain and its names; ``stuck`` is one old address
    that stays among them whatever is set (a registrar that did not save)."""

    def __init__(self) -> None:
        self.addresses: tuple[str, ...] = OLD_ADDRESSES
        self.stuck = ""
        self.port = 0
        self._origin = dns.name.from_text(DOMAIN)
        self._names = {dns.name.from_text(name) for name in (DOMAIN, STUDIO, MONITORING)}
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None

    def answers(self) -> tuple[str, ...]:
        return (*self.addresses[:2], self.stuck) if self.stuck else self.addresses

    def points_at_vms(self) -> bool:
        return set(self.answers()) <= {spec.public for spec in PRODUCTION}

    def point(self, addresses: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """Set the records (by default to the three production VMs); returns what is answered now."""
        self.addresses = addresses or tuple(spec.public for spec in PRODUCTION)
        return self.answers()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(20):  # the same port number has to be free for both
            self._tcp = await asyncio.start_server(self._stream, "127.0.0.1", 0)
            self.port = self._tcp.sockets[0].getsockname()[1]
            try:
                self._udp, _ = await loop.create_datagram_endpoint(
                    lambda: _Datagrams(self), local_addr=("127.0.0.1", self.port)
                )
                return
            except OSError:
                self._tcp.close()
        raise OSError("no port is free for both UDP and TCP")

    def stop(self) -> None:
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()

    def reply(self, wire: bytes) -> bytes | None:
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return None
        if query.flags & dns.flags.QR:
            return None
        response = dns.message.make_response(query)
        if query.opcode() != dns.opcode.QUERY or len(query.question) != 1:
            response.set_rcode(dns.rcode.NOTIMP)
            return response.to_wire()
        question = query.question[0]
        name, kind = question.name, question.rdtype
        if not name.is_subdomain(self._origin):
            response.set_rcode(dns.rcode.REFUSED)
            return response.to_wire()
        response.flags |= dns.flags.AA
        if name in self._names and kind == dns.rdatatype.A:
            response.answer.append(dns.rrset.from_text_list(name, TTL, "IN", "A", list(self.answers())))
        elif name == self._origin and kind == dns.rdatatype.NS:
            response.answer.append(dns.rrset.from_text(name, TTL, "IN", "NS", f"ns1.{DOMAIN}."))
        else:
            soa = f"ns1.{DOMAIN}. hostmaster.{DOMAIN}. 1 3600 600 86400 {TTL}"
            record = dns.rrset.from_text(self._origin, TTL, "IN", "SOA", soa)
            if name == self._origin and kind == dns.rdatatype.SOA:
                response.answer.append(record)
            else:
                response.authority.append(record)
                if name not in self._names:
                    response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire()

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                answer = self.reply(await reader.readexactly(size))
                if answer is None:
                    break
                writer.write(len(answer).to_bytes(2, "big") + answer)
                await writer.drain()
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._server.reply(data)
        if answer is not None:
            self._transport.sendto(answer, addr)
