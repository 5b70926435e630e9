"""RealESRGANDataModule: makes LR/HR pairs from photographs by the degradation of Real-ESRGAN."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datamodules.cached_latents import CachedCrops, TargetCrops
from datamodules.crops import FixedCrops, TrainingCrops, degrade, spread
from datamodules.file_index import BUNDLED
from datamodules.image_source import ImageSource, open_index
from datamodules.real_lq import LowQualityPhotographs
from datamodules.sample_stream import MAX_PHOTOGRAPHS, REAL, SampleStreamDataModule, check_sizes
from datamodules.stream_sampler import shares_of
from lsr.batch import Batch
from lsr.datasets.tags import TAGS
from lsr.degradations import DegradationConfig, DegradationParameters
from lsr.images import probe

log = logging.getLogger(__name__)


class RealESRGANDataModule(SampleStreamDataModule):
    """Pairs of photographs and their degraded copies, as in Real-ESRGAN (arXiv 2107.10833).

    A batch has `hr` (B, 3, H, W) and `lr` (B, 3, H / scale, W / scale) in [-1, 1], `seed` (B,) and
    `tags`, a list of B texts, see `lsr.batch.Batch`. Every sample has a degradation of its own, so
    Real-ESRGAN's pool of earlier pairs, which mixes degradations in a batch, is not needed. The
    pairs of validation and test are fixed; they are made once, on the CPU whatever the device is,
    and kept.

    Args:
        train: Training photographs: folders, files, manifests, shards or `bundled:train`, see
            `datamodules.image_source.ImageSource`.
        val: Validation photographs.
        test: Photographs for `lsr test` and `lsr predict`.
        val_real: Folder of real low-resolution photographs without ground truth, for validation in
            addition to `val`; only metrics without reference are computed for them.
        train_weights: Relative frequency of each entry of `train`, in any unit; None draws every
            photograph with the same frequency.
        degradation: Preset of the degradation, see `lsr.degradations.PRESETS`.
        degradation_changes: Fields of `lsr.degradations.DegradationConfig` that differ from the
            preset.
        degrade_on: Place where training pairs are made: one by one in the "workers", or a batch at
            a time on the "device"; "auto" is the device if it is a GPU with float64, so not one of
            Apple's. Both use the same parameters, but a GPU draws other noise fields than a CPU.
        scale: HR pixels per LR pixel along each axis.
        crop_size: Side of the HR crops in training, in pixels.
        val_crop_size: Side of the HR crops in validation and test, in pixels.
        val_real_size: Longest side of the SR images of `val_real`, in pixels; larger photographs
            are cropped to their middle.
        max_images: Largest number of photographs in validation and in test, evenly spread; None
            uses all.
        batch_size: Pairs per device and step.
        val_batch_size: Pairs per device in validation.
        num_workers: Number of worker processes of the training loader.
        seed: Seed of order, crops, degradations and noise in training.
        val_seed: Seed of degradations and noise in validation and test. It is a setting of its own
            so that runs with different `seed` are validated on the same pairs.
        cache_gib: Memory for decoded training photographs in GiB.
        index_cache: Folder of the cache files of `datamodules.file_index.FileIndex`; None is
            `$XDG_CACHE_HOME/linearsr` or `~/.cache/linearsr`.
        tags_file: Name of the list of tags, or of captions, in a folder of photographs.
        latents: Folder of `lsr cache-latents`. A training batch then has `latent` (B, C, h, w) too,
            and all epochs use the crops of the first epochs, see `datamodules.cached_latents`.

    Attributes:
        latents_made_by: See `lsr.batch.CachesLatents`; set by `setup`.

    Raises:
        ValueError: A setting is out of range.
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
            raise ValueError(
                "degradation_changes cannot have scale: set data.init_args.scale instead"
            )
        self.entries = {"train": train, "val": val, "test": test}
        self.degradation = DegradationConfig.preset(
            degradation, scale=scale, **(degradation_changes or {})
        )
        self.scale = scale
        self.degrade_on = degrade_on
        self.crop_size = crop_size
        self.val_crop_size = val_crop_size
        self.max_images = max_images
        self.val_real = Path(val_real) if val_real else None
        self.val_real_size = val_real_size
        self.val_seed = val_seed
        self.cache_gib = cache_gib
        self.index_cache = Path(index_cache) if index_cache else None
        self.tags_file = tags_file
        self.latents = Path(latents) if latents else None
        self.latents_made_by: dict[str, Any] | None = None
        self._weights = train_weights
        self._source: ImageSource | None = None

    def prepare_data(self) -> None:
        """Read the headers of the training photographs on one rank per machine.

        The other ranks then find the sizes in the cache files. A single rank does it in `setup`.
        """
        assert self.trainer is not None
        if self.trainer.state.fn == "fit" and self.trainer.world_size > 1:
            for entry in self._entries("train"):
                open_index(entry, self.index_cache, self.tags_file)

    def setup(self, stage: str) -> None:
        """Index and read the photographs of a stage.

        Args:
            stage: "fit", "validate", "test" or "predict".

        Raises:
            ValueError: No photographs are named or found, libjpeg is to run on a GPU, the latents
                are those of other crops, or a file of `val_real` is not a photograph.
        """
        if stage == "fit" and self._source is None:
            self._open_training()
        split = "val" if stage in ("fit", "validate") else "test"
        if split not in self._fixed:
            self._warn_of_bundled(split)
            # The pairs are kept, so the decoded photographs need not be: cache_gib is 0.
            source = ImageSource(
                self._entries(split), self.val_crop_size, 0, self.index_cache, self.tags_file
            )
            crops = FixedCrops(
                source, self.degradation, self.val_crop_size, self.val_seed, self.max_images
            )
            self._keep_fixed(split, crops)
        if split == "val" and self.val_real is not None and REAL not in self._fixed:
            self._open_real(self.val_real)

    def _open_training(self) -> None:
        on_device = self._on_device()
        if on_device and self._device_type() == "mps":
            raise ValueError(
                "degrade_on: device computes in float64, which Apple's GPUs do not have: "
                "set data.init_args.degrade_on to workers"
            )
        if on_device and self.degradation.jpeg == "libjpeg" and self._device_type() != "cpu":
            raise ValueError(
                "jpeg: libjpeg runs on the CPU only: set degrade_on to workers, or jpeg to true or "
                "compat"
            )
        self._source = ImageSource(
            self._entries("train"), self.crop_size, self.cache_gib, self.index_cache, self.tags_file
        )
        self._lengths = self._source.lengths
        if self._weights is not None:
            self._check_weights(self._weights)
        crops = self._source, self.degradation, self.crop_size, self.seed, on_device
        if self.latents is None:
            self._training = TrainingCrops(*crops)
        else:
            cached = CachedCrops(self.latents, *crops)
            self._training = cached
            self.latents_made_by = cached.latents.plan.autoencoder

    def _open_real(self, folder: Path) -> None:
        side = max(1, self.val_real_size // self.degradation.scale)
        real = LowQualityPhotographs(folder, self.val_seed, self.max_images, side, self.tags_file)
        for path in real.paths:
            # Every rank reads all headers, so that an unreadable file stops all of them now.
            probe(path)
        self._keep_fixed(REAL, real)

    def target_crops(self, draws: int) -> TargetCrops:
        """Return the training targets of the first `draws` epochs; needs no trainer."""
        source = ImageSource(
            self._entries("train"), self.crop_size, self.cache_gib, self.index_cache
        )
        return TargetCrops(
            TrainingCrops(source, self.degradation, self.crop_size, self.seed, deferred=True), draws
        )

    def photographs(self) -> Iterator[np.ndarray]:
        """Yield at most `MAX_PHOTOGRAPHS` undegraded training photographs, (H, W, 3) uint8."""
        assert self._source is not None
        source = self._source
        return (source[index][0] for index in spread(len(source), MAX_PHOTOGRAPHS))

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Batch:
        """Degrade the crops of a batch on the device, if the workers left that to it."""
        if "degradation" not in batch:
            return batch
        parameters = [DegradationParameters.from_json(line) for line in batch.pop("degradation")]
        batch["hr"], batch["lr"] = degrade(batch["hr"], parameters, self.degradation)
        return batch

    def _entries(self, split: str) -> list[str]:
        """Return the entries of a split; ValueError if it has none, or one without a name."""
        entries = self.entries[split]
        if not entries or isinstance(entries, str) or not all(entries):
            raise ValueError(
                f"data.init_args.{split} must be a list of folders, files, shards or "
                f"bundled:{split}, not {entries!r}"
            )
        return list(entries)

    def _warn_of_bundled(self, split: str) -> None:
        """Warn if photographs of the user's are trained on, but a split is still the bundled one.

        That is what an experiment of this repository does if only its `train` is changed.
        """
        assert self.trainer is not None
        own = any(not entry.startswith(BUNDLED) for entry in self.entries["train"] or ())
        bundled = all(entry.startswith(BUNDLED) for entry in self._entries(split))
        if own and bundled and self.trainer.global_rank == 0:
            log.warning(
                "WARNING: training uses your photographs, but %s uses the bundled ones, which "
                "decide %s: set data.init_args.%s to photographs of yours that train does not have",
                split,
                "the metrics and the knee" if split == "val" else "the metrics",
                split,
            )

    def _check_weights(self, weights: Sequence[float]) -> None:
        """Raise ValueError if the weights are unusable, or an entry has no photograph to draw."""
        entries = self._entries("train")
        if len(weights) != len(entries):
            raise ValueError(
                f"train_weights has {len(weights)} weights for the {len(entries)} entries of "
                "train: give one for each entry"
            )
        shares_of(weights)
        for entry, length in zip(entries, self._lengths, strict=True):
            if not length:
                raise ValueError(
                    f"{entry}: no readable photograph of at least {self.crop_size} pixels a side "
                    "(crop_size): remove the entry and its weight, or choose a smaller crop_size"
                )

    def _on_device(self) -> bool:
        if self.degrade_on == "auto":
            return self._device_type() not in ("cpu", "mps")
        return self.degrade_on == "device"

    def _device_type(self) -> str:
        assert self.trainer is not None
        return self.trainer.strategy.root_device.type
