"""RealESRGANDataModule: photographs in, training pairs with synthetic real-world degradations out."""

from collections.abc import Iterator, Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader

from datamodules.image_source import ImageSource
from datamodules.pairs import FixedPairs, TrainingPairs
from datamodules.stream import StreamBatchSampler
from lsr.degradations import DegradationConfig


def _single_threaded(worker_id: int) -> None:
    # Several OpenMP pools on the same cores spend their time waiting for each other.
    torch.set_num_threads(1)


class RealESRGANDataModule(L.LightningDataModule):
    """Crops of photographs, degraded as in Real-ESRGAN (arXiv 2107.10833), one degradation per sample.

    The training stream is endless (set `max_steps`) and a function of the seed: the same on any number of ranks and workers,
    and continued exactly by a resumed run. Validation and test pairs are fixed.

    Args:
        train: Training photographs: folders, files, or `bundled:train`.
        val: Validation photographs.
        test: Photographs for `lsr test` and `lsr predict`.
        degradation: Preset of the degradation, see `lsr.degradations.PRESETS`.
        degradation_changes: Fields of `lsr.degradations.DegradationConfig` that differ from the preset.
        scale: Downscaling factor.
        crop_size: Side of the HR crops in training, in pixels.
        val_crop_size: Side of the HR crops in validation and test, in pixels.
        batch_size: Pairs per device and step.
        val_batch_size: Pairs per device in validation.
        num_workers: Worker processes of the training loader.
        seed: Seed of order, crops, degradations and noise.
        cache_gib: Memory for decoded photographs in GiB.
    """

    def __init__(
        self,
        train: Sequence[str] = ("bundled:train",),
        val: Sequence[str] = ("bundled:val",),
        test: Sequence[str] = ("bundled:test",),
        degradation: str = "realesrgan",
        degradation_changes: dict[str, Any] | None = None,
        scale: int = 4,
        crop_size: int = 256,
        val_crop_size: int = 256,
        batch_size: int = 16,
        val_batch_size: int = 4,
        num_workers: int = 4,
        seed: int = 0,
        cache_gib: float = 1.0,
    ) -> None:
        super().__init__()
        for name, side in (("crop_size", crop_size), ("val_crop_size", val_crop_size)):
            if side % scale:
                raise ValueError(f"{name} {side} is not a multiple of scale {scale}")
        self.entries = {"train": train, "val": val, "test": test}
        self.degradation = DegradationConfig.preset(degradation, **{"scale": scale} | (degradation_changes or {}))
        self.crop_size, self.val_crop_size = crop_size, val_crop_size
        self.batch_size, self.val_batch_size = batch_size, val_batch_size
        self.num_workers, self.seed, self.cache_gib = num_workers, seed, cache_gib
        self._training: TrainingPairs | None = None
        self._fixed: dict[str, FixedPairs] = {}
        self._samples_seen = self._batches_before = 0

    def setup(self, stage: str) -> None:
        """Index and read the photographs of the stage ("fit", "validate", "test" or "predict")."""
        if stage == "fit" and self._training is None:
            source = ImageSource(self.entries["train"], self.crop_size, self.cache_gib)
            self._training = TrainingPairs(source, self.degradation, self.crop_size, self.seed)
        split = "val" if stage in ("fit", "validate") else "test"
        if split not in self._fixed:
            source = ImageSource(self.entries[split], self.val_crop_size, self.cache_gib)
            ranks = self.trainer.world_size if self.trainer else 1
            if len(source) < ranks:  # on every rank alike: one without a pair would leave the others waiting
                raise ValueError(f"{ranks} devices need at least as many photographs in {split}, there are {len(source)}")
            self._fixed[split] = FixedPairs(source, self.degradation, self.val_crop_size, self.seed)

    def photographs(self) -> Iterator[np.ndarray]:
        """Yield the training photographs, (H, W, 3) uint8, undegraded."""
        assert self._training is not None
        source = self._training.source
        return (source[index] for index in range(len(source)))

    def state_dict(self) -> dict[str, Any]:
        """Say how far the stream has been used, in samples over all ranks."""
        assert self.trainer is not None
        return {"samples_seen": self._position()}

    def _position(self) -> int:
        assert self.trainer is not None
        batches = self._batches_done() - self._batches_before
        return self._samples_seen + batches * self.batch_size * self.trainer.world_size

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the stream behind the samples that the run has seen."""
        self._samples_seen = state_dict["samples_seen"]

    def train_dataloader(self) -> DataLoader:
        """Return the endless loader of this rank's share of the training stream."""
        assert self.trainer is not None and self._training is not None
        self._batches_before = self._batches_done()
        sampler = StreamBatchSampler(
            len(self._training.source), self.batch_size, self.seed, self.trainer.global_rank, self.trainer.world_size, self._position
        )
        return DataLoader(
            self._training,
            batch_sampler=sampler,
            num_workers=self.num_workers,
            worker_init_fn=_single_threaded,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader:
        """Return the loader of this rank's share of the fixed validation pairs."""
        return self._fixed_loader("val")

    def test_dataloader(self) -> DataLoader:
        """Return the loader of this rank's share of the fixed test pairs."""
        return self._fixed_loader("test")

    def predict_dataloader(self) -> DataLoader:
        """Return the test pairs, of which prediction uses the LR."""
        return self._fixed_loader("test")

    def _fixed_loader(self, split: str) -> DataLoader:
        assert self.trainer is not None
        pairs = self._fixed[split]
        # Every pair on exactly one rank: no padding, which would count some pairs twice.
        share = range(self.trainer.global_rank, len(pairs), self.trainer.world_size)
        return DataLoader(torch.utils.data.Subset(pairs, share), batch_size=self.val_batch_size)

    def _batches_done(self) -> int:
        assert self.trainer is not None
        # "processed" counts the batch whose hooks are running, "completed" does not yet.
        return self.trainer.fit_loop.epoch_loop.batch_progress.total.processed  # pyright: ignore[reportAttributeAccessIssue]
