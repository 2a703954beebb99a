"""One client does not lock out the rest: the lines by themselves on a virtual clock, the engine, and over loopback."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import httpx
import pytest

from app import loop_share
from app.application import create_app
from app.engine import QUANTUM, Engine, QueueFull, Watch
from app.fair_queue import FairQueue
from app.loop_share import CREDIT, DEBT, SHARE, Account, _Timed
from app.settings import Settings
from tests.serving import FakePipeline, serve, until
from tests.test_app_engine import Clock, Item, Model

# The lines


def served(queue: FairQueue[str, Any], items: int) -> list[Any]:
    return [queue.pop() for _ in range(items)]


def test_each_line_is_served_in_its_order_and_the_lines_take_turns() -> None:
    queue = FairQueue[str, tuple[str, int]](2)
    for client in "abc":
        for k in range(5):
            queue.add(client, (client, k))
    order = served(queue, 15)
    # b came while a was waiting, and c when b had been let in front.
    assert "".join(client for client, _ in order) == "bbaaccbbaaccbac"
    for client in "abc":
        assert [k for who, k in order if who == client] == list(range(5))
    assert len(queue) == 0
    with pytest.raises(IndexError):
        queue.pop()


def test_a_client_alone_gets_everything() -> None:
    queue = FairQueue[str, int](4)
    for k in range(50):
        queue.add("a", k)
    assert served(queue, 50) == list(range(50))


def test_who_had_no_line_is_served_next_but_a_crowd_of_them_starves_nobody() -> None:
    queue, numbers = FairQueue[str, str](2), count()
    for _ in range(20):
        queue.add("old", f"old {next(numbers)}")
    order: list[str] = []
    for _ in range(20):  # for every two that are served somebody new comes, who wants two
        for _ in range(2):
            queue.add(f"new {len(order)}", f"new {next(numbers)}")
        order += [queue.pop(), queue.pop()]
    assert order[0].startswith("new")
    assert 4 <= sum(item.startswith("old") for item in order) <= 20


def test_coming_back_at_once_wins_nothing() -> None:
    queue, shares, numbers = FairQueue[str, str](2), Counter[str](), count()
    for _ in range(400):
        while queue.length("many") < 50:
            queue.add("many", f"many {next(numbers)}")
        if not queue.length("few"):
            queue.add("few", f"few {next(numbers)}")
        shares[queue.pop().split()[0]] += 1
    assert 100 <= shares["few"] <= 200  # one at a time, of turns of two


def test_what_leaves_its_line_is_not_served() -> None:
    queue = FairQueue[str, int](4)
    for k in range(3):
        queue.add("a", k)
    queue.add("b", 9)
    assert queue.discard("a", 1)
    assert not queue.discard("a", 1)
    assert not queue.discard("nobody", 1)
    assert queue.discard("b", 9)
    assert dict(queue.lengths()) == {"a": 2}
    assert list(queue.latest("a")) == [2, 0]
    assert served(queue, 2) == [0, 2]
    queue.add("b", 9)
    assert queue.pop() == 9


@dataclass
class Visit:
    """Somebody who asks for so many pictures, gets them, thinks, and asks again, on the virtual clock below."""

    client: str
    pictures: int
    think: float
    waits: list[float]
    since: float = 0.0
    missing: int = 0
    comes: float = 0.0


def kitchen(visits: list[Visit], flood: int, pictures: int) -> Counter[str]:
    """Runs a queue whose pictures take a second each; the flood always has so many in line. Who got how many."""
    queue, now, shares = FairQueue[str, tuple[str, int]](QUANTUM), 0.0, Counter[str]()
    numbers = count()
    for _ in range(pictures):
        while queue.length("flood") < flood:
            queue.add("flood", ("flood", next(numbers)))
        for visit in visits:
            if not visit.missing and visit.comes <= now:
                visit.since, visit.missing = now, visit.pictures
                for _ in range(visit.pictures):
                    queue.add(visit.client, (visit.client, next(numbers)))
        now += 1.0
        if not len(queue):
            continue
        client, _ = queue.pop()
        shares[client] += 1
        for visit in visits:
            if visit.client == client:
                visit.missing -= 1
                if not visit.missing:
                    visit.waits.append(now - visit.since)
                    visit.comes = now + visit.think
    return shares


def test_a_flood_costs_a_visitor_less_than_half_as_much_again() -> None:
    visit = Visit("polite", 4, think=7.0, waits=[])
    kitchen([visit], flood=64, pictures=1000)
    assert len(visit.waits) > 50
    assert sorted(visit.waits)[int(0.95 * len(visit.waits))] <= 1.5 * 4


@pytest.mark.parametrize("flood", [0, 64])
def test_ten_visitors_share_alike(flood: int) -> None:
    visits = [Visit(f"visitor {k}", (4, 8)[k % 2], think=0.0, waits=[]) for k in range(10)]
    shares = kitchen(visits, flood, pictures=4000)
    assert sum(shares.values()) == 4000
    theirs = [shares[visit.client] for visit in visits]
    assert max(theirs) <= 1.1 * min(theirs)
    assert shares["flood"] <= 1.1 * min(theirs)


# The engine


@pytest.fixture
def model() -> Model:
    model = Model(Clock())
    model.go.set()
    return model


@pytest.fixture
def engine(model: Model) -> Iterator[Engine[Item]]:
    engine = Engine([model], capacity=8, clock=model.clock)
    until(lambda: engine.ready)
    yield engine
    model.go.set()
    engine.close()


def fill(engine: Engine[Item], model: Model, client: str = "greedy") -> list[Future[bytes]]:
    """Eight pictures of one client, the first of which is being sketched."""
    model.go.clear()
    (first,) = engine.submit([Item("greedy 0")], client=client)
    assert model.entered.acquire(timeout=10)
    rest = engine.submit([Item(f"greedy {k}") for k in range(1, 8)], client=client)
    return [ticket.picture for ticket in (first, *rest)]


def names(model: Model, step: str) -> list[str]:
    return [name for at, names in model.log for name in names if at == step]


def test_the_longest_line_gives_way_from_its_end(engine: Engine[Item], model: Model) -> None:
    greedy = fill(engine, model)
    tickets = engine.submit([Item(f"polite {k}") for k in range(3)], client="polite")
    assert engine.depth == 8
    assert [ticket.ahead for ticket in tickets] == [1 + 4] * 3
    for gone in greedy[-3:]:
        with pytest.raises(QueueFull) as refusal:
            gone.result(0)
        assert refusal.value.retry_after >= 0
    with pytest.raises(QueueFull):  # its own line is the longest
        engine.submit([Item("one more")], client="greedy")
    model.go.set()
    assert all(ticket.picture.result(10) for ticket in tickets)
    assert all(picture.result(10) for picture in greedy[:-3])
    until(lambda: engine.depth == 0)
    assert names(model, "sketch")[1:4] == ["polite 0", "polite 1", "polite 2"]
    refined = names(model, "refine")
    assert max(refined.index(f"polite {k}") for k in range(3)) <= 4


def test_equal_lines_refuse_the_newcomer_and_drop_nobody(engine: Engine[Item], model: Model) -> None:
    model.go.clear()
    (first,) = engine.submit([Item("first")], client="a")
    assert model.entered.acquire(timeout=10)
    tickets = [engine.submit([Item(f"{c} {k}") for k in range(n)], client=c) for c, n in (("b", 4), ("c", 3))]
    with pytest.raises(QueueFull):
        engine.submit([Item(f"d {k}") for k in range(4)], client="d")
    with pytest.raises(QueueFull):  # all or nothing
        engine.submit([Item(f"d {k}") for k in range(3)], client="d")
    assert engine.depth == 8
    model.go.set()
    assert all(ticket.picture.result(10) for ticket in (first, *tickets[0], *tickets[1]))


def test_nobody_gives_way_to_what_is_not_paid_for(engine: Engine[Item], model: Model) -> None:
    greedy = fill(engine, model)

    def pay() -> None:
        raise PermissionError

    with pytest.raises(PermissionError):
        engine.submit([Item("polite")], client="polite", pay=pay)
    model.go.set()
    assert all(picture.result(10) for picture in greedy)


def test_a_picture_that_two_want_is_not_lost_with_the_longer_line(engine: Engine[Item], model: Model) -> None:
    greedy = fill(engine, model)
    (shared,) = engine.submit([Item("greedy 7")], client="polite")
    (new,) = engine.submit([Item("new")], client="other")
    assert not greedy[7].done() and not shared.picture.done()
    with pytest.raises(QueueFull):
        greedy[6].result(0)
    model.go.set()
    assert new.picture.result(10)
    assert shared.picture.result(10) == greedy[7].result(10)
    assert "greedy 7" in names(model, "sketch")[1:5]  # in the shorter of both lines


def test_who_leaves_a_shared_picture_leaves_it_to_the_other(engine: Engine[Item], model: Model) -> None:
    greedy = fill(engine, model)
    (shared,) = engine.submit([Item("greedy 7")], client="polite")
    shared.cancel()
    assert not engine.has_others("greedy")
    (new,) = engine.submit([Item("new")], client="other")
    assert engine.has_others("greedy")
    with pytest.raises(QueueFull):
        greedy[7].result(0)
    new.cancel()
    model.go.set()
    assert all(picture.result(10) for picture in greedy[:7])


def test_who_gave_way_is_told_to_the_watch(model: Model) -> None:
    told = Counter[str]()

    class Refusals(Watch):
        def refused(self, reason: str, count: int = 1) -> None:
            told[reason] += count

    engine = Engine([model], capacity=8, clock=model.clock, watch=Refusals())
    until(lambda: engine.ready)
    fill(engine, model)
    engine.submit([Item("polite 1"), Item("polite 2")], client="polite")
    model.go.set()
    engine.close()
    assert told == {"gave_way": 2}


# A client's share of the event loop


def test_a_client_has_a_credit_and_then_its_share() -> None:
    clock = Clock()
    account = Account(clock)
    spent = 0.0
    while not account.delay:
        account.settle(account.book(), 0.01, counts=True)
        spent += 0.01
    assert spent == pytest.approx(CREDIT + 0.01, abs=0.011)
    for _ in range(100):
        clock.now += account.delay
        began = clock.now
        account.settle(account.book(), 0.01, counts=True)
        assert clock.now + account.delay - began == pytest.approx(0.01 / SHARE, rel=0.01)


def test_old_debts_are_not_remembered_for_long_and_what_was_painted_for_is_free() -> None:
    clock = Clock()
    account = Account(clock)
    for _ in range(1000):
        account.settle(account.book(), 1.0, counts=True)
    assert account.delay == pytest.approx(DEBT / SHARE)
    clock.now += (CREDIT + DEBT) / SHARE
    assert account.even
    for _ in range(1000):
        account.settle(account.book(), 1.0, counts=False)
    assert account.even


def test_only_the_time_on_the_loop_is_measured() -> None:
    async def work() -> None:
        for _ in range(3):
            await asyncio.sleep(0.05)
        with pytest.raises(asyncio.TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(10)

    async def cancelled() -> None:
        task = asyncio.ensure_future(_Timed(asyncio.sleep(10)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    timed = _Timed(work())

    async def main() -> None:
        await timed
        await cancelled()

    asyncio.run(main())
    assert 0 < timed.seconds < 0.05


# Over loopback, whose addresses are as many clients


@contextmanager
def opened(pipeline: FakePipeline, queue: int = Settings.queue) -> Iterator[Any]:
    """Gives a client for each address that is asked for."""
    settings = Settings(drain=10, queue=queue)
    app = create_app(settings, pipeline)
    with serve(app, settings) as url:
        made: dict[str, httpx.Client] = {}

        def at(address: str) -> httpx.Client:
            if address not in made:
                transport = httpx.HTTPTransport(local_address=address)
                made[address] = httpx.Client(base_url=url, trust_env=False, transport=transport, timeout=30)
            return made[address]

        until(lambda: at("127.0.0.1").get("/readyz").status_code == 200)
        pipeline.sketched.clear()
        pipeline.refined.clear()
        try:
            yield at, app.state.pictures.engine
        finally:
            pipeline.gate.set()
            for client in made.values():
                client.close()


MENU = {"dish": [f"name=menu&seed={900 + k}" for k in range(3)]}
ORDERS = {
    "generate": lambda client: client.post("/generate", data={"name": "tea", "n": 3, "seed": 900}),
    "stream": lambda client: client.post(
        "/generate", data={"name": "tea", "n": 3, "seed": 900}, headers={"Accept": "application/x-ndjson"}
    ),
    "openai": lambda client: client.post(
        "/v1/images/generations", json={"prompt": "tea", "n": 3, "seed": 900, "response_format": "b64_json"}
    ),
    "menu.zip": lambda client: client.get("/menu.zip", params=MENU),
    "page": lambda client: client.post(
        "/generate", data={"name": "tea", "n": 3, "seed": 900}, headers={"Accept": "text/html"}
    ),
}


@pytest.mark.parametrize("kind", ORDERS)
def test_a_newcomer_is_served_though_one_client_fills_the_kitchen(kind: str) -> None:
    pipeline = FakePipeline()
    with opened(pipeline, queue=8) as (at, engine), ThreadPoolExecutor(16) as threads:
        pipeline.gate.clear()
        greedy = [threads.submit(at("127.0.0.2").get, f"/dish.png?name=tea&seed={k}") for k in range(8)]
        until(lambda: engine.depth == 8)
        polite = threads.submit(ORDERS[kind], at("127.0.0.3"))
        until(lambda: sum(answer.done() for answer in greedy) == 3)
        for gone in (answer.result() for answer in greedy if answer.done()):
            assert (gone.status_code, gone.json()["error"]["code"]) == (503, "queue_full")
            assert int(gone.headers["retry-after"]) >= 1
        refused = at("127.0.0.2").get("/dish.png?name=tea&seed=77")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "queue_full")
        pipeline.gate.set()
        answer = polite.result(10)
        assert answer.status_code == (303 if kind == "page" else 200)
        assert '"error"' not in answer.text
        assert sorted(answer.result(10).status_code for answer in greedy) == [200] * 5 + [503] * 3
        # Behind the picture that was in the oven.
        assert all(seed >= 900 for seed in pipeline.refined[1:4])


@pytest.mark.parametrize("kind", ["openai", "menu.zip"])
def test_an_order_that_is_no_use_in_part_ends_with_what_gives_way(kind: str) -> None:
    pipeline = FakePipeline()
    with opened(pipeline, queue=8) as (at, engine), ThreadPoolExecutor(16) as threads:
        pipeline.gate.clear()
        whole = threads.submit(ORDERS[kind], at("127.0.0.2"))
        until(lambda: engine.depth == 3)
        others = []

        def waiting(depth: int) -> bool:
            return engine.depth == min(depth, 8) or whole.done()

        for k in range(6):  # each is alone, and the three are the longest line
            others.append(threads.submit(at(f"127.0.0.{3 + k}").get, f"/dish.png?name=tea&seed={k}"))
            until(partial(waiting, 4 + k))
        answer = whole.result(10)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "queue_full")
        assert int(answer.headers["retry-after"]) >= 1
        pipeline.gate.set()
        assert [answer.result(10).status_code for answer in others] == [200] * 6
        assert sum(seed >= 900 for seed in pipeline.refined) <= 1


def test_while_others_wait_a_client_gets_pages_no_faster_than_its_share_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hundredth here, so that it shows on a machine of any speed."""
    monkeypatch.setattr(loop_share, "SHARE", 1 / 100)
    monkeypatch.setattr(loop_share, "CREDIT", 0.0)
    pipeline = FakePipeline()
    with opened(pipeline) as (at, engine), ThreadPoolExecutor(8) as threads:
        stop, answers = threading.Event(), Counter[int]()

        def ask() -> None:
            while not stop.is_set():
                answers[greedy.get("/").status_code] += 1

        def asked() -> int:
            before = answers[200]
            stop.wait(1.0)
            return answers[200] - before

        greedy = at("127.0.0.2")
        asking = [threads.submit(ask) for _ in range(4)]
        try:
            until(lambda: answers[200])
            before = asked()
            pipeline.gate.clear()
            polite = threads.submit(at("127.0.0.3").get, "/dish.png?name=tea")
            until(lambda: engine.depth)
            beside = asked()
            assert at("127.0.0.4").get("/").status_code == 200
            pipeline.gate.set()
            assert polite.result(10).status_code == 200
            after = asked()
        finally:
            stop.set()
        for each in asking:
            each.result(10)
    assert beside <= min(before, after) / 2
    assert set(answers) == {200}
