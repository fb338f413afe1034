"""A stand-in cluster in a process of its own, told what to do by lines of JSON on its input.

It prints one line when all nodes are one cluster, then one line for each order. It ends with its
input, so it never outlives the tests.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from runbook.lab.couchdb import Network, StandIn, Timing
from tests.unit.couch import env, join


def main() -> None:
    options = json.loads(sys.argv[1])
    network = Network()
    timing = Timing(**options["timing"]) if options["timing"] else Timing.of(options["delay"])
    nodes = [
        StandIn(network, f"10.0.1.{10 + place}", timing=timing, finish_wait=0.5, listen=port)
        for place, port in enumerate(options["ports"])
    ]

    def boot(place: int) -> None:
        nodes[place].boot(env(nodes[place].address), options["ini"])

    for place in range(len(nodes)):
        boot(place)
    if options["join"]:
        join(nodes)
    answer({"ready": True})
    for line in sys.stdin:
        order = json.loads(line)
        place, call, args = order["node"], order["call"], order["args"]
        try:
            if call == "boot":
                found: Any = boot(place)
            else:
                found = getattr(network if place is None else nodes[place], call)(*args, **order["named"])
            answer({"value": found})
        except Exception as error:  # the test is told, and the process goes on
            answer({"error": f"{type(error).__name__}: {error}"})


def answer(found: dict[str, Any]) -> None:
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
