"""Batches work between callers and the model.

The queue is bounded, counted in pictures, and each model has one thread that runs at once with whatever is waiting: a
single request is never delayed to fill a batch, and a busy model finds its next batch ready. Pictures are made in two
alternating steps, a sketch and its refinement, so that everyone sees a sketch early and many sketch-only jobs cannot
starve the others. For each step, clients have their own lines, which `app.fair_queue` serves in turn. When the queue is
full, the end of the longest line gives way to a client with a shorter one: buffer stealing (P. McKenney, "Stochastic
Fairness Queueing", INFOCOM 1990).

Encoding runs in a small thread pool in parallel with the next forward pass, or before it if both need the same CPUs.
Two callers who order the same item share one job.

This module knows neither HTTP nor torch: the model is anything with the methods of `Model`.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, Generic, Protocol, TypeVar

from app.fair_queue import FairQueue

logger = logging.getLogger(__name__)

# Pictures that a client is served in its turn: as many as the page orders, which are then seen as early as they can be.
QUANTUM = 4


class Item(Hashable, Protocol):
    """Something to be made. Equal items give the same bytes."""

    @property
    def sketch_only(self) -> bool: ...


I = TypeVar("I", bound=Item)  # noqa: E741
In = TypeVar("In", bound=Item, contravariant=True)


class Model(Protocol[In]):
    """Does the work. Sketches and pictures are opaque to the engine."""

    sketch_batch: int
    refine_batch: int

    def warm(self) -> None: ...
    def sketch(self, items: Sequence[In]) -> Sequence[Any]: ...
    def refine(self, items: Sequence[In], sketches: Sequence[Any]) -> Sequence[Any]: ...
    def encode_sketch(self, item: In, sketch: Any) -> bytes: ...
    def encode(self, item: In, picture: Any) -> bytes: ...


class QueueFull(Exception):
    """The queue is full; `retry_after` is the number of seconds that the current work will take."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"the queue is full; try again in {retry_after:.1f} s")
        self.retry_after = retry_after


class WaitedTooLong(Exception):
    """The item waited too long, and was dropped before its forward pass; `retry_after` as for QueueFull."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"waited too long; try again in {retry_after:.1f} s")
        self.retry_after = retry_after


class EngineClosed(Exception):
    """The engine is shutting down and accepts no more work."""


class Watch:
    """Observer of the engine, to be subclassed. Methods are called from any of its threads, often under its lock, and
    must be quick."""

    def waited(self, seconds: float) -> None:
        """An item's first forward pass begins, after it has waited for `seconds`."""

    def batch(self, step: str, size: int, seconds: float) -> None:
        """A forward pass has finished."""

    def encoded(self, seconds: float) -> None:
        """A picture has been encoded."""

    def refused(self, reason: str, count: int = 1) -> None:
        """`count` items were refused or dropped; `reason` is "queue_full", "gave_way", "closing" or
        "waited_too_long"."""


@dataclass(eq=False)
class Ticket:
    """One caller's claim on one item; `at_hand` if the item had already been made.

    `sketch` is done before `picture`, with None if no sketch was made for this ticket. `ahead` is the number of
    pictures ahead of it when it was accepted.
    """

    client: str = ""
    ahead: int = 0
    at_hand: bool = False
    since: float = 0.0
    sketch: Future[bytes | None] = field(default_factory=Future)
    picture: Future[bytes] = field(default_factory=Future)
    _leave: Callable[[Ticket], None] | None = None

    def cancel(self) -> None:
        """Cancels: the caller has left. A job that nobody waits for costs no further forward passes."""
        self.sketch.cancel()
        self.picture.cancel()
        if self._leave is not None:
            self._leave(self)


def served(data: bytes) -> Ticket:
    """A ticket for something that had already been made."""
    ticket = Ticket(at_hand=True)
    ticket.sketch.set_result(None)
    ticket.picture.set_result(data)
    return ticket


def _resolve(future: Future[Any], value: object) -> None:
    """Sets a future's result. Called under the engine's lock, since a sketch and its picture may arrive from two
    encoders at once."""
    # A future may be cancelled by its caller at any time; once marked as running it no longer can.
    if future.done() or not future.set_running_or_notify_cancel():
        return
    if isinstance(value, BaseException):
        future.set_exception(value)
    else:
        future.set_result(value)


@dataclass(eq=False)
class _Job(Generic[I]):
    """A job for one item. It waits in the line of one of its tickets' clients: the one whose line was shortest on
    arrival."""

    item: I
    client: str
    tickets: list[Ticket] = field(default_factory=list)
    encode_sketch: bool = False
    sketch: Any = None
    sketch_data: bytes | None = None


class Engine(Generic[I]):
    def __init__(
        self,
        models: Sequence[Model[I]],
        *,
        capacity: int,
        max_wait: float = math.inf,
        encoders: int = 2,
        clock: Callable[[], float] = time.monotonic,
        watch: Watch | None = None,
    ) -> None:
        """`capacity` is in items; `max_wait` in seconds, from acceptance to a forward pass. With `encoders` 0, the
        model's own thread encodes."""
        self.capacity = capacity
        self._max_wait = max_wait
        self._clock = clock
        self._watch = watch or Watch()
        self._changed = threading.Condition()
        self._jobs: dict[I, _Job[I]] = {}  # everything accepted and not yet delivered
        self._to_sketch: FairQueue[str, _Job[I]] = FairQueue(QUANTUM)
        self._to_refine: FairQueue[str, _Job[I]] = FairQueue(QUANTUM)
        self._refusing = False
        self._closing = False
        self._seconds = {"sketch": 0.0, "refine": 0.0}  # measured, a picture
        self._warm = 0
        self._encoders = ThreadPoolExecutor(encoders, thread_name_prefix="encoder") if encoders else None
        self._threads = [
            threading.Thread(target=self._run, args=(model,), name=f"dispatcher-{k}", daemon=True)
            for k, model in enumerate(models)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def depth(self) -> int:
        """Number of pictures waiting or in progress."""
        return len(self._jobs)

    @property
    def demand(self) -> int:
        """Like `depth`, but counting at most two turns per client, so that one client alone cannot trigger
        autoscaling."""
        with self._changed:
            counts = Counter(job.client for job in self._jobs.values())
        return sum(min(count, 2 * QUANTUM) for count in counts.values())

    @property
    def ready(self) -> bool:
        """True if every model has been warmed up and work is accepted."""
        return self._warm == len(self._threads) and not self._refusing

    def has_others(self, client: str) -> bool:
        """Returns whether clients other than this one have pictures waiting or in progress."""
        with self._changed:
            return any(job.client != client for job in self._jobs.values())

    @property
    def seconds_a_picture(self) -> float:
        return sum(self._seconds.values()) / len(self._threads)

    def submit(
        self,
        items: Sequence[I],
        *,
        client: str = "",
        sketches: bool = False,
        further: bool = False,
        pay: Callable[[], None] = lambda: None,
    ) -> list[Ticket]:
        """Queues all of `items` or none. Raises QueueFull, EngineClosed, or whatever `pay` raises.

        A ticket may still end in QueueFull later, if its client's line is the longest when others find no room.
        `further` items belong to an order that was accepted earlier, and are accepted while the engine drains. `pay` is
        called under the lock once there is room, so that refused items are not paid for, and only paid items are made.
        """
        with self._changed:
            if self._closing or (self._refusing and not further):
                self._watch.refused("closing", len(items))
                raise EngineClosed
            giving_way = self._giving_way(client, items)
            pay()
            for job in giving_way:
                self._drop(job)
            ahead = self._ahead(client)
            tickets = [self._join(item, client, ahead, sketches) for item in items]
            self._changed.notify_all()
            return tickets

    def refuse(self) -> None:
        """Refuses new orders; accepted ones are still made."""
        self._refusing = True

    def abandon(self) -> None:
        """Refuses all work, and fails everything that is still waiting with EngineClosed."""
        with self._changed:
            self._refusing = self._closing = True
            abandoned = list(self._jobs.values())
            self._jobs.clear()
            for job in abandoned:
                self._unqueue(job)
                tickets, job.tickets = job.tickets, []
                self._watch.refused("closing", len(tickets))
                for ticket in tickets:
                    _resolve(ticket.sketch, None)
                    _resolve(ticket.picture, EngineClosed())
            self._changed.notify_all()

    def close(self) -> None:
        """Refuses new work, finishes what was accepted, and stops."""
        with self._changed:
            self._refusing = self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        if self._encoders:
            self._encoders.shutdown(wait=True)

    # Lines and room, under the lock (`_leave` takes it)

    def _waiting(self, client: str) -> int:
        return self._to_sketch.length(client) + self._to_refine.length(client)

    def _lines(self) -> dict[str, int]:
        """Number of jobs in each client's line."""
        lengths: dict[str, int] = {}
        for client, length in chain(self._to_sketch.lengths(), self._to_refine.lengths()):
            lengths[client] = lengths.get(client, 0) + length
        return lengths

    def _ahead(self, client: str) -> int:
        """Number of pictures ahead of this client's next one: its own, those in progress, and those served to others in
        the same turns."""
        lines = self._lines()
        making = self.depth - sum(lines.values())
        own = lines.pop(client, 0)
        turns = (own // QUANTUM + 1) * QUANTUM
        return making + own + sum(min(length, turns) for length in lines.values())

    def _giving_way(self, client: str, items: Sequence[I]) -> list[_Job[I]]:
        """The jobs to evict to make room for `items`, from the ends of the longest lines. Raises QueueFull if the
        client's own line would be no shorter than those."""
        wanted = set(items)
        new = sum(item not in self._jobs for item in wanted)
        short = self.depth + new - self.capacity
        if short <= 0:
            return []
        lines = self._lines()
        own = lines.pop(client, 0) + new
        for item in wanted & self._jobs.keys():  # nobody makes room by losing what is asked for
            if self._jobs[item].client in lines and self._is_waiting(self._jobs[item]):
                lines[self._jobs[item].client] -= 1
        going: dict[str, int] = {}
        for _ in range(short):
            longest = max(lines, key=lines.__getitem__, default=None)
            if longest is None or lines[longest] <= own:
                self._watch.refused("queue_full", len(items))
                raise QueueFull(self.depth * self.seconds_a_picture)
            lines[longest] -= 1
            going[longest] = going.get(longest, 0) + 1
        return [
            job
            for other, count in going.items()
            for job in islice(
                (
                    job
                    for job in chain(self._to_sketch.latest(other), self._to_refine.latest(other))
                    if job.item not in wanted
                ),
                count,
            )
        ]

    def _drop(self, job: _Job[I]) -> None:
        self._unqueue(job)
        del self._jobs[job.item]
        self._watch.refused("gave_way", len(job.tickets))
        tickets, job.tickets = job.tickets, []
        for ticket in tickets:
            _resolve(ticket.sketch, None)
            _resolve(ticket.picture, QueueFull(self.depth * self.seconds_a_picture))

    def _is_waiting(self, job: _Job[I]) -> bool:
        """Returns whether the job is queued, and not in a forward pass right now."""
        return self._to_sketch.has(job.client, job) or self._to_refine.has(job.client, job)

    def _unqueue(self, job: _Job[I]) -> FairQueue[str, _Job[I]] | None:
        """Removes a job from its queue and returns the queue; None if the job is in a forward pass right now."""
        for queue in (self._to_sketch, self._to_refine):
            if queue.discard(job.client, job):
                return queue
        return None

    def _move(self, job: _Job[I], client: str) -> None:
        """Moves a job to another client's line."""
        queue = self._unqueue(job)
        job.client = client
        if queue is not None:
            queue.add(client, job)

    def _join(self, item: I, client: str, ahead: int, sketches: bool) -> Ticket:
        job = self._jobs.get(item)
        if job is None:
            job = self._jobs[item] = _Job(item, client)
            self._to_sketch.add(client, job)
        elif self._waiting(client) < self._waiting(job.client):
            self._move(job, client)
        job.encode_sketch |= sketches
        ticket = Ticket(client, ahead, since=self._clock(), _leave=lambda ticket: self._leave(job, ticket))
        job.tickets.append(ticket)
        if sketches and job.sketch_data is not None:
            _resolve(ticket.sketch, job.sketch_data)
        return ticket

    def _leave(self, job: _Job[I], ticket: Ticket) -> None:
        with self._changed:
            if ticket in job.tickets:
                job.tickets.remove(ticket)
            if self._jobs.get(job.item) is not job:
                return
            if not job.tickets:
                # A job that is in a forward pass right now ends by itself.
                if self._unqueue(job) is not None:
                    del self._jobs[job.item]
            elif all(other.client != job.client for other in job.tickets):
                self._move(job, min((other.client for other in job.tickets), key=self._waiting))

    # The dispatcher's side

    def _run(self, model: Model[I]) -> None:
        try:
            model.warm()
        except Exception:
            # Not ready, for good; requests still get their own errors and /readyz says no.
            logger.exception("warming the model failed")
        else:
            with self._changed:
                self._warm += 1
        sketch_next = True
        while True:
            with self._changed:
                while not (self._to_sketch or self._to_refine):
                    if self._closing:
                        return
                    self._changed.wait()
                sketching = bool(self._to_sketch) and (sketch_next or not self._to_refine)
                queue = self._to_sketch if sketching else self._to_refine
                limit = model.sketch_batch if sketching else model.refine_batch
                jobs = self._take(queue, limit)
            sketch_next = not sketching
            if sketching:
                self._sketch(model, jobs)
            else:
                self._refine(model, jobs)

    def _take(self, queue: FairQueue[str, _Job[I]], limit: int) -> list[_Job[I]]:
        """Takes the next jobs that somebody still waits for, and fails those that waited too long. Called under the
        lock."""
        now = self._clock()
        jobs: list[_Job[I]] = []
        while queue and len(jobs) < limit:
            job = queue.pop()
            for ticket in [t for t in job.tickets if now - t.since > self._max_wait]:
                job.tickets.remove(ticket)
                self._watch.refused("waited_too_long")
                _resolve(ticket.sketch, None)
                _resolve(ticket.picture, WaitedTooLong(self.depth * self.seconds_a_picture))
            if job.tickets:
                jobs.append(job)
                if queue is self._to_sketch:
                    self._watch.waited(now - job.tickets[0].since)
            else:
                del self._jobs[job.item]
        return jobs

    def _sketch(self, model: Model[I], jobs: list[_Job[I]]) -> None:
        for job, sketch in zip(jobs, self._forward("sketch", model.sketch, jobs), strict=True):
            if isinstance(sketch, Exception):
                self._deliver(job, sketch)
            elif job.item.sketch_only:
                self._beside(self._encode, job, model.encode_sketch, sketch)
            else:
                job.sketch = sketch
                with self._changed:
                    if not job.tickets:
                        if self._jobs.get(job.item) is job:
                            del self._jobs[job.item]
                        continue
                    self._to_refine.add(job.client, job)
                if job.encode_sketch:
                    self._beside(self._show_sketch, job, model.encode_sketch, sketch)

    def _refine(self, model: Model[I], jobs: list[_Job[I]]) -> None:
        sketches = [job.sketch for job in jobs]
        for job, picture in zip(jobs, self._forward("refine", model.refine, jobs, sketches), strict=True):
            if isinstance(picture, Exception):
                self._deliver(job, picture)
            else:
                self._beside(self._encode, job, model.encode, picture)

    def _forward(
        self, step: str, run: Callable[..., Sequence[Any]], jobs: list[_Job[I]], *columns: list[Any]
    ) -> list[Any]:
        """Runs a forward pass; one result or exception per job. A batch that fails is retried one by one, so that only
        the faulty item fails."""
        if not jobs:
            return []
        began = self._clock()
        items = [job.item for job in jobs]
        results: list[Any]
        try:
            results = list(run(items, *columns))
            if len(results) != len(jobs):
                raise RuntimeError(f"{step} gave {len(results)} results for {len(jobs)} items")
        except Exception as error:
            if len(jobs) == 1:
                logger.error("%s failed", step, exc_info=error)
                return [error]
            return [
                self._forward(step, run, [job], *([column[k]] for column in columns))[0]
                for k, job in enumerate(jobs)
            ]
        seconds = (self._clock() - began) / len(jobs)
        self._watch.batch(step, len(jobs), seconds * len(jobs))
        before = self._seconds[step]
        self._seconds[step] = 0.8 * before + 0.2 * seconds if before else seconds
        return results

    # The encoders' side

    def _beside(self, work: Callable[..., None], *arguments: Any) -> None:
        """Runs work in parallel with the next forward pass if there are encoders, and otherwise right away."""
        if self._encoders:
            self._encoders.submit(work, *arguments)
        else:
            work(*arguments)

    def _show_sketch(self, job: _Job[I], encode: Callable[[I, Any], bytes], sketch: Any) -> None:
        with contextlib.suppress(Exception):  # a sketch that cannot be shown is no reason to lose the picture
            data = encode(job.item, sketch)
            with self._changed:
                job.sketch_data = data
                for ticket in job.tickets:
                    _resolve(ticket.sketch, data)

    def _encode(self, job: _Job[I], encode: Callable[[I, Any], bytes], picture: Any) -> None:
        began = self._clock()
        try:
            value: bytes | Exception = encode(job.item, picture)
        except Exception as error:
            logger.error("encoding failed", exc_info=error)
            value = error
        self._watch.encoded(self._clock() - began)
        self._deliver(job, value)

    def _deliver(self, job: _Job[I], value: bytes | Exception) -> None:
        with self._changed:
            if self._jobs.get(job.item) is job:
                del self._jobs[job.item]
            tickets, job.tickets = job.tickets, []
            for ticket in tickets:
                _resolve(ticket.sketch, None)
                _resolve(ticket.picture, value)
