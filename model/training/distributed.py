"""Data-parallel training under `torchrun`: every process has the whole model and its own share of the batch.

Gradients are averaged by hand, as in StyleGAN2-ADA's and EDM's trainers: a GAN step runs several forward and backward
passes over parts of several modules, which does not fit DistributedDataParallel well.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn


def start(device: torch.device) -> tuple[torch.device, int, int]:
    """Joins the other processes if `torchrun` started this one; returns its device, its rank and the number of
    processes.

    Each process uses its own GPU. Raises ValueError if there are fewer GPUs than processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device, 0, 1
    if device.type == "cuda":
        local, here = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
        if here > torch.cuda.device_count():
            raise ValueError(f"{here} processes share {torch.cuda.device_count()} CUDA GPUs: start one a GPU")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device, dist.get_rank(), dist.get_world_size()


def finish() -> None:
    """Leaves the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replaces every gradient by its mean over the processes; missing gradients count as zero."""
    if not dist.is_initialized():
        return
    gradients = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        gradients.append(parameter.grad)
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def broadcast(module: nn.Module) -> None:
    """Gives every process the weights and buffers of the first."""
    if dist.is_initialized():
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)


def agree(stop: bool) -> bool:
    """True on every process as soon as it is true on one, since all must leave the loop at the same step."""
    if not dist.is_initialized():
        return stop
    flag = torch.tensor([float(stop)])
    if dist.get_backend() == "nccl":
        flag = flag.cuda()
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag.item())


def count() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def norm(gradient: Tensor) -> Tensor:
    """The norm of a batch's mean gradient over all processes, given the gradient of this process's share."""
    if not dist.is_initialized():
        return gradient.norm()
    squares = gradient.norm().square()
    dist.all_reduce(squares)
    return squares.sqrt() / dist.get_world_size()


def mean(values: Tensor) -> Tensor:
    """The mean of a tensor over the processes."""
    if dist.is_initialized():
        dist.all_reduce(values)
        values = values / dist.get_world_size()
    return values
