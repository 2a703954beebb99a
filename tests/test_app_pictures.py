"""How many dishes a model takes at once, by the pipeline under it, and whose the CPUs are."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor

from app.engine import EngineClosed, Watch
from app.pictures import PictureFile, Pictures, PipelineModel
from model.dishes import Dish
from tests.serving import FakePipeline


class OnGpu(FakePipeline):
    device = "cuda:0"
    batch_size = 16

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, int]] = []

    def record(self) -> None:
        self.calls.append(("record", threading.get_ident()))

    def sketch(self, embeddings: Tensor, latents: Tensor) -> Tensor:
        self.calls.append(("sketch", threading.get_ident()))
        return super().sketch(embeddings, latents)


def test_a_gpu_records_before_it_paints_in_the_thread_that_warms_it() -> None:
    pipeline = OnGpu()
    model = PipelineModel(pipeline)
    thread = threading.Thread(target=model.warm)
    thread.start()
    thread.join()
    (first, where), *later = pipeline.calls
    assert first == "record" and where != threading.get_ident()
    assert later == [("sketch", where)]


def test_a_gpu_is_given_all_that_waits_and_a_cpu_one_picture_at_a_time() -> None:
    gpu, cpu = PipelineModel(OnGpu()), PipelineModel(FakePipeline())
    assert (gpu.sketch_batch, gpu.refine_batch) == (16, 16)
    assert cpu.refine_batch == 1


def test_every_dish_of_a_batch_gets_its_own_picture() -> None:
    model = PipelineModel(OnGpu())
    items = [PictureFile(Dish(name, seed)) for seed, name in enumerate(["tea", "鮭", "tea"])]
    pictures = model.refine(items, model.sketch(items))
    for item, picture in zip(items, pictures, strict=True):
        assert torch.equal(picture, model.refine([item], model.sketch([item]))[0])
    assert len({float(picture[1, 0, 0]) for picture in pictures}) == 3


def test_the_models_thread_has_the_cpus_and_later_ones_have_one_each() -> None:
    before = torch.get_num_threads()
    found: dict[str, int] = {}

    def work() -> None:
        PipelineModel(FakePipeline(), threads=3).warm()
        later = threading.Thread(target=lambda: found.update(later=torch.get_num_threads()))
        later.start()
        later.join()
        found["model"] = torch.get_num_threads()

    try:
        model = threading.Thread(target=work)
        model.start()
        model.join()
        assert found == {"model": 3, "later": 1}
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("pipeline", "beside"), [(FakePipeline(), False), (OnGpu(), True)])
def test_an_encoder_works_beside_a_gpu_and_takes_no_cpu_from_a_model(pipeline: FakePipeline, beside: bool) -> None:
    threads: dict[str, set[int]] = {"batch": set(), "encoded": set()}

    class Threads(Watch):
        def batch(self, step: str, size: int, seconds: float) -> None:
            threads["batch"].add(threading.get_ident())

        def encoded(self, seconds: float) -> None:
            threads["encoded"].add(threading.get_ident())

    pictures = Pictures(pipeline, queue=8, cache_bytes=2**20, watch=Threads())
    try:
        for ticket in pictures.order([Dish("tea", 1), Dish("tea", 2, 64)], lambda _: None):
            ticket.picture.result(30)
    finally:
        pictures.engine.close()
    assert threads["encoded"].isdisjoint(threads["batch"]) == beside


def test_only_what_is_not_in_memory_is_paid_for_and_nothing_unpaid_is_made() -> None:
    pipeline, paid = FakePipeline(), list[int]()
    pictures = Pictures(pipeline, queue=8, cache_bytes=2**20)

    def refuse(missing: int) -> None:
        raise PermissionError(missing)

    try:
        first, second = Dish("tea", 1), Dish("tea", 2)
        (ticket,) = pictures.order([first], paid.append)
        made = ticket.picture.result(30)
        ticket.cancel()  # waits until the engine is done with it, and memory has it
        again, new = pictures.order([first, second], paid.append)
        assert (again.picture.result(0), new.picture.result(30) != made) == (made, True)
        assert paid == [1, 1]
        with pytest.raises(PermissionError):
            pictures.order([Dish("tea", 3), first, Dish("tea", 4)], refuse)
        assert pictures.engine.depth == 0
        pictures.engine.refuse()
        with pytest.raises(EngineClosed):
            pictures.order([first, Dish("tea", 5)], paid.append)
        assert paid == [1, 1]
    finally:
        pictures.engine.close()
    assert {3, 4, 5}.isdisjoint(pipeline.refined)
