"""The engine with a fake model: order, batches, refusals, faults, leaving and closing."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import pytest

from app.engine import Engine, EngineClosed, QueueFull, Ticket, WaitedTooLong, Watch, served
from tests.serving import until


@dataclass(frozen=True)
class Item:
    name: str
    sketch_only: bool = False


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Model:
    """Writes down every batch. `hold` stops it before the next forward pass until `go` is set."""

    clock: Clock
    sketch_batch: int = 4
    refine_batch: int = 2
    log: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    warm_up_fails: bool = False

    def warm(self) -> None:
        if self.warm_up_fails:
            raise RuntimeError("cold")

    def sketch(self, items: Sequence[Item]) -> list[str]:
        self._pass("sketch", items)
        return [f"sketch of {item.name}" for item in items]

    def refine(self, items: Sequence[Item], sketches: Sequence[str]) -> list[str]:
        assert [f"sketch of {item.name}" for item in items] == list(sketches)
        self._pass("refine", items)
        return [f"picture of {item.name}" for item in items]

    def encode_sketch(self, item: Item, sketch: str) -> bytes:
        return sketch.encode()

    def encode(self, item: Item, picture: str) -> bytes:
        if item.name == "unencodable":
            raise ValueError("no bytes for this")
        return picture.encode()

    def _pass(self, step: str, items: Sequence[Item]) -> None:
        self.entered.release()
        assert self.go.wait(10)
        self.log.append((step, tuple(item.name for item in items)))
        if any(item.name == f"bad {step}" for item in items):
            raise ValueError("bad item")
        self.clock.now += (0.1 if step == "sketch" else 0.4) * len(items)


@pytest.fixture
def model() -> Model:
    model = Model(Clock())
    model.go.set()
    return model


@pytest.fixture
def engine(model: Model) -> Iterator[Engine[Item]]:
    engine = Engine([model], capacity=8, max_wait=60, clock=model.clock)
    until(lambda: engine.ready)
    yield engine
    model.go.set()
    engine.close()


def held(engine: Engine[Item], model: Model) -> Ticket:
    """Occupies the model with one picture until `model.go` is set."""
    model.go.clear()
    (ticket,) = engine.submit([Item("first")])
    assert model.entered.acquire(timeout=10)
    return ticket


def value(future: Future[bytes] | Future[bytes | None]) -> bytes | None:
    return future.result(10)


def test_a_lone_item_goes_through_both_stages_at_once(engine: Engine[Item], model: Model) -> None:
    (ticket,) = engine.submit([Item("pea soup")], sketches=True)
    assert value(ticket.sketch) == b"sketch of pea soup"
    assert value(ticket.picture) == b"picture of pea soup"
    assert model.log == [("sketch", ("pea soup",)), ("refine", ("pea soup",))]
    assert engine.depth == 0
    assert ticket.ahead == 0


def test_a_sketch_only_item_skips_stage_two(engine: Engine[Item], model: Model) -> None:
    (ticket,) = engine.submit([Item("pea soup", sketch_only=True)])
    assert value(ticket.picture) == b"sketch of pea soup"
    assert [step for step, _ in model.log] == ["sketch"]


def test_what_waits_is_taken_together_up_to_the_batch_size(engine: Engine[Item], model: Model) -> None:
    held(engine, model)
    tickets = engine.submit([Item(str(k)) for k in range(6)])
    assert [ticket.ahead for ticket in tickets] == [1] * 6
    model.go.set()
    assert [value(ticket.picture) for ticket in tickets] == [f"picture of {k}".encode() for k in range(6)]
    batches = {step: [names for at, names in model.log if at == step] for step in ("sketch", "refine")}
    assert batches["sketch"] == [("first",), ("0", "1", "2", "3"), ("4", "5")]
    assert all(len(names) <= 2 for names in batches["refine"])
    assert [name for names in batches["refine"] for name in names] == ["first", *"012345"]


def test_a_crowd_of_sketches_does_not_starve_a_picture(engine: Engine[Item], model: Model) -> None:
    ticket = held(engine, model)
    engine.submit([Item(str(k), sketch_only=True) for k in range(7)])
    model.go.set()
    value(ticket.picture)
    assert model.log[1] == ("refine", ("first",))


def test_a_full_queue_refuses_with_the_time_that_its_work_will_take(
    engine: Engine[Item], model: Model
) -> None:
    value(engine.submit([Item("measured")])[0].picture)  # 0.1 s and 0.4 s
    until(lambda: engine.depth == 0)
    held(engine, model)
    engine.submit([Item(str(k)) for k in range(7)])
    with pytest.raises(QueueFull) as refusal:
        engine.submit([Item("one too many")])
    assert refusal.value.retry_after == pytest.approx(8 * 0.5)
    # All or nothing: what is refused leaves nothing behind, and what is there already may be joined.
    assert engine.depth == 8
    engine.submit([Item("3")])
    model.go.set()
    until(lambda: engine.depth == 0)
    assert ("one too many",) not in [names for _, names in model.log]


def test_two_callers_of_one_item_cost_one_pass(engine: Engine[Item], model: Model) -> None:
    held(engine, model)
    (a,), (b,) = engine.submit([Item("same")]), engine.submit([Item("same")], sketches=True)
    assert engine.depth == 2
    model.go.set()
    assert value(a.picture) == value(b.picture) == b"picture of same"
    assert value(b.sketch) == b"sketch of same"
    assert sum("same" in names for _, names in model.log) == 2  # one sketch, one refinement


def test_one_of_two_callers_may_leave(engine: Engine[Item], model: Model) -> None:
    held(engine, model)
    (a,), (b,) = engine.submit([Item("same")]), engine.submit([Item("same")])
    a.cancel()
    model.go.set()
    assert value(b.picture) == b"picture of same"
    assert a.picture.cancelled()


def test_who_leaves_before_the_sketch_costs_nothing(engine: Engine[Item], model: Model) -> None:
    first = held(engine, model)
    (gone,) = engine.submit([Item("gone")])
    gone.cancel()
    assert engine.depth == 1
    model.go.set()
    value(first.picture)
    assert "gone" not in [name for _, names in model.log for name in names]


def test_who_leaves_during_the_sketch_costs_no_refinement(engine: Engine[Item], model: Model) -> None:
    held(engine, model).cancel()
    model.go.set()
    until(lambda: engine.depth == 0)
    assert model.log == [("sketch", ("first",))]


def test_an_old_ticket_does_not_cancel_a_new_job(engine: Engine[Item], model: Model) -> None:
    (old,) = engine.submit([Item("again")])
    value(old.picture)
    until(lambda: engine.depth == 0)
    held(engine, model)
    (new,) = engine.submit([Item("again")])
    old.cancel()
    model.go.set()
    assert value(new.picture) == b"picture of again"


def test_who_has_waited_too_long_costs_nothing(engine: Engine[Item], model: Model) -> None:
    first = held(engine, model)
    (late,) = engine.submit([Item("late")], sketches=True)
    model.clock.now += 59
    (fresh,) = engine.submit([Item("fresh")])
    model.clock.now += 2
    model.go.set()
    for dropped in (first, late):  # the first has had its sketch by then, and is spared the refinement
        with pytest.raises(WaitedTooLong) as refusal:
            value(dropped.picture)
        assert refusal.value.retry_after >= 0
        assert dropped.sketch.result(10) is None
    assert value(fresh.picture) == b"picture of fresh"
    assert model.log == [("sketch", ("first",)), ("sketch", ("fresh",)), ("refine", ("fresh",))]
    until(lambda: engine.depth == 0)


def test_of_two_callers_only_the_one_who_waited_too_long_is_dropped(
    engine: Engine[Item], model: Model
) -> None:
    held(engine, model)
    (early,) = engine.submit([Item("same")])
    model.clock.now += 59
    (later,) = engine.submit([Item("same")])
    model.clock.now += 2
    model.go.set()
    with pytest.raises(WaitedTooLong):
        value(early.picture)
    assert value(later.picture) == b"picture of same"


@pytest.mark.parametrize("step", ["sketch", "refine"])
def test_a_bad_item_fails_alone(engine: Engine[Item], model: Model, step: str) -> None:
    held(engine, model)
    good, bad, fine = engine.submit([Item("good"), Item(f"bad {step}"), Item("fine")])
    model.go.set()
    assert value(good.picture) == b"picture of good"
    assert value(fine.picture) == b"picture of fine"
    with pytest.raises(ValueError, match="bad item"):
        value(bad.picture)
    until(lambda: engine.depth == 0)


def test_a_picture_that_cannot_be_encoded_fails_alone(engine: Engine[Item]) -> None:
    bad, good = engine.submit([Item("unencodable"), Item("good")])
    with pytest.raises(ValueError, match="no bytes"):
        value(bad.picture)
    assert value(good.picture) == b"picture of good"


def test_without_encoders_the_models_thread_encodes_before_its_next_pass(model: Model) -> None:
    engine = Engine([model], capacity=8, clock=model.clock, encoders=0)
    held(engine, model)
    bad, good = engine.submit([Item("unencodable"), Item("good")], sketches=True)
    plain, small = engine.submit([Item("plain"), Item("small", sketch_only=True)])
    encode, encode_sketch = model.encode, model.encode_sketch

    def noted(item: Item, picture: str) -> bytes:
        model.log.append((threading.current_thread().name, (item.name,)))
        return encode(item, picture)

    def noted_sketch(item: Item, sketch: str) -> bytes:
        model.log.append((threading.current_thread().name, (f"sketch of {item.name}",)))
        return encode_sketch(item, sketch)

    model.encode, model.encode_sketch = noted, noted_sketch  # type: ignore[method-assign]
    model.go.set()
    assert value(good.sketch) == b"sketch of good" and value(good.picture) == b"picture of good"
    assert value(plain.picture) == b"picture of plain" and value(small.picture) == b"sketch of small"
    with pytest.raises(ValueError, match="no bytes"):
        value(bad.picture)
    engine.close()
    assert {step for step, _ in model.log} == {"sketch", "refine", "dispatcher-0"}
    for at, (step, names) in enumerate(model.log):
        if step == "refine":
            assert model.log[at + 1 :][: len(names)] == [("dispatcher-0", (name,)) for name in names]


def test_a_sketch_that_comes_after_its_picture_is_dropped(engine: Engine[Item], model: Model) -> None:
    late = threading.Event()

    def slow(item: Item, sketch: str) -> bytes:
        assert late.wait(10)
        return sketch.encode()

    model.encode_sketch = slow  # type: ignore[method-assign]
    (ticket,) = engine.submit([Item("tea")], sketches=True)
    assert value(ticket.picture) == b"picture of tea"
    assert ticket.sketch.result(0) is None
    late.set()
    assert value(engine.submit([Item("cake")])[0].picture) == b"picture of cake"


def test_closing_finishes_what_was_accepted_and_takes_no_more(model: Model) -> None:
    engine = Engine([model], capacity=8, clock=model.clock)
    held(engine, model)
    tickets = engine.submit([Item(str(k)) for k in range(5)])
    closing = threading.Thread(target=engine.close)
    closing.start()
    until(lambda: not engine.ready)
    with pytest.raises(EngineClosed):
        engine.submit([Item("late")])
    model.go.set()
    closing.join(10)
    assert not closing.is_alive()
    assert [value(ticket.picture) for ticket in tickets] == [f"picture of {k}".encode() for k in range(5)]


def test_draining_refuses_new_orders_and_takes_what_belongs_to_old_ones(
    engine: Engine[Item], model: Model
) -> None:
    first = held(engine, model)
    engine.refuse()
    assert not engine.ready
    with pytest.raises(EngineClosed):
        engine.submit([Item("late")])
    (further,) = engine.submit([Item("further")], further=True)
    model.go.set()
    assert value(first.picture) == b"picture of first"
    assert value(further.picture) == b"picture of further"


class Diary(Watch):
    def __init__(self) -> None:
        self.lines: list[tuple[object, ...]] = []

    def waited(self, seconds: float) -> None:
        self.lines.append(("waited", seconds))

    def batch(self, step: str, size: int, seconds: float) -> None:
        self.lines.append((step, size, round(seconds, 3)))

    def encoded(self, seconds: float) -> None:
        self.lines.append(("encoded", seconds))

    def refused(self, reason: str, count: int = 1) -> None:
        self.lines.append((reason, count))


def test_what_happens_is_told_to_whoever_watches(model: Model) -> None:
    diary = Diary()
    engine = Engine([model], capacity=8, max_wait=60, clock=model.clock, watch=diary)
    held(engine, model)
    with pytest.raises(QueueFull):
        engine.submit([Item(str(k)) for k in range(8)])
    engine.submit([Item("a"), Item("b")])
    model.clock.now += 10
    model.go.set()
    until(lambda: engine.depth == 0)
    (gone,) = engine.submit([Item("gone")])
    value(gone.picture)
    engine.close()
    with pytest.raises(EngineClosed):
        engine.submit([Item("late")])
    assert diary.lines[:3] == [("waited", 0.0), ("queue_full", 8), ("sketch", 1, 10.1)]
    assert diary.lines.count(("waited", pytest.approx(10.5))) == 2  # after a sketch and a refinement
    assert [line for line in diary.lines if line[0] == "refine"] == [
        ("refine", 1, 0.4),
        ("refine", 2, 0.8),
        ("refine", 1, 0.4),
    ]
    assert sum(line[0] == "encoded" for line in diary.lines) == 4
    assert diary.lines[-1] == ("closing", 1)


def test_two_models_share_the_work() -> None:
    clock, entered = Clock(), threading.Semaphore(0)
    models = [Model(clock, entered=entered), Model(clock, entered=entered)]
    engine = Engine(models, capacity=8, clock=clock)
    for name in "ab":  # the second is taken while the first is held
        engine.submit([Item(name)])
        assert entered.acquire(timeout=10)
    for model in models:
        model.go.set()
    engine.close()
    assert sorted(model.log[0] for model in models) == [("sketch", ("a",)), ("sketch", ("b",))]


def test_a_model_that_cannot_be_warmed_is_never_ready(model: Model) -> None:
    model.warm_up_fails = True
    engine = Engine([model], capacity=8)
    (ticket,) = engine.submit([Item("tea")])
    assert value(ticket.picture) == b"picture of tea"
    assert not engine.ready
    engine.close()


def test_what_is_at_hand_is_served_at_once() -> None:
    ticket = served(b"png")
    assert (ticket.sketch.result(0), ticket.picture.result(0)) == (None, b"png")
    ticket.cancel()
    assert ticket.picture.result(0) == b"png"
