"""How hard the servers are pressed: slower when they struggle, faster when they recover, told why."""

import random
import threading
from contextlib import ExitStack
from itertools import pairwise

import pytest

from runbook.couch.client import Client, Reply, RequestRefused, Silent
from runbook.couch.restoring import pace as module
from runbook.couch.restoring.pace import LATE_SHARE, LONGEST_PAUSE, SMALLEST, Nodes, Pace, pauses
from runbook.couch.trouble import Doubt, Health, kind
from runbook.errors import LoginRefused, OutcomeUnknown, RunbookError, TimedOut
from runbook.secrets import Secret
from tests.unit.doubles import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def told():
    return []


@pytest.fixture
def pace(clock, told):
    return Pace(6, clock=clock.monotonic, tell=told.append)


def answer(pace, clock, seconds, times=1, part=1.0):
    for _ in range(times):
        began = clock.monotonic()
        clock.move(seconds)
        pace.answered(began, part)


def refuse(pace, clock, why="it answered 503"):
    clock.move(1)
    pace.refused(clock.monotonic(), why)


def test_refusals_halve_and_answers_bring_back(pace, clock, told):
    assert (pace.width, pace.share) == (6, 1.0)
    answer(pace, clock, 0.5, 5)
    refuse(pace, clock)
    assert (pace.width, pace.share) == (3, 1 / 2)
    refuse(pace, clock)
    refuse(pace, clock)
    assert (pace.width, pace.share) == (1, 1 / 8)
    for _ in range(20):
        refuse(pace, clock)
    assert (pace.width, pace.share) == (1, SMALLEST)
    widths = []
    while (pace.width, pace.share) != (6, 1.0):
        answer(pace, clock, 0.1)
        widths.append(pace.width)
        assert len(widths) < 100
    assert widths == sorted(widths)  # it grows, and by small steps
    assert {b - a for a, b in pairwise(widths)} == {0, 1}
    assert told[0] == "slowed down to 3 requests at once, of 1/2 of the size: it answered 503"
    assert told[-1] == "at full speed again: 6 requests at once"
    assert len(told) == 6  # each new low once, however long it lasts


def test_requests_that_were_on_their_way_are_one_trouble(pace, clock):
    began = clock.monotonic()
    clock.move(1)
    for _ in range(6):
        pace.refused(began, "it answered 429")
    assert (pace.width, pace.share) == (3, 1 / 2)


def test_late_answers_slow_down_within_bounds_and_become_usual(pace, clock, told):
    answer(pace, clock, 1.0, 20)
    answer(pace, clock, 9.0)
    assert (pace.width, pace.share) == (3, 1 / 2)
    assert "an answer took 9.0 s, 1.0 s are usual" in told[0]
    answer(pace, clock, 9.0, 2)
    assert pace.width >= 2 and pace.share >= LATE_SHARE
    answer(pace, clock, 9.0, 200)
    assert (pace.width, pace.share) == (6, 1.0)


def test_short_answers_are_never_late(pace, clock):
    answer(pace, clock, 0.01, 20)
    answer(pace, clock, 1.9)
    assert pace.width == 6


def test_late_is_judged_by_what_a_request_carries(pace, clock):
    answer(pace, clock, 1.0, 20, part=0.25)
    answer(pace, clock, 4.0, part=1.0)
    assert pace.width == 6
    answer(pace, clock, 4.1, part=0.25)
    assert pace.width == 3


def test_never_more_at_once_than_it_allows():
    pace, now, most, gate = Pace(3), [0], [0], threading.Lock()

    def work():
        for _ in range(30):
            with pace.slot(lambda: False):
                with gate:
                    now[0] += 1
                    most[0] = max(most[0], now[0])
                with gate:
                    now[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert now[0] == 0 and 1 <= most[0] <= 3


def test_who_waits_for_its_turn_is_woken_when_all_ends():
    pace, over = Pace(1), threading.Event()
    entered = threading.Event()

    def wait():
        with pace.slot(over.is_set):
            entered.set()

    with pace.slot(lambda: False):
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not entered.wait(0.05)
        over.set()
        pace.wake()
        waiting.join(20)
    assert entered.is_set()


def test_pauses_grow_with_chance_and_are_repeatable():
    first, again, other = (pauses(random.Random(seed)) for seed in (1, 1, 2))
    seen = [next(first) for _ in range(12)]
    assert seen == [next(again) for _ in range(12)] != [next(other) for _ in range(12)]
    for place, pause in enumerate(seen):
        plain = min(module.FIRST_PAUSE * 2**place, LONGEST_PAUSE)
        assert 0.5 * plain <= pause <= 1.5 * plain


# ── nodes ──────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def clients():
    return [Client(f"http://127.0.0.1:{n}", "admin", Secret("x", "password"), f"vm{n}") for n in (1, 2, 3)]


@pytest.fixture
def nodes(clients, clock, told):
    return Nodes(clients, clock=clock.monotonic, tell=told.append)


def taken(nodes):
    with nodes.take() as client:
        return client.node


def test_requests_are_spread_over_all_nodes(nodes):
    with ExitStack() as stack:
        busy = [stack.enter_context(nodes.take()).node for _ in range(6)]
    assert sorted(busy) == ["vm1", "vm1", "vm2", "vm2", "vm3", "vm3"]
    assert {taken(nodes) for _ in range(3)} == {"vm1", "vm2", "vm3"}


def test_a_node_that_hangs_gets_no_more_than_the_others(nodes):
    with ExitStack() as stack:
        held = [stack.enter_context(nodes.take()) for _ in range(2)]
        free = {taken(nodes) for _ in range(10)}
        assert len(free) == 1 and free.isdisjoint(one.node for one in held)


def test_a_failed_node_rests_for_a_growing_while(nodes, clients, clock, told):
    for expected in (1, 2, 4, 8):
        nodes.failed(clients[1], "it is gone")
        nodes.failed(clients[1], "another request, the same trouble")
        assert {taken(nodes) for _ in range(6)} == {"vm1", "vm3"}
        clock.move(expected + 0.1)
        with nodes.take() as probe:  # one request, to see
            assert probe.node == "vm2"
            assert {taken(nodes) for _ in range(6)} == {"vm1", "vm3"}
    nodes.well(clients[1])
    assert {taken(nodes) for _ in range(6)} == {"vm1", "vm2", "vm3"}
    assert told == ["vm2 rests, the others take over: it is gone", "vm2 takes documents again"]


def test_when_all_rest_the_first_to_wake_is_asked(nodes, clients, clock):
    for client in clients:
        nodes.failed(client, "gone")
        clock.move(0.1)
    assert not nodes.any_awake and taken(nodes) == "vm1"
    clock.move(60)
    assert nodes.any_awake


# ── trouble ────────────────────────────────────────────────────────────────────────────────
def refused(status, error="error"):
    return RequestRefused("vm1", "store", Reply(status, {}, {"error": error, "reason": "r"}))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (refused(429), "busy"),
        (refused(503), "busy"),
        (refused(412, "nodedown"), "busy"),
        (refused(412, "missing_stub"), "document"),
        (refused(413), "document"),
        (refused(400), "document"),
        (refused(500), "odd"),
        (refused(404), "gone"),
        (refused(403), "denied"),
        (LoginRefused("vm1", "no"), "denied"),
        (TimedOut("vm1", "late", gone=None), "busy"),
        (Silent("vm1", "nobody"), "lost"),
        (OutcomeUnknown("vm1", "cut"), "lost"),
        (RunbookError("not CouchDB's words"), "odd"),
    ],
)
def test_what_a_failure_means(error, expected):
    assert kind(error) == expected


def failures(error, *, documents=500, others=False, seconds=0.1, patience=60.0, failing=0.0, limit=1000):
    """How many failures it takes until the documents are blamed; None: never."""
    doubt, health = Doubt(documents, 0.0, 0), Health()
    for _ in range(500):
        health.saw(failing > 0)
    health.failing = failing or health.failing
    for count in range(1, limit):
        doubt.add(error)
        if doubt.enough(error, health, count * seconds, int(others), patience):
            return count
    return None


def test_documents_are_blamed_for_their_refusal_at_once():
    assert failures(refused(400)) == failures(refused(413), documents=1) == 1


@pytest.mark.parametrize("error", [refused(500), OutcomeUnknown("vm1", "cut"), RunbookError("odd")])
def test_failures_are_repeated_until_they_are_no_chance_any_longer(error):
    assert failures(error, others=True) == 2 and failures(error, others=True, documents=1) == 3
    # the more requests fail anyway, the more often
    tries = [failures(error, others=True, documents=1, failing=share) for share in (0.09, 0.3, 0.6)]
    assert tries == [5, 10, 23]
    assert failures(error, others=True, failing=0.3) == 4


def test_a_server_s_health_is_seen_in_what_it_answers():
    health = Health()
    for turn in range(400):
        health.saw(turn % 4 == 0)
    assert 0.15 < health.failing < 0.35
    for _ in range(400):
        health.saw(False)
    assert health.failing < 0.01 and health.failures_to_blame(1) == 3


def test_a_line_that_is_bad_from_the_start_is_known_soon():
    """Two of three fail: so many in a row as blame one document must not come about by chance."""
    health = Health()
    for turn in range(12):
        health.saw(turn % 3 > 0)
    assert (2 / 3) ** health.failures_to_blame(1) < 0.02
    # a single bad one among the first does not make the servers bad
    health = Health()
    for turn in range(12):
        health.saw(turn == 3)
    assert health.failures_to_blame(1) <= 6


def test_nobody_is_blamed_while_nothing_else_passes():
    assert failures(OutcomeUnknown("vm1", "cut"), documents=1) is None
    assert failures(refused(500), documents=1) is None
    assert failures(refused(503)) is None
    # … but several are looked at one by one
    assert failures(OutcomeUnknown("vm1", "cut")) == failures(refused(500)) == 2
    assert failures(Silent("vm1", "nobody"), others=True, limit=100) is None
    assert failures(refused(503), others=True, seconds=1.0) == 61
