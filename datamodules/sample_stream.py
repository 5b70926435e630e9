"""The common part of the DataModules: an endless training stream, and fixed evaluation samples."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader, Subset

from datamodules.stream_sampler import StreamBatchSampler
from lsr.batch import ChoosesBatches

MAX_PHOTOGRAPHS = 1000
"""Number of photographs that is enough to fit statistics to."""

REAL = "val_real"
"""The split of real photographs without ground truth, for validation in addition to "val"."""


def check_sizes(scale: int, max_images: int | None, **sides: int) -> None:
    """Check settings that several DataModules have in common.

    Args:
        scale: HR pixels per LR pixel along each axis.
        max_images: Largest number of photographs, or None.
        **sides: Sides of HR crops in pixels, by the name of the setting.

    Raises:
        ValueError: `scale` or `max_images` is below 1, or a side is not a positive multiple of
            `scale`.
    """
    if scale < 1:
        raise ValueError(f"scale must be at least 1, not {scale}")
    if max_images is not None and max_images < 1:
        raise ValueError(f"max_images must be at least 1, not {max_images}")
    for name, side in sides.items():
        if side < scale or side % scale:
            raise ValueError(f"{name} must be a positive multiple of scale {scale}, not {side}")


def _single_threaded(worker_id: int) -> None:
    # Several OpenMP pools on the same cores spend their time waiting for each other.
    torch.set_num_threads(1)


class SampleStreamDataModule(L.LightningDataModule):
    """Loaders over data sets that a subclass opens in `setup`.

    The training stream is endless, so the trainer needs `max_steps`. It is a function of the seed:
    it is the same on any number of ranks and workers, and a resumed run continues it exactly, see
    `datamodules.stream_sampler`. A LightningModule that implements `lsr.batch.ChoosesBatches`
    chooses which batches of the stream it trains on.

    Validation, test and prediction visit every sample once, on one of the ranks.

    Args:
        batch_size: Pairs per device and step in training.
        val_batch_size: Samples per device in validation, test and prediction.
        num_workers: Number of worker processes of the training loader.
        seed: Seed of order, crops, degradations and noise.
    """

    def __init__(self, batch_size: int, val_batch_size: int, num_workers: int, seed: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.val_batch_size = val_batch_size
        self.num_workers = num_workers
        self.seed = seed
        self._training: Any = None
        self._lengths: Sequence[int] = ()
        self._weights: Sequence[float] | None = None
        self._fixed: dict[str, Any] = {}
        self._samples_seen = 0
        self._batches_before = 0
        self._streaming = False

    def _keep_fixed(
        self, split: str, samples: Any, sizes: Collection[tuple[int, int]] = ()
    ) -> None:
        """Set the samples of a split that is evaluated on.

        Args:
            split: "val", "test" or `REAL`.
            samples: Data set with a length.
            sizes: The different sizes of the samples, if they are known.

        Raises:
            ValueError: Samples of different sizes would share a batch; or there are fewer samples
                than ranks, because a rank without a sample would leave the others waiting. Every
                rank raises the error.
        """
        if self.val_batch_size > 1 and len(sizes) > 1:
            raise ValueError(
                f"the photographs of {split} have {len(sizes)} different sizes, which do not fit "
                "into one batch: set val_batch_size to 1"
            )
        ranks = self.trainer.world_size if self.trainer else 1
        if len(samples) < ranks:
            raise ValueError(
                f"{split} has {len(samples)} photographs for {ranks} devices: use fewer devices, "
                "or at least one photograph for each"
            )
        self._fixed[split] = samples
        training = f"{sum(self._lengths):,} to train on, " if self._lengths else ""
        rank_zero_info(f"photographs: {training}{len(samples):,} in {split}")

    @property
    def training_lengths(self) -> list[int]:
        """Number of training photographs of each source, which the order of samples depends on."""
        return list(self._lengths)

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the training stream, in samples of all ranks together."""
        return {"samples_seen": self._position()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the position in the training stream, where the next loader begins."""
        self._samples_seen = state_dict["samples_seen"]

    def texts(self) -> Iterator[str]:
        """Yield the text of every photograph that `setup` found, see `lsr.batch.KnowsTexts`."""
        for samples in (self._training, *self._fixed.values()):
            if samples is not None:
                yield from samples.texts()

    def train_dataloader(self) -> DataLoader:
        """Return the endless loader of this rank's part of the training stream."""
        assert self.trainer is not None and self._training is not None
        self._check_end()
        if self._streaming:
            # Lightning makes the loader again in the middle of a run: it continues from here.
            self._samples_seen = self._position()
        self._batches_before = self._batches_done()
        self._streaming = True
        return DataLoader(
            self._training,
            batch_sampler=StreamBatchSampler(
                self._lengths,
                self.batch_size,
                self.seed,
                self.trainer.global_rank,
                self.trainer.world_size,
                self._start,
                self._weights,
                **self._chosen_batches(),
            ),
            num_workers=self.num_workers,
            worker_init_fn=_single_threaded,
            pin_memory=torch.cuda.is_available(),
        )

    def _check_end(self) -> None:
        """Raise ValueError if only a number of epochs would end the run: the stream has none."""
        run: Any = self.trainer  # Lightning does not declare the attribute `limit_train_batches`
        limited = run.overfit_batches or isinstance(run.limit_train_batches, int)
        if run.max_steps == -1 and run.max_epochs not in (None, -1) and not limited:
            raise ValueError(
                f"the training stream has no epochs, so max_epochs {run.max_epochs} would never "
                "end it: set trainer.max_steps"
            )

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        """Return the loader of this rank's validation pairs, and one of its real photographs.

        Without real photographs it is the loader of the pairs alone, not in a list.
        """
        pairs = self._fixed_loader("val")
        return [pairs, self._fixed_loader(REAL)] if REAL in self._fixed else pairs

    def test_dataloader(self) -> DataLoader:
        """Return the loader of this rank's test samples."""
        return self._fixed_loader("test")

    def predict_dataloader(self) -> DataLoader:
        """Return the loader of this rank's test samples; prediction uses only their LR images."""
        return self._fixed_loader("test")

    def _fixed_loader(self, split: str) -> DataLoader:
        assert self.trainer is not None
        samples = self._fixed[split]
        # Every sample is on exactly one rank. A DistributedSampler would repeat some samples to
        # give all ranks the same number, and these would count twice in the metrics.
        share = range(self.trainer.global_rank, len(samples), self.trainer.world_size)
        return DataLoader(
            Subset(samples, share), batch_size=1 if split == REAL else self.val_batch_size
        )

    def _chosen_batches(self) -> dict[str, Any]:
        """Return the argument `batches` of the sampler, if the module chooses its batches."""
        assert self.trainer is not None
        module: object = self.trainer.lightning_module
        return {"batches": module.stream_batch} if isinstance(module, ChoosesBatches) else {}

    def _start(self) -> int:
        """Return the position at which an epoch begins: with `overfit_batches` always the first."""
        run: Any = self.trainer  # Lightning does not declare the attribute `overfit_batches`
        return 0 if run.overfit_batches else self._position()

    def _position(self) -> int:
        """Return the position in the stream, in samples of all ranks together."""
        assert self.trainer is not None
        batches = self._batches_done() - self._batches_before
        return self._samples_seen + batches * self.batch_size * self.trainer.world_size

    def _batches_done(self) -> int:
        """Return the number of training batches of the run, counted by the trainer."""
        assert self.trainer is not None
        # A checkpoint may be written while the hooks of a batch run. "processed" counts that batch
        # already, "completed" does not.
        run: Any = self.trainer  # Lightning does not declare the attribute `fit_loop`
        return run.fit_loop.epoch_loop.batch_progress.total.processed
