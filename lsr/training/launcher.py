"""Processes that torchrun, srun or mpirun started: they form one run, or they are refused."""

import os
from typing import Any

import lightning as L
from lightning.pytorch.accelerators import CPUAccelerator

_SIZES = ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
"""Variables in which launchers write the number of processes; torchrun comes first."""

_RANKS_PER_CORE = 4
"""Most processes per core: more of them have no use, and may use up the memory of the machine."""


def devices_of_torchrun(chosen: dict[str, Any]) -> dict[str, int]:
    """Return the settings of the trainer by which the processes of torchrun form one run.

    Args:
        chosen: The trainer's settings. Settings that the user changed are not overridden.

    Returns:
        `devices` and `num_nodes`, or fewer; nothing without torchrun.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return {}
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    nodes = int(os.environ["WORLD_SIZE"]) // here
    found = {}
    if chosen["devices"] in ("auto", -1, "-1"):
        found["devices"] = here
    if chosen["num_nodes"] == 1:
        found["num_nodes"] = nodes
    return found


def check_one_run(trainer: L.Trainer) -> None:
    """Check that the trainer knows of all the processes that a launcher started.

    Raises:
        ValueError: If the trainer counts fewer ranks: each process would be a run of its own.
    """
    started = next((int(os.environ[name]) for name in _SIZES if os.environ.get(name)), 1)
    if trainer.world_size < started:
        raise ValueError(
            f"{started} processes were started, but --trainer.devices {trainer.num_devices} and "
            f"--trainer.num_nodes {trainer.num_nodes} make a run of {trainer.world_size}: give the "
            "number of processes of each machine as devices, and of machines as num_nodes"
        )


def check_cores(trainer: L.Trainer) -> None:
    """Check that a run without a GPU does not start far more processes than there are cores.

    Raises:
        ValueError: If it does.
    """
    cores = os.cpu_count() or 1
    if isinstance(trainer.accelerator, CPUAccelerator) and (
        trainer.num_devices > _RANKS_PER_CORE * cores
    ):
        raise ValueError(
            f"--trainer.devices {trainer.num_devices} starts that many processes on the {cores} "
            f"cores of this machine: give {_RANKS_PER_CORE * cores} at most"
        )
