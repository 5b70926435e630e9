"""A run that is told to end, as by `kill` or a batch system."""

import os
import signal
import sys

import lightning as L


class Terminated(L.Callback):
    """Sends SIGTERM to its own process after a step."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
            sys.stdout.write("the step goes on\n")


class TerminatedAfterTheLastStep(L.Callback):
    """Sends SIGTERM to its own process when training has ended, but not Lightning's work."""

    def on_train_end(self, trainer, pl_module):
        os.kill(os.getpid(), signal.SIGTERM)
