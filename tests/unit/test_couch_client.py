"""The client: what comes back, what is said when nothing does, and no password anywhere."""

import asyncio
import json
import socket
import threading

import msgspec
import pytest

from runbook.couch.client import Client, RequestRefused, Silent
from runbook.errors import LoginRefused, OutcomeUnknown, RunbookError, TimedOut, Unreachable, UseError
from runbook.hosts.base import Endpoint
from runbook.secrets import Secret
from tests.unit.couch import PASSWORD, client, clients, doc, formed, standins


@pytest.fixture(scope="module")
def node():
    with standins(count=1) as (node,):
        yield node


@pytest.fixture
def couch(node):
    with clients([node]) as (one,):
        yield one


def test_answers_and_refusals_are_replies(couch):
    reply = couch.get()
    assert reply.status == 200 and reply.body["couchdb"] == "Welcome"
    assert couch.put("t1", q=2, n=1).status == 201
    assert couch.put("t1").status == 412
    missing = couch.get("nope")
    assert (missing.status, missing.body["error"]) == (404, "not_found")
    assert missing.error == "404 not_found: Database does not exist."
    status, _, raw = couch.get("t1", "_all_docs", raw=True)
    assert status == 200 and raw.startswith(b'{"total_rows":0')


def test_bulk_sends_the_bytes_as_they_are(couch):
    couch.put("bulk")
    document = b'{"_id":"a","_rev":"3-a","n":123456789012345678901234567890,"z":-0.0}'
    assert couch.bulk("bulk", [document, msgspec.Raw(b'{"_id":"b","_rev":"1-b"}')]) == []
    assert couch.get("bulk", "a", raw=True).body.strip() == document


def test_a_bulk_request_refused_as_a_whole(couch):
    couch.put("whole")
    with pytest.raises(RequestRefused) as caught:
        couch.bulk("whole", [b'{"_id":"norev"}'])
    assert caught.value.status == 400 and "refused to store documents in whole" in str(caught.value)


def test_wrong_password_names_the_host_and_says_that_nothing_changed(node):
    one = client(node, "wrong-pass-word")
    with pytest.raises(LoginRefused) as caught:
        one.put("never")
    text = str(caught.value)
    assert "vm1" in text and "Nothing was changed" in text and "'admin'" in text
    assert "wrong-pass-word" not in text + repr(one) + repr(caught.value)
    one.close()


def test_nobody_there():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        one = Client(Endpoint("127.0.0.1", port), "admin", Secret(PASSWORD, "p"), "vm2")
        with pytest.raises(Silent) as caught:
            one.get()
    assert "CouchDB on vm2 does not answer" in str(caught.value) and "Nothing was changed" in str(
        caught.value
    )


def test_reads_meet_a_stale_connection_writes_never(node, couch):
    couch.get()
    port = node.port
    node.drop_connections(1)
    assert couch.get().ok  # repeated once
    node.drop_connections(1)
    with pytest.raises(OutcomeUnknown, match="vm1"):
        couch.put("dropped")
    assert node.port == port


class Answering:
    """A server that sends each connection the same bytes and then closes or hangs."""

    def __init__(self, answer: bytes, hang: bool = False) -> None:
        self.answer, self.hang, self.held = answer, hang, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.met = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.recv(65536)
            connection.sendall(self.answer)
            self.met.set()
            if self.hang:
                self.held.append(connection)
            else:
                connection.close()

    def client(self) -> Client:
        return Client(Endpoint(*self.listener.getsockname()), "admin", Secret(PASSWORD, "p"), "vm1")

    def close(self) -> None:
        # shutdown first: close alone does not wake a thread that waits in accept
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.held:
            connection.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", Unreachable),
        (b"HTTP/1.1 200 OK\r\n", Unreachable),
        (OK[:-9], Unreachable),
        (OK.replace(b"200", b"404") + b"Content-Len", Unreachable),
        (OK + b"Content-Len", Unreachable),
        (b"SSH-2.0-OpenSSH_9.2\r\n", RunbookError),
        (OK + b"Content-Length: 100\r\n\r\n{", Unreachable),
        (OK + b"Content-Length: 20000\r\n\r\n{", Unreachable),
        (OK + b"Content-Length: 5\r\n\r\n<html", RunbookError),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", Unreachable),
        (
            b"HTTP/1.1 301 Moved\r\nLocation: http://elsewhere.invalid/\r\nContent-Length: 0\r\n\r\n",
            RunbookError,
        ),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\nnope", RunbookError),
    ],
)
def test_strange_answers_become_messages(answer, error):
    server = Answering(answer)
    one = server.client()
    with pytest.raises(RunbookError) as caught:
        one.get("x")
    assert isinstance(caught.value, error) and "vm1" in str(caught.value)
    one.close()
    server.close()


def test_time_passes():
    server = Answering(b"", hang=True)
    one = server.client()
    with pytest.raises(TimedOut, match="no answer"):
        one.request("POST", ["x"], {}, body={}, timeout=0.2)
    one.close()
    server.close()


async def test_closing_wakes_a_waiting_thread():
    server = Answering(b"", hang=True)
    one = server.client()
    waiting = asyncio.create_task(asyncio.to_thread(one.get, "x"))
    await asyncio.to_thread(server.met.wait, 10)
    one.close()
    with pytest.raises(Silent, match="closed here"):
        await asyncio.wait_for(waiting, 10)
    with pytest.raises(Silent):
        one.get("y")
    server.close()


def test_many_threads_at_once(couch):
    couch.put("threads")
    errors = []

    def work(number: int) -> None:
        try:
            for turn in range(5):
                assert couch.bulk("threads", [b'{"_id":"%d-%d","_rev":"1-a"}' % (number, turn)]) == []
                assert couch.get("threads", f"{number}-{turn}").body["_rev"] == "1-a"
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.parametrize("url", ["http://admin:pw@host:5984", "host:5984", "ftp://host", ""])
def test_urls_with_logins_are_refused(url):
    with pytest.raises(UseError) as caught:
        Client(url, "admin", Secret("x", "x"), "server")
    assert "pw" not in str(caught.value)


def test_a_body_is_read_as_it_comes():
    with formed() as (_, (one, *_)):
        assert one.put("many").ok
        one.bulk("many", [json.dumps(doc(f"d{n:05}", text="x" * 2000)).encode() for n in range(2000)])
        with one.stream("many", "_all_docs", include_docs=True) as body:
            first = body.readline()
            rest = body.read()
        assert first.startswith(b'{"total_rows":2000')
        assert rest.count(b'"text"') == 2000 and rest.endswith(b"]}\n")
        with one.stream("many", "_all_docs", body={"keys": ["d00007"]}) as body:
            assert b'"d00007"' in body.read()
        with one.stream("many", "_all_docs", include_docs=True) as body:
            body.readline()  # leaving early must not read the rest
        with pytest.raises(RequestRefused), one.stream("none", "_all_docs"):
            pass


def test_a_body_that_breaks_off_is_no_end():
    with formed() as (nodes, (one, *_)):
        assert one.put("many").ok
        for turn in range(8):
            docs = [json.dumps(doc(f"{turn}{n:05}", text="x" * 10_000)).encode() for n in range(500)]
            one.bulk("many", docs)
        with one.stream("many", "_all_docs", include_docs=True) as body:
            body.readline()
            one.close()  # as a cancel does
            with pytest.raises(Unreachable):
                body.read()
        assert nodes
