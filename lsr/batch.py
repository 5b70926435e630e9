"""The contract between module and DataModule: a batch, and what each asks of the other.

A DataModule works with `LinearSRModule` if its batches are of type `Batch`. The protocols are
optional: each names what a DataModule, or a module, has to provide for one feature.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, Protocol, TypedDict, runtime_checkable

from torch import Tensor


class Context(NamedTuple):
    """The guidance of a batch of B images, padded to the longest.

    Attributes:
        tokens: Embeddings (B, L, context_dim), or indices of the vocabulary (B, L) int64; L >= 1.
        mask: (B, L) bool, True where a token is not padding.
    """

    tokens: Tensor
    mask: Tensor


class Batch(TypedDict):
    """A batch of B samples for training, validation, test or prediction.

    Attributes:
        lr: Low-resolution images (B, 3, H / scale, W / scale) in [-1, 1].
        seed: Integers (B,) in [0, 2^31). All random numbers of a sample come from its seed.
        host_seeds: The same as a list. `LinearSRModule` adds it before the batch moves to a GPU: to
            read `seed` there, the host would have to wait for the GPU.
        name: B names of samples, such as paths, for reports.
        hr: Ground truth (B, 3, H, W) in [-1, 1]. Needed in training; in validation and test only
            metrics without reference are computed if it is missing.
        latent: Latents (B, C, H / f, W / f) of `hr`, made beforehand by the model's autoencoder.
            In training they are used instead of encoding `hr`.
        teacher: Results of another model (B, 3, H, W) in [-1, 1], targets of a one-step student.
        tags: B texts, each with tags separated by commas, or a caption. Read by models that are
            guided by texts; without it every text is empty.
        context: The guidance that was made of `tags` or `lr`; None for a model without guidance.
            `LinearSRModule` adds it in validation, so that it is computed once.
    """

    lr: Tensor
    seed: Tensor
    host_seeds: NotRequired[list[int]]
    name: NotRequired[list[str]]
    hr: NotRequired[Tensor]
    latent: NotRequired[Tensor]
    teacher: NotRequired[Tensor]
    tags: NotRequired[list[str]]
    context: NotRequired[Context | None]


def seeds_of(batch: Batch) -> list[int]:
    """Return the seeds of a batch, without waiting for a GPU if the batch has `host_seeds`."""
    return batch["host_seeds"] if "host_seeds" in batch else batch["seed"].tolist()


@runtime_checkable
class HasScale(Protocol):
    """A DataModule whose HR images are a fixed number of times larger than its LR images.

    Attributes:
        scale: HR pixels per LR pixel along each axis.
    """

    scale: int


@runtime_checkable
class CutsCrops(Protocol):
    """A DataModule that may train on square crops.

    Attributes:
        crop_size: Side of the HR crops in pixels; None if it trains on whole photographs.
    """

    crop_size: int | None


@runtime_checkable
class HasTeacher(Protocol):
    """A DataModule whose training batches may have a `teacher`.

    Attributes:
        teacher: Folder of the teacher's results; None if the batches have none.
    """

    teacher: Path | None


@runtime_checkable
class CachesLatents(Protocol):
    """A DataModule whose training batches may have a `latent`.

    Attributes:
        latents_made_by: Identity of the autoencoder that made the latents, as returned by
            `DeepCompression.identity`; None if the batches have no `latent`.
    """

    latents_made_by: Mapping[str, Any] | None


@runtime_checkable
class KnowsTexts(Protocol):
    """A DataModule that knows all texts in advance, so that they can be encoded before training."""

    def texts(self) -> Iterator[str]:
        """Yield the text of every photograph: its tags separated by commas, or its caption."""
        ...


@runtime_checkable
class KnowsPhotographs(Protocol):
    """A DataModule with undegraded training photographs, to which NIQE's model can be fitted."""

    def photographs(self) -> Iterator[Any]:
        """Yield photographs as numpy arrays (H, W, 3) of type uint8."""
        ...


@runtime_checkable
class ChoosesBatches(Protocol):
    """A module that trains on a selection of the batches of the DataModule's training stream."""

    def stream_batch(self, k: int) -> int:
        """Return the number of the stream's batch that is the run's batch `k`, both from 0."""
        ...
