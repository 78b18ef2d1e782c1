"""The processes of a distributed run, and what they do together.

Started by torchrun, or by nobody: then the run is alone and every function here costs nothing.
"""

from __future__ import annotations

import datetime
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vidsampler.errors import RANK_LOST, UsageError, VidsamplerError

Context = torch.autograd.function.FunctionCtx
T = TypeVar("T")

WAIT = 2 * 3600.0
"""Seconds that ranks wait for each other: one saves, or decodes slower than the others, for long.

A rank that dies is noticed without it: its connections end, and torchrun ends the others.
"""

_BUCKET = 25_000_000
"""Numbers that are sent at once when gradients are averaged."""


class World:
    """All ranks of a run; see `vidsampler.retriever.World` for what a retriever needs of it.

    Attributes:
        rank: Of this process, from 0.
        size: How many there are.
        device: What this process computes on.
    """

    def __init__(self, rank: int, size: int, device: torch.device) -> None:
        self.rank = rank
        self.size = size
        self.device = device

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def gather(self, local: Tensor) -> Tensor:
        """The tensors of all ranks in their order, joined along axis 0, with gradients.

        The gradient of the part that a rank gave is summed over all ranks, as each of them may have
        used it.
        """
        if self.size == 1:
            return local
        if local.dtype == torch.bool:
            return self.gather(local.to(torch.uint8)).to(torch.bool)
        found: Tensor = _Gather.apply(local, self)
        return found

    def gather_rows(self, local: Tensor | None) -> Tensor:
        """The rows of all ranks, which may have different numbers of them, without gradients.

        Args:
            local: (rows, ...) of the same further axes on each rank; None: this rank has none.

        Raises:
            ValueError: No rank has any.
        """
        if self.size == 1:
            if local is None:
                raise ValueError("no rank has any rows")
            return local
        parts: list[Tensor | None] = [None] * self.size
        dist.all_gather_object(parts, None if local is None else local.detach().cpu())
        return torch.cat([part for part in parts if part is not None]).to(self.device)

    def add(self, local: Tensor) -> Tensor:
        """The sum over all ranks, with gradients."""
        if self.size == 1:
            return local
        found: Tensor = _Add.apply(local)
        return found

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Makes each gradient the mean over the ranks.

        Where some ranks have none it counts as 0; where no rank has one it stays missing, so that
        the optimiser leaves the weight alone as it does with one rank.
        """
        if self.size == 1:
            return
        learning = [each for each in parameters if each.requires_grad]
        there = torch.tensor([float(each.grad is not None) for each in learning])
        there = there.to(self.device)
        dist.all_reduce(there)
        used = [each for each, count in zip(learning, there.tolist(), strict=True) if count]
        for bucket in _buckets(used):
            parts = [torch.zeros_like(each) if each.grad is None else each.grad for each in bucket]
            flat = torch.cat([part.reshape(-1) for part in parts])
            dist.all_reduce(flat)
            flat /= self.size
            offset = 0
            for each in bucket:
                each.grad = flat[offset : offset + each.numel()].view_as(each).clone()
                offset += each.numel()

    def spread(self, module: nn.Module) -> None:
        """Gives all ranks the weights of rank 0."""
        if self.size == 1:
            return
        for each in _state(module):
            # Kernels with colours last are not contiguous, which gloo asks for.
            values = each.data.contiguous()
            dist.broadcast(values, 0)
            each.data.copy_(values)

    def check_same(self, module: nn.Module) -> None:
        """Makes sure that the weights are the same on all ranks, to the bit.

        Raises:
            VidsamplerError: They are not.
        """
        if self.size == 1:
            return
        digest = fingerprint(_state(module))
        mine = torch.tensor(list(digest), dtype=torch.uint8, device=self.device)
        first = mine.clone()
        dist.broadcast(first, 0)
        different = torch.tensor(float(not torch.equal(mine, first)), device=self.device)
        dist.all_reduce(different)
        if different.item():
            raise VidsamplerError(
                f"the weights differ on {int(different.item())} of {self.size} ranks",
                hint="this is a fault of the program or of the machines; resume the run",
                code="diverged",
            )

    def agree(self, value: bool) -> bool:
        """Whether any rank says so."""
        if self.size == 1:
            return value
        said = torch.tensor(float(value), device=self.device)
        dist.all_reduce(said)
        return bool(said.item())

    def from_first(self, call: Callable[[], T]) -> T:
        """What a call finds on rank 0, for all ranks; an error there is raised by all of them."""
        if self.size == 1:
            return call()
        found: list[Any] = [None, None]
        if self.leads:
            try:
                found[0] = call()
            except VidsamplerError as error:
                found[1] = error
        dist.broadcast_object_list(found, 0)
        if found[1] is not None:
            raise found[1]
        result: T = found[0]
        return result

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def open_world(device: str | None = None) -> Iterator[World]:
    """Joins the ranks that torchrun started, nccl between GPUs and gloo otherwise.

    Inside, an error says which rank it is of, and what it means when another rank has gone.

    Args:
        device: `cpu` or `cuda`; None: cuda where there is one.

    Raises:
        UsageError: There is no GPU, or fewer than ranks on this machine.
        VidsamplerError: Another rank has died.
    """
    with _apart_ranks(), _joined(device) as world:
        yield world


@contextmanager
def _apart_ranks() -> Iterator[None]:
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    try:
        yield
    except VidsamplerError as error:
        if rank > 0:
            error.message = f"rank {rank}: {error.message}"
        raise
    except RuntimeError as error:
        # What gloo and nccl raise when a connection ends or nothing comes for a while.
        lost = ("gloo", "nccl", "connection", "timed out", "peer")
        if size > 1 and any(word in str(error).lower() for word in lost):
            raise VidsamplerError(
                f"rank {rank} has lost another rank: {str(error).partition(chr(10))[0]}",
                hint="see that rank's own error above, then run it again; train goes on with "
                "--resume auto",
                code=RANK_LOST,
            ) from error
        raise


@contextmanager
def _joined(device: str | None) -> Iterator[World]:
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if kind.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("there is no GPU that torch can use", hint="run with --device cpu")
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(0, 1, torch.device(kind))
        return
    here = int(os.environ.get("LOCAL_RANK", "0"))
    if kind == "cuda":
        if here >= torch.cuda.device_count():
            raise UsageError(
                f"rank {here} of this machine has no GPU: there are {torch.cuda.device_count()}",
                hint=f"run with --nproc {torch.cuda.device_count()}",
            )
        torch.cuda.set_device(here)
        kind = f"cuda:{here}"
    backend = "nccl" if kind.startswith("cuda") else "gloo"
    dist.init_process_group(backend, timeout=datetime.timedelta(seconds=WAIT))
    try:
        yield World(dist.get_rank(), dist.get_world_size(), torch.device(kind))
    except BaseException:
        # nccl takes its leave together with the others, who are waiting for something else: there
        # the end of this process, which torchrun notices, does it.
        if backend == "gloo":
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def fingerprint(tensors: Iterable[Tensor]) -> bytes:
    """(32,) SHA-256 of the bytes of some tensors."""
    found = hashlib.sha256()
    for each in tensors:
        plain = each.detach().reshape(-1).cpu().contiguous().view(torch.uint8)
        found.update(plain.numpy().tobytes())
    return found.digest()


def _state(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _buckets(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Parameters of one kind together, up to a size: one message in place of hundreds."""
    bucket: list[nn.Parameter] = []
    size = 0
    for each in sorted(parameters, key=lambda parameter: str(parameter.dtype)):
        if bucket and (size + each.numel() > _BUCKET or each.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(each)
        size += each.numel()
    if bucket:
        yield bucket


class _Gather(torch.autograd.Function):
    """all_gather whose backward sums what all ranks want of a part."""

    @staticmethod
    def forward(context: Context, local: Tensor, world: World) -> Tensor:
        context.rank, context.length = world.rank, len(local)  # type: ignore[attr-defined]
        parts = [torch.empty_like(local) for _ in range(world.size)]
        dist.all_gather(parts, local.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Context, *gradients: Tensor) -> tuple[Tensor, None]:
        whole = gradients[0].contiguous()
        dist.all_reduce(whole)
        start = context.rank * context.length  # type: ignore[attr-defined]
        return whole[start : start + context.length], None  # type: ignore[attr-defined]


class _Add(torch.autograd.Function):
    """all_reduce whose backward is one too."""

    @staticmethod
    def forward(context: Context, local: Tensor) -> Tensor:
        whole = local.clone()
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(context: Context, *gradients: Tensor) -> Tensor:
        whole = gradients[0].clone()
        dist.all_reduce(whole)
        return whole
