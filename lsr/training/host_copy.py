"""Copy values from a GPU to the host without making the host wait for the GPU."""

import torch
from torch import Tensor


def reads_late(device: torch.device) -> bool:
    """Return whether values of a device are better read one step after they were computed.

    A GPU works through a queue. To read a value at once, the host has to wait until the queue is
    empty; meanwhile it cannot queue the next step. On a CPU there is no queue.
    """
    return device.type == "cuda"


class HostCopy:
    """A copy of a small tensor on the host, which is complete when `read` returns.

    The copy is queued behind the work that computes the values, and is followed by an event. `read`
    waits for this event only, not for the work that was queued afterwards: one step later the event
    has long happened.

    Args:
        values: Tensor (N,) on any device.
    """

    def __init__(self, values: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        self._read: list[float] | None = None
        if values.device.type == "cuda":
            # Only page-locked memory can be copied to while the host goes on.
            self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            event = torch.cuda.Event()
            event.record(torch.cuda.current_stream(values.device))
            self._event = event
        else:
            self._values = values

    def read(self) -> list[float]:
        """Return the values."""
        found = self._read
        if found is None:
            if self._event is not None:
                self._event.synchronize()
            found = self._read = [float(value) for value in self._values.tolist()]
        return found
