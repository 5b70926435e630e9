"""From the texts of a batch to the denoiser's context, as training and validation need it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning import Trainer

from lsr.batch import Batch, Context, KnowsTexts
from lsr.distributed.ranks import on_rank_zero
from lsr.guidance.context import context_encoder, drop_context, encode
from lsr.guidance.vocabulary import read_vocabulary
from lsr.models.checkpoint import MODEL_CONFIG, difference
from lsr.models.denoiser import DenoiserConfig


def with_vocabulary(config: DenoiserConfig, path: str | None) -> DenoiserConfig:
    """Return the configuration with the vocabulary that a file has, see `read_vocabulary`; None leaves it as it is.

    Raises:
        ValueError: If the file cannot be used.
    """
    return (
        config
        if path is None
        else replace(config, vocabulary=read_vocabulary(Path(path), config.guidance == "words"))
    )


def check_same_vocabulary(checkpoint: dict[str, Any], config: dict[str, Any]) -> None:
    """Refuse embeddings of other tags.

    Args:
        checkpoint: A Lightning checkpoint.
        config: The configuration of the model that is to take its weights.

    Raises:
        ValueError: If the vocabularies differ.
    """
    if differing := difference(
        checkpoint.get(MODEL_CONFIG, {}).get("vocabulary", ()), config["vocabulary"]
    ):
        raise ValueError(f"the checkpoint has {differing}")


class Guidance:
    """The context of batches.

    Args:
        config: Of the denoiser.
        null_ratio: Part of the training samples that go without.

    Raises:
        ValueError: If `null_ratio` is out of range, or a vocabulary is missing.
    """

    def __init__(self, config: DenoiserConfig, null_ratio: float) -> None:
        if not 0 <= null_ratio <= 1:
            raise ValueError(f"null_ratio must be in [0, 1], not {null_ratio}")
        self.encoder, self.null_ratio = context_encoder(config), null_ratio

    def prepare(self, trainer: Trainer) -> None:
        """Look for what is needed, and do what is slow for the texts of the trainer's photographs: before the first step.

        Raises:
            ValueError: If weights are missing.
        """
        encoder = self.encoder
        data: object = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        if encoder is None:
            return
        encoder.prepare()
        if isinstance(data, KnowsTexts):
            on_rank_zero(trainer.strategy, lambda: encoder.remember(data.texts()))
            if (
                not trainer.is_global_zero
            ):  # it is there by now, but where another machine has a disk of its own
                encoder.remember(data.texts())

    def __call__(self, batch: Batch) -> Context | None:
        """Return the context of a batch with `lr` and, unless its images alone guide, `tags`; None for a model without guidance.

        A batch that has `context` already, for it is asked more than once, keeps it.
        """
        if "context" in batch:
            return batch["context"]
        if self.encoder is None:
            return None
        return encode(self.encoder, batch.get("tags") or [""] * len(batch["lr"]), batch["lr"])

    def in_training(self, batch: Batch) -> Context | None:
        """Return the context, dropped from a part of the samples."""
        context = self(batch)
        return None if context is None else drop_context(context, batch["seed"], self.null_ratio)
