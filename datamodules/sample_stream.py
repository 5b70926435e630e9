"""What every DataModule of this package does alike: an endless training stream that resumes, and fixed pairs that ranks share."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader, Subset

from datamodules.stream import StreamBatchSampler
from lsr.batch import ChoosesBatches

MAX_PHOTOGRAPHS = 1000
"""Photographs that are enough to fit statistics to."""

REAL = "val_real"
"""The split of real photographs without ground truth that are validated on beside those of "val"."""


def check_sizes(scale: int, max_images: int | None, **sides: int) -> None:
    """Check settings that several DataModules have.

    Raises:
        ValueError: If `scale` or `max_images` is below 1, or a side is no positive multiple of `scale`.
    """
    if scale < 1:
        raise ValueError(f"scale must be at least 1, not {scale}")
    if max_images is not None and max_images < 1:
        raise ValueError(f"max_images must be at least 1, not {max_images}")
    for name, side in sides.items():
        if side < scale or side % scale:
            raise ValueError(f"{name} {side} is not a multiple of scale {scale}")


def _single_threaded(worker_id: int) -> None:
    # Several OpenMP pools on the same cores spend their time waiting for each other.
    torch.set_num_threads(1)


class SampleStreamDataModule(L.LightningDataModule):
    """Loaders over data sets that a subclass opens in `setup`.

    The training stream is endless (set `max_steps`) and a function of the seed: the same on any number of ranks and workers,
    and continued exactly by a resumed run. A module with a method `stream_batch(k)` chooses which of its batches the run's k-th is.
    Validation, test and prediction visit every sample once, each on one rank.

    Args:
        batch_size: Pairs per device and step.
        val_batch_size: Samples per device in validation, test and prediction.
        num_workers: Worker processes of the training loader.
        seed: Seed of order, crops, degradations and noise.
    """

    def __init__(self, batch_size: int, val_batch_size: int, num_workers: int, seed: int) -> None:
        super().__init__()
        self.batch_size, self.val_batch_size = batch_size, val_batch_size
        self.num_workers, self.seed = num_workers, seed
        self._training: Any = None
        self._lengths: Sequence[int] = ()
        self._weights: Sequence[float] | None = None
        self._fixed: dict[str, Any] = {}
        self._samples_seen = self._batches_before = 0
        self._streaming = False

    def _keep_fixed(
        self, split: str, samples: Any, sizes: Collection[tuple[int, int]] = ()
    ) -> None:
        """Take the samples of "val", "test" or `REAL`, a sized data set, and the sizes that they have.

        Raises:
            ValueError: On every rank alike: if there are fewer than ranks, for one without a sample would leave the others waiting;
                or if samples of different sizes are to share a batch.
        """
        if self.val_batch_size > 1 and len(sizes) > 1:
            raise ValueError(
                f"photographs of {len(sizes)} different sizes in {split} do not fit into batches: set val_batch_size to 1"
            )
        ranks = self.trainer.world_size if self.trainer else 1
        if len(samples) < ranks:
            raise ValueError(
                f"{ranks} devices need at least as many photographs in {split}, there are {len(samples)}"
            )
        self._fixed[split] = samples
        training = f"{sum(self._lengths):,} to train on, " if self._lengths else ""
        rank_zero_info(f"photographs: {training}{len(samples):,} in {split}")

    def state_dict(self) -> dict[str, Any]:
        """Say how far the stream has been used, in samples over all ranks."""
        return {"samples_seen": self._position()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the stream behind the samples that the run has seen."""
        self._samples_seen = state_dict["samples_seen"]

    def texts(self) -> Iterator[str]:
        """Yield the tags, separated by commas, of every photograph that has been opened, for what is to be known before the first batch."""
        for samples in (self._training, *self._fixed.values()):
            if samples is not None:
                yield from samples.texts()

    def train_dataloader(self) -> DataLoader:
        """Return the endless loader of this rank's share of the training stream."""
        assert self.trainer is not None and self._training is not None
        if self._streaming:  # the loader is made again in the middle of a run
            self._samples_seen = self._position()
        self._batches_before, self._streaming = self._batches_done(), True
        rank, ranks = self.trainer.global_rank, self.trainer.world_size
        return DataLoader(
            self._training,
            batch_sampler=StreamBatchSampler(
                self._lengths,
                self.batch_size,
                self.seed,
                rank,
                ranks,
                self._position,
                self._weights,
                **self._choice(),
            ),
            num_workers=self.num_workers,
            worker_init_fn=_single_threaded,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        """Return the loader of this rank's share of the fixed validation samples, and one of real photographs where there are some."""
        pairs = self._fixed_loader("val")
        return [pairs, self._fixed_loader(REAL)] if REAL in self._fixed else pairs

    def test_dataloader(self) -> DataLoader:
        """Return the loader of this rank's share of the fixed test samples."""
        return self._fixed_loader("test")

    def predict_dataloader(self) -> DataLoader:
        """Return the test samples, of which prediction uses the LR."""
        return self._fixed_loader("test")

    def _fixed_loader(self, split: str) -> DataLoader:
        assert self.trainer is not None
        samples = self._fixed[split]
        # Every sample on exactly one rank: no padding, which would count some twice.
        share = range(self.trainer.global_rank, len(samples), self.trainer.world_size)
        return DataLoader(
            Subset(samples, share), batch_size=1 if split == REAL else self.val_batch_size
        )

    def _choice(self) -> dict[str, Any]:
        assert self.trainer is not None
        module: object = self.trainer.lightning_module
        return {"batches": module.stream_batch} if isinstance(module, ChoosesBatches) else {}

    def _position(self) -> int:
        assert self.trainer is not None
        batches = self._batches_done() - self._batches_before
        return self._samples_seen + batches * self.batch_size * self.trainer.world_size

    def _batches_done(self) -> int:
        assert self.trainer is not None
        # "processed" counts the batch whose hooks are running, "completed" does not yet.
        return self.trainer.fit_loop.epoch_loop.batch_progress.total.processed  # pyright: ignore[reportAttributeAccessIssue]
