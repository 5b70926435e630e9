"""Scores of validation and test images, and their means over all images."""

from collections.abc import Callable, Sequence
from pathlib import Path

import lightning as L
from torch import Tensor, nn
from torchmetrics import MeanMetric

from lsr.batch import Batch
from lsr.images.resampling import upsample_bicubic
from lsr.metrics.cards import without_reference
from lsr.metrics.niqe_fit import fitted_in_run
from lsr.metrics.quality import Quality
from lsr.training.validation_loss import ValidationLoss

STAGES = ("val", "val_real", "test")
"""Sets of images with means of their own. Those of "val_real" have no ground truth."""

BICUBIC = "psnr_y_bicubic"
"""PSNR-Y of bicubic upsampling, the baseline of `psnr_y`."""


class Scores(nn.Module):
    """Scores each image of a batch, and averages the scores over the images of a stage.

    The scores are the metrics, and for images with ground truth also the flow matching losses and
    the PSNR-Y of bicubic upsampling.

    Args:
        metrics: Metrics, see `lsr.metrics.cards.CARDS`.
        loss: The losses.
        scale: Upsampling factor of the model.
        niqe_parameters: NIQE's model of good photographs: a `.mat` file, or "fit" to fit it to the
            training photographs and write it to `niqe.mat` in the run folder; None takes the
            published one.
    """

    def __init__(
        self,
        metrics: Sequence[str],
        loss: ValidationLoss,
        scale: int,
        niqe_parameters: str | None = None,
    ) -> None:
        super().__init__()
        self.metrics = tuple(metrics)
        self.loss = loss
        self.scale = scale
        self.niqe_parameters = niqe_parameters
        self._quality: Quality | None = None
        # Metric objects average over images, whatever the sizes of batches and shares of ranks.
        self.means = nn.ModuleDict(
            {
                f"{stage}_{name}": MeanMetric(nan_strategy="disable")
                for stage in STAGES
                for name in (*self.metrics, BICUBIC, *loss.names)
            }
        )

    def prepare(self, trainer: L.Trainer, stage: str) -> None:
        """Load the metrics.

        If `niqe_parameters` is "fit", NIQE's model is `niqe.mat` in the run folder. Training makes
        the file if it is missing.

        Raises:
            ValueError: If a metric is unknown, its weights or `niqe.mat` are missing, or NIQE
                cannot be fitted.
        """
        parameters = None if self.niqe_parameters is None else Path(self.niqe_parameters)
        if self.niqe_parameters == "fit" and "niqe" in self.metrics:
            parameters = fitted_in_run(trainer, stage)
        self._quality = Quality(self.metrics, parameters)
        self._psnr_y = Quality(("psnr_y",))

    def forward(
        self,
        batch: Batch,
        sr: Tensor,
        stage: str,
        draw_noise: Callable[[tuple[int, ...]], Tensor],
    ) -> dict[str, Tensor]:
        """Return the scores (n,) of a batch by name; n is at most the batch size.

        An SR image without texture has no NIQE, and is left out of the values of NIQE. An SR image
        with NaN has the score NaN in all metrics, so that their means become NaN and
        `KneePointCallback` ends the run as diverged.

        Args:
            batch: The batch, with its `context`.
            sr: SR images (B, 3, H, W) in [-1, 1].
            stage: One of `STAGES`.
            draw_noise: See `ValidationLoss`.
        """
        assert self._quality is not None
        hr = batch.get("hr")
        names = without_reference(self.metrics) if stage == "val_real" else None
        has_nan = sr.flatten(1).isnan().any(1)
        scores = {
            name: values[has_nan | ~values.isnan()]
            for name, values in self._quality(sr, hr, names, batch["lr"]).items()
        }
        if hr is not None:
            bicubic = upsample_bicubic(batch["lr"], self.scale)
            scores[BICUBIC] = self._psnr_y(bicubic, hr)["psnr_y"]
            scores |= self.loss(batch, draw_noise, batch.get("context"))
        return scores

    def mean(self, stage: str, name: str, values: Tensor) -> MeanMetric:
        """Add the scores (n,) of a batch to a metric's mean in a stage; return that mean."""
        mean = self.means[f"{stage}_{name}"]
        assert isinstance(mean, MeanMetric)
        mean.update(values)
        return mean
