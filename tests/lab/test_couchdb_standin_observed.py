"""The stand-in answers what a real cluster of three answered, request by request.

``observed.json`` holds the recording; ``scenario.json`` what was done between the requests and
which fields differ from run to run. Nothing else is ignored.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runbook.lab.couchdb import Network, StandIn
from tests.lab.standin_client import Client, env, join

DATA = Path(__file__).parent.parent / "data" / "couchdb"
OBSERVED = json.loads((DATA / "observed.json").read_text())
SCENARIO = json.loads((DATA / "scenario.json").read_text())
LOGINS = {"admin": "admin:password", "wrong": "admin:wrong", False: None}


class Scene:
    def __init__(self) -> None:
        self.time = SCENARIO["background"]["time"]
        self.given: list[str] = []
        self.ports: dict[str, int] = {}
        self.network = Network(wall=lambda: self.time, entropy=self._entropy)
        options: dict[str, Any] = {
            "version": SCENARIO["version"],
            "replication_delay": 0.0,
            "finish_wait": 0.05,
        }
        self.nodes = {host: StandIn(self.network, host, **options) for host in SCENARIO["nodes"]}

    def _entropy(self, count: int) -> str:
        return self.given.pop() if self.given else "5a" * count

    def boot(self, host: str) -> None:
        self.nodes[host].boot(SCENARIO["env"] | {"NODENAME": env(host)["NODENAME"]}, SCENARIO["ini"])

    def start(self) -> None:
        for host in self.nodes:
            self.boot(host)
        self.ports = {host: node.port or 0 for host, node in self.nodes.items()}
        join(list(self.nodes.values()))
        client = Client(self.nodes[SCENARIO["nodes"][0]])
        for name in SCENARIO["background"]["databases"]:
            assert client("PUT", f"/{name}")[0] == 201

    def do(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            for kind, value in event.items():
                if kind == "time":
                    self.time = value
                elif kind == "entropy":
                    self.given.append(value)
                elif kind == "kill":
                    self.nodes[value].kill()
                else:
                    self.boot(value)

    def ask(self, entry: dict[str, Any]) -> tuple[int, str]:
        node = self.nodes[entry.get("node", SCENARIO["nodes"][0])]
        method, target = entry["request"].split(" ", 1)
        body, content_type = entry["body"], "application/json"
        data = None if body is None else json.dumps(body).encode()
        if sent := SCENARIO["sent"].get(entry["case"]):
            content_type = sent.get("content_type", content_type)
            data = sent["text"].encode() if "text" in sent else json.dumps(_grown(sent["json"])).encode()
        self.ports[node.address] = node.port or self.ports[node.address]
        client = Client(node, LOGINS[entry["auth"]], port=self.ports[node.address])
        headers = {"Content-Type": content_type} if data is not None else {}
        try:
            status, _, found = client.raw(method, quote(target, safe="/?&=%:@,"), data, headers)
        except ConnectionRefusedError as error:
            return 0, f"URLError({error!r})"
        return status, found.decode()


def _grown(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"repeat"}:
            return value["repeat"][0] * value["repeat"][1]
        return {key: _grown(each) for key, each in value.items()}
    return [_grown(each) for each in value] if isinstance(value, list) else value


def _steady(value: Any) -> Any:
    """A reply without what differs from run to run."""
    if isinstance(value, list):
        return [_steady(each) for each in value]
    if not isinstance(value, dict):
        return value
    dropped = {"purge_seq", "sizes", "ref"} | ({"uuid"} if "engine" in value else set())
    found = {key: _steady(each) for key, each in value.items() if key not in dropped}
    if isinstance(found.get("update_seq"), str):
        found["update_seq"] = found["update_seq"].partition("-")[0]
    return found


def test_the_recording_is_complete() -> None:
    assert len(OBSERVED) == 91
    cases = {entry["case"] for entry in OBSERVED}
    assert cases >= {*SCENARIO["before"], *SCENARIO["after"], *SCENARIO["sent"]}


def test_every_recorded_request_is_answered_as_recorded() -> None:
    scene = Scene()
    try:
        scene.start()
        wrong = []
        for entry in OBSERVED:
            case, expected = entry["case"], entry["response"]
            scene.do(SCENARIO["before"].get(case, []))
            status, text = scene.ask(entry)
            scene.do(SCENARIO["after"].get(case, []))
            found: Any = text
            if not isinstance(expected, str):
                found, expected = _steady(json.loads(text)), _steady(expected)
                if case in SCENARIO["volatile"]["only the recorded members"]:
                    expected.pop("...")
                    found = {key: found[key] for key in expected}
            if (status, found) != (entry["status"], expected):
                wrong.append(f"{case}: {entry['status']} {expected}\n   got {status} {found}")
        assert not wrong, "\n".join(wrong)
    finally:
        for node in scene.nodes.values():
            node.kill()
