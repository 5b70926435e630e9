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
    """A copy of scalars on the host, which is complete when `read` returns.

    The copy is queued behind the work that computes the values, and is followed by an event. `read`
    waits for this event only, not for the work that was queued afterwards: one step later the event
    has long happened. Tensors on the CPU are not copied: nobody may change them.

    Args:
        values: Scalars of one dtype on one device.
    """

    def __init__(self, *values: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        self._read: list[float] | None = None
        self._values = values
        if values[0].device.type == "cuda":
            joined = torch.stack(values)
            # Only page-locked memory can be copied to while the host goes on.
            copy = torch.empty(joined.shape, dtype=joined.dtype, pin_memory=True)
            copy.copy_(joined, non_blocking=True)
            self._values = copy.unbind()
            event = torch.cuda.Event()
            event.record(torch.cuda.current_stream(joined.device))
            self._event = event

    def read(self) -> list[float]:
        """Return the values."""
        found = self._read
        if found is None:
            if self._event is not None:
                self._event.synchronize()
            found = self._read = [value.item() for value in self._values]
        return found
