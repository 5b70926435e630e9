"""RealESRGANDataModule: photographs in, training pairs with synthetic real-world degradations out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datamodules.cached_latents import CachedCrops, TargetCrops
from datamodules.image_source import ImageSource, open_index
from datamodules.pairs import FixedCrops, TrainingCrops, degrade, spread
from datamodules.real_lq import LowQualityPhotographs
from datamodules.sample_stream import MAX_PHOTOGRAPHS, REAL, SampleStreamDataModule, check_sizes
from datamodules.stream import shares_of
from lsr.batch import Batch
from lsr.datasets.tags import TAGS
from lsr.degradations import DegradationConfig, DegradationParameters
from lsr.images import probe


class RealESRGANDataModule(SampleStreamDataModule):
    """Crops of photographs, degraded as in Real-ESRGAN (arXiv 2107.10833), one degradation per sample.

    A batch has `hr` (B, 3, H, W) and `lr` (B, 3, H / scale, W / scale) in [-1, 1], `seed` (B,) and `tags`, a list of B strings.
    Every sample has parameters of its own, so no pool of past pairs is needed to mix degradations within a batch. Validation and
    test pairs are fixed, made once on the CPU whatever the device, and kept.

    Args:
        train: Training photographs: folders, files, manifests, shards or `bundled:train`, see `ImageSource`.
        val: Validation photographs.
        test: Photographs for `lsr test` and `lsr predict`.
        val_real: Folder of real low-resolution photographs without ground truth, to validate on beside those of `val` by the metrics
            that need none.
        train_weights: How often each entry of `train` is drawn from, in any unit; None draws every photograph as often.
        degradation: Preset of the degradation, see `lsr.degradations.PRESETS`.
        degradation_changes: Fields of `lsr.degradations.DegradationConfig` that differ from the preset.
        degrade_on: Where training pairs are made: in the "workers", one by one, or on the "device", a batch at a time; "auto" is
            the device if it is not the CPU. Both use the same parameters; the fields of noise are those of the kind of device.
        scale: Downscaling factor.
        crop_size: Side of the HR crops in training, in pixels.
        val_crop_size: Side of the HR crops in validation and test, in pixels.
        val_real_size: Longest side of the SR images of `val_real`, in pixels; of larger ones the middle is used.
        max_images: Photographs used in validation at most, evenly spread, and in test; None uses all.
        batch_size: Pairs per device and step.
        val_batch_size: Pairs per device in validation.
        num_workers: Worker processes of the training loader.
        seed: Seed of order, crops, degradations and noise in training.
        val_seed: Seed of degradations and noise in validation and test: those of runs with different seeds are the same.
        cache_gib: Memory for decoded photographs in GiB.
        index_cache: Folder of remembered file indices; None is `~/.cache/linearsr`.
        tags_file: Name of the list of tags, or of captions, in a folder of photographs.
        latents: Folder of `lsr cache-latents`: a batch of training has `latent` (B, C, h, w) too, and its crops are those of the
            first draws over and over.

    Raises:
        ValueError: If a setting is out of range.
    """

    def __init__(
        self,
        train: Sequence[str] = ("bundled:train",),
        val: Sequence[str] = ("bundled:val",),
        test: Sequence[str] = ("bundled:test",),
        val_real: str | None = None,
        train_weights: Sequence[float] | None = None,
        degradation: str = "realesrgan",
        degradation_changes: dict[str, Any] | None = None,
        degrade_on: Literal["auto", "workers", "device"] = "auto",
        scale: int = 4,
        crop_size: int = 256,
        val_crop_size: int = 256,
        val_real_size: int = 512,
        max_images: int | None = None,
        batch_size: int = 16,
        val_batch_size: int = 4,
        num_workers: int = 4,
        seed: int = 0,
        val_seed: int = 0,
        cache_gib: float = 1.0,
        index_cache: str | None = None,
        tags_file: str = TAGS,
        latents: str | None = None,
    ) -> None:
        super().__init__(batch_size, val_batch_size, num_workers, seed)
        check_sizes(scale, max_images, crop_size=crop_size, val_crop_size=val_crop_size)
        if degrade_on not in ("auto", "workers", "device"):
            raise ValueError(f"degrade_on must be auto, workers or device, not {degrade_on!r}")
        if "scale" in (degradation_changes or {}):
            raise ValueError("degradation_changes: scale is a setting of its own")
        self.entries = {"train": train, "val": val, "test": test}
        self.degradation = DegradationConfig.preset(
            degradation, scale=scale, **(degradation_changes or {})
        )
        self.degrade_on = degrade_on
        self.crop_size, self.val_crop_size, self.max_images = crop_size, val_crop_size, max_images
        self.val_real, self.val_real_size = Path(val_real) if val_real else None, val_real_size
        self.val_seed, self.cache_gib, self.index_cache = (
            val_seed,
            cache_gib,
            Path(index_cache) if index_cache else None,
        )
        self.tags_file = tags_file
        self.latents = Path(latents) if latents else None
        self.latents_made_by: dict[str, Any] | None = None
        self._weights = train_weights
        self._source: ImageSource | None = None

    def prepare_data(self) -> None:
        """Read the headers of the training photographs once per machine, where several ranks train; each then finds them remembered."""
        assert self.trainer is not None
        if self.trainer.state.fn == "fit" and self.trainer.world_size > 1:
            for entry in self.entries["train"]:
                open_index(entry, self.index_cache, self.tags_file)

    def setup(self, stage: str) -> None:
        """Index and read the photographs of the stage ("fit", "validate", "test" or "predict").

        Raises:
            ValueError: If there are none, libjpeg is to run on a GPU, the latents are of other crops, or a file of `val_real` is no
                photograph.
        """
        if stage == "fit" and self._source is None:
            if (
                self._on_device()
                and self.degradation.jpeg == "libjpeg"
                and self._device_type() != "cpu"
            ):
                raise ValueError(
                    "libjpeg runs on the CPU: choose degrade_on workers, or jpeg true or compat"
                )
            self._source = ImageSource(
                self.entries["train"],
                self.crop_size,
                self.cache_gib,
                self.index_cache,
                self.tags_file,
            )
            self._lengths = self._source.lengths
            if self._weights is not None:
                self._check_weights()
            crops = self._source, self.degradation, self.crop_size, self.seed, self._on_device()
            if self.latents is None:
                self._training = TrainingCrops(*crops)
            else:
                self._training = cached = CachedCrops(self.latents, *crops)
                self.latents_made_by = cached.latents.plan.autoencoder
        split = "val" if stage in ("fit", "validate") else "test"
        if split not in self._fixed:
            # The pairs are kept, so the photographs need not be.
            source = ImageSource(
                self.entries[split], self.val_crop_size, 0, self.index_cache, self.tags_file
            )
            self._keep_fixed(
                split,
                FixedCrops(
                    source, self.degradation, self.val_crop_size, self.val_seed, self.max_images
                ),
            )
        if split == "val" and self.val_real is not None and REAL not in self._fixed:
            side = max(1, self.val_real_size // self.degradation.scale)
            real = LowQualityPhotographs(
                self.val_real, self.val_seed, self.max_images, side, self.tags_file
            )
            for path in real.paths:
                probe(path)  # a file that is none is told now, and on every rank
            self._keep_fixed(REAL, real)

    def target_crops(self, draws: int) -> TargetCrops:
        """Return the targets of the first draws of every training photograph; needs no trainer."""
        source = ImageSource(
            self.entries["train"], self.crop_size, self.cache_gib, self.index_cache
        )
        return TargetCrops(
            TrainingCrops(source, self.degradation, self.crop_size, self.seed, deferred=True), draws
        )

    def photographs(self) -> Iterator[np.ndarray]:
        """Yield training photographs, (H, W, 3) uint8, undegraded, at most `MAX_PHOTOGRAPHS`, evenly spread."""
        assert self._source is not None
        source = self._source
        return (source[index][0] for index in spread(len(source), MAX_PHOTOGRAPHS))

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Batch:
        """Degrade on the device what the workers left undegraded."""
        if "degradation" not in batch:
            return batch
        parameters = [DegradationParameters.from_json(line) for line in batch.pop("degradation")]
        batch["hr"], batch["lr"] = degrade(batch["hr"], parameters, self.degradation)
        return batch

    def _check_weights(self) -> None:
        assert self._weights is not None
        entries = list(self.entries["train"])
        if len(self._weights) != len(entries):
            raise ValueError(
                f"train_weights has {len(self._weights)} weights for {len(entries)} entries of train"
            )
        shares_of(self._weights)
        for entry, length in zip(entries, self._lengths, strict=True):
            if not length:
                raise ValueError(
                    f"{entry}: no photograph of at least {self.crop_size} pixels a side to draw from"
                )

    def _on_device(self) -> bool:
        return self.degrade_on == "device" or (
            self.degrade_on == "auto" and self._device_type() != "cpu"
        )

    def _device_type(self) -> str:
        assert self.trainer is not None
        return self.trainer.strategy.root_device.type
