"""Make the context of the batches in training and validation, and prepare it before training."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr.batch import Batch, Context, KnowsTexts, seeds_of
from lsr.distributed.ranks import on_every_machine
from lsr.guidance.context import context_encoder, drop_context, encode
from lsr.guidance.vocabulary import read_vocabulary
from lsr.models.checkpoint import MODEL_CONFIG
from lsr.models.denoiser import DenoiserConfig
from lsr.models.initialisation import difference

if TYPE_CHECKING:
    from lightning import Trainer


def with_vocabulary(config: DenoiserConfig, path: str | None) -> DenoiserConfig:
    """Return a configuration with the vocabulary of a file.

    Args:
        config: Configuration of a denoiser.
        path: File of tags or captions, see `read_vocabulary`; None returns `config` unchanged.

    Raises:
        ValueError: If the file is missing, damaged or empty.
    """
    if path is None:
        return config
    return replace(config, vocabulary=read_vocabulary(Path(path), config.guidance == "words"))


def check_same_vocabulary(checkpoint: dict[str, Any], config: dict[str, Any]) -> None:
    """Check that the learned embeddings of a checkpoint belong to the vocabulary of a model.

    Args:
        checkpoint: A Lightning checkpoint.
        config: Configuration of the model that will load the weights of the checkpoint.

    Raises:
        ValueError: If the vocabularies differ.
    """
    found = checkpoint.get(MODEL_CONFIG, {}).get("vocabulary", ())
    differing = difference(found, config["vocabulary"])
    if differing:
        raise ValueError(differing)


class Guidance:
    """Make the context of batches, with dropout in training for classifier-free guidance.

    Args:
        config: Configuration of the denoiser.
        null_ratio: Probability in [0, 1] that a training sample loses its context.

    Attributes:
        encoder: The encoder of the context; None for a model without guidance.

    Raises:
        ValueError: If `null_ratio` is out of range, or a vocabulary is missing.
    """

    def __init__(self, config: DenoiserConfig, null_ratio: float) -> None:
        if not 0 <= null_ratio <= 1:
            raise ValueError(f"null_ratio must be in [0, 1], not {null_ratio}")
        self.encoder = context_encoder(config)
        self.null_ratio = null_ratio

    def prepare(self, trainer: "Trainer") -> None:
        """Find the weights of the encoder and encode all texts of the DataModule before training.

        Raises:
            ValueError: If weights are missing or damaged.
        """
        encoder = self.encoder
        data: object = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        if encoder is None:
            return
        encoder.prepare()
        if isinstance(data, KnowsTexts):
            on_every_machine(trainer.strategy, lambda: encoder.prepare_texts(data.texts()))
            if not trainer.is_global_zero:  # finds on the disk what the first ranks have embedded
                encoder.prepare_texts(data.texts())

    def __call__(self, batch: Batch) -> Context | None:
        """Return the context of a batch; None for a model without guidance.

        If the batch has a `context`, it is returned: validation needs it more than once.

        Args:
            batch: A batch with `lr` and, for guidance by texts, `tags`. Missing tags are empty
                texts.
        """
        if "context" in batch:
            return batch["context"]
        if self.encoder is None:
            return None
        return encode(self.encoder, batch.get("tags") or [""] * len(batch["lr"]), batch["lr"])

    def in_training(self, batch: Batch) -> Context | None:
        """Return the context of a training batch, dropped with probability `null_ratio`."""
        context = self(batch)
        return None if context is None else drop_context(context, seeds_of(batch), self.null_ratio)
