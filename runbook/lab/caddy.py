"""Caddy stand-in: TLS for the domain in front of LMS and Studio, once DNS points at the VMs."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Mapping

from runbook.lab.pki import Authority
from runbook.lab.web import Reply, Request, Web

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


class Caddy:
    """``upstream(service)`` is the loopback port of a service on the same VM, None when it is
    down; ``may_have_certificate`` says whether an authority would find this VM under the domain.
    Without a certificate every handshake is refused, as Caddy does."""

    def __init__(
        self,
        environment: Mapping[str, str],
        authority: Authority,
        may_have_certificate: Callable[[], bool],
        upstream: Callable[[str], int | None],
    ) -> None:
        domain = environment.get("DOMAIN_NAME") or "localhost"
        self._hosts = {domain: "lms", f"studio.{domain}": "cms", f"monitoring.{domain}": "grafana"}
        self._authority, self._allowed, self._upstream = authority, may_have_certificate, upstream
        self._obtained: ssl.SSLContext | None = None
        self.log: list[str] = []
        waiting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        waiting.sni_callback = self._choose
        self.https = Web(self._answer, waiting)
        self.http = Web(self._redirect)

    def start(self) -> None:
        self.https.start()
        self.http.start()

    def stop(self) -> None:
        self.https.stop()
        self.http.stop()

    def _choose(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> int | None:
        if name not in self._hosts:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        if self._obtained is None:
            if not self._allowed():
                self.log.append(
                    f"obtaining certificate for {name}: HTTP 400 urn:ietf:params:acme:error:dns - "
                    "the authority reached another server under this name"
                )
                return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
            obtained = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            obtained.load_cert_chain(self._authority.issue(self._hosts))
            self.log.append(f"certificate obtained successfully for {', '.join(self._hosts)}")
            self._obtained = obtained
        connection.context = self._obtained
        return None

    def _redirect(self, request: Request) -> Reply:
        if request.path == "/health":
            return Reply.text(200, "OK")
        host = (request.headers.get("Host") or "").partition(":")[0]
        return Reply(308, b"", headers=(("Location", f"https://{host}{request.path}"),))

    def _answer(self, request: Request) -> Reply:
        if request.path == "/health":
            return Reply.text(200, "OK")
        host = (request.headers.get("Host") or "").partition(":")[0]
        service = self._hosts.get(host)
        if service is None:
            return Reply(200, b"")  # what Caddy says for a site it does not serve
        port = self._upstream(service)
        if port is None:
            return Reply(502, b"")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP}
            connection.request(request.method, request.path, request.body or None, headers)
            response = connection.getresponse()
            kept = tuple(
                (key, value)
                for key, value in response.getheaders()
                if key.lower() not in _HOP and key.lower() != "content-type"
            )
            return Reply(response.status, response.read(), response.headers.get("Content-Type", ""), kept)
        except (OSError, http.client.HTTPException):
            return Reply(502, b"")
        finally:
            connection.close()
