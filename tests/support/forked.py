"""Runs a function in several processes that exchange tensors by gloo, forked from the test."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lsr.distributed.processes import Processes, launched
from support.patience import PATIENCE_S
from support.ports import free_port


def in_ranks(size: int, work: Callable[[Processes], Any], folder: Path) -> list[Any]:
    """Return what `work` returns in each process of one run; None if it was killed."""

    def joined() -> Any:
        with launched() as processes:
            return work(processes)

    return forked(size, joined, folder)


def forked(size: int, work: Callable[[], Any], folder: Path) -> list[Any]:
    """Return what `work` returns in each of the processes that `torchrun` might have started.

    Forked processes need not import torch, which takes seconds.
    """
    port = free_port()
    fork = multiprocessing.get_context("fork")
    processes = [
        fork.Process(target=_run, args=(work, rank, size, port, folder)) for rank in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE_S)
        assert process.exitcode is not None, "a process waits for ever"
    files = [folder / f"{rank}.pt" for rank in range(size)]
    return [torch.load(file, weights_only=True) if file.exists() else None for file in files]


def _run(work: Callable[[], Any], rank: int, size: int, port: int, folder: Path) -> None:
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.save(work(), folder / f"{rank}.pt")
