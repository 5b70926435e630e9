"""LinearSRModule: the loss, the validation and the optimiser. It knows no data set and saves nothing."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer
from torchmetrics import MeanMetric

from lsr.batch import Batch
from lsr.distributed.fsdp import shard
from lsr.distributed.ranks import allow_unused_weights
from lsr.distributed.tensors import gather, whole
from lsr.experts.config import ExpertsConfig
from lsr.experts.run import ExpertRun, check_same_experts
from lsr.flow.noise import seeded_normal
from lsr.flow.training_times import TrainingTimes
from lsr.guidance.conditioning import Guidance, check_same_vocabulary, with_vocabulary
from lsr.images.resampling import upsample_bicubic
from lsr.inference.sampling import super_resolve
from lsr.metrics.cards import without_reference
from lsr.metrics.niqe_fit import fitted_in_run
from lsr.metrics.quality import Quality
from lsr.models.autoencoder_dc import check_same_latents
from lsr.models.checkpoint import MODEL_CONFIG, initialise, model_config
from lsr.models.denoiser import Denoiser, DenoiserConfig, flow_data
from lsr.models.mixture import Model
from lsr.training.divergence import WatchesGradientNorm
from lsr.training.optimizer import OptimizerConfig, build_optimizer
from lsr.training.validation_loss import ValidationLoss

_TIME, _PATH, _START = 0, 1, 2  # uses of a sample's seed; lsr.guidance.context has the fourth

_BICUBIC = "psnr_y_bicubic"


class LinearSRModule(L.LightningModule):
    """Trains a denoiser, or a mixture of them, by conditional flow matching and validates it by super-resolving.

    A batch is a dictionary with `hr` (B, 3, H, W) and `lr` (B, 3, H / scale, W / scale), both in [-1, 1], and `seed` (B,), the
    sample's own source of randomness; for evaluation by metrics without reference `hr` may be missing. In training `latent`, what the
    autoencoder makes of `hr`, may come along to save making it; the data then tell `latents_made_by`. A model with guidance reads
    `tags`, a list of B texts; its `val/loss_other_context` is the loss when every image has its neighbour's. Logs `train/loss`,
    `train/grad_norm`, `train/lr`, `val/loss`, `val/<metric>` and, as the mark to beat, `val/psnr_y_bicubic`; of a second validation
    loader, whose images have no `hr`, `val_real/<metric>`.

    With `experts` (stage 2) every optimiser step trains one expert, see `lsr.experts.turns`: the times of its batches are drawn from
    the expert's share with the density they would have had, and the others are left as they are, without gradients. Logs
    `train/loss_expert_<i>` and `train/grad_norm_expert_<i>`, the latest of each, and `val/loss_expert_<i>`, that at the middle of its
    share before the shift.

    Args:
        denoiser: The model, or each expert of a mixture.
        optimizer: AdamW and its warm-up.
        shift: Shift of the flow times towards noise, in training and sampling.
        logit_mean: Location of the logit-normal density of training times.
        logit_std: Scale of that density.
        terminal_fraction: Part of the training times that are exactly 1, where every sampler starts and the density vanishes:
            what one-step sampling lives on.
        l1_weight: Weight in the training loss of the absolute error of the data that the velocity points to, see `Denoiser.loss`.
        num_inference_steps: Sampling steps in validation.
        sampler: "euler" or "heun".
        align_steps: Let no sampling step straddle a boundary of experts, see `lsr.flow.timesteps.timestep_grid`.
        val_metrics: Metrics of validation and test, see `lsr.metrics.cards.CARDS`; their weights are looked for at the start.
        experts: Grows a mixture of experts from the knee of stage 1; None trains a single denoiser.
        vocabulary: File of the tags, or words, that get embeddings; None takes those that `denoiser` lists.
        null_ratio: Part of the training samples whose guidance is dropped, so that the model also learns to do without.
        guidance_scale: Of classifier-free guidance in sampling, see `lsr.flow.classifier_free`; 1 is without.
        niqe_parameters: NIQE's model of good photographs: a `.mat` file, or "fit" to fit it to the training photographs and
            keep it as `niqe.mat` in the run folder; None takes the published one.
        init_from: Weights to begin with, a model file of this configuration; a run that is continued does not look at it.
        compile: Compile the network with torch.compile.
        compile_autoencoder: Compile the autoencoder too; it has more to compute than the network.
        gradient_checkpointing: Save memory in training at a third more time, see `LinearDiT`.

    Raises:
        ValueError: If a number is out of range, the boundaries of the experts are none, or a vocabulary is unusable.
    """

    def __init__(
        self,
        denoiser: DenoiserConfig = DenoiserConfig(),  # noqa: B008 (frozen)
        optimizer: OptimizerConfig = OptimizerConfig(),  # noqa: B008 (frozen)
        shift: float = 3.0,
        logit_mean: float = 0.0,
        logit_std: float = 1.0,
        terminal_fraction: float = 0.0,
        l1_weight: float = 0.0,
        num_inference_steps: int = 1,
        sampler: Literal["euler", "heun"] = "euler",
        align_steps: bool = False,
        val_metrics: Sequence[str] = ("psnr_y", "ssim_y"),
        experts: ExpertsConfig | None = None,
        vocabulary: str | None = None,
        null_ratio: float = 0.1,
        guidance_scale: float = 1.0,
        niqe_parameters: str | None = None,
        init_from: str | None = None,
        compile: bool = False,
        compile_autoencoder: bool = False,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        denoiser = with_vocabulary(denoiser, vocabulary)
        self.guidance, self.guidance_scale = Guidance(denoiser, null_ratio), guidance_scale
        self.denoiser: Model
        self.expert_run: ExpertRun | None
        if experts is None:
            self.denoiser, self.expert_run = Denoiser(denoiser), None
        else:
            mixture = experts.build(denoiser)
            self.denoiser, self.expert_run = mixture, ExpertRun(experts, mixture)
        self.optimizer_config, self.shift, self._l1_weight, self._align_steps = (
            optimizer,
            shift,
            l1_weight,
            align_steps,
        )
        self._times = TrainingTimes(shift, logit_mean, logit_std, terminal_fraction)
        self._validation_loss = ValidationLoss(self.denoiser, shift)
        self.num_inference_steps, self.sampler = num_inference_steps, sampler
        self.val_metrics, self.niqe_parameters = tuple(val_metrics), niqe_parameters
        if init_from is not None and experts is not None:
            raise ValueError(f"experts grow from experts.seed, not from init_from {init_from}")
        for each in self.denoiser.denoisers:
            each.net.gradient_checkpointing = gradient_checkpointing
        self._compile, self._compile_autoencoder, self._init_from = (
            compile,
            compile_autoencoder,
            init_from,
        )
        self._quality: Quality | None = None
        # Metric objects average over images, not over batches or ranks, whatever their sizes.
        self._means = torch.nn.ModuleDict(
            {
                f"{stage}_{name}": MeanMetric()
                for stage in ("val", "val_real", "test")
                for name in (*self.val_metrics, _BICUBIC, *self._validation_loss.names)
            }
        )

    def configure_model(self) -> None:
        """Compile in place, which keeps the names of the weights, and shard where the strategy does; a second call changes nothing."""
        if self.device_mesh is not None:
            shard(self.denoiser.denoisers, self.device_mesh["data_parallel"])
        if self._compile:
            for denoiser in self.denoiser.denoisers:
                denoiser.net.compile()

    def setup(self, stage: str) -> None:
        """Prepare autoencoder and metrics, so that what they lack is told before training and not after hours.

        Raises:
            ValueError: If a metric is unknown, weights are missing, or the data bring latents of another autoencoder.
        """
        self.denoiser.space.prepare(self._compile_autoencoder)
        self.guidance.prepare(self.trainer)
        if stage == "fit":
            data: object = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
            check_same_latents(self.denoiser.space, data)
        if self.expert_run is not None or (
            self.denoiser.config.context_dim and self.guidance.encoder is None
        ):
            allow_unused_weights(self.trainer.strategy)
        if stage == "predict":
            return
        parameters = None if self.niqe_parameters is None else Path(self.niqe_parameters)
        if self.niqe_parameters == "fit" and "niqe" in self.val_metrics:
            parameters = fitted_in_run(self.trainer, stage)
        self._quality, self._psnr_y = Quality(self.val_metrics, parameters), Quality(("psnr_y",))

    def stream_batch(self, k: int) -> int:
        """Tell the DataModule which batch of the training stream the run's k-th is."""
        per_step: int = self.trainer.accumulate_grad_batches  # pyright: ignore[reportAttributeAccessIssue]
        return k if self.expert_run is None else self.expert_run.turns.stream_batch(k, per_step)

    def on_fit_start(self) -> None:
        """Begin a new run with the weights of `init_from`, or the knee's; by now a checkpoint would be in place.

        Raises:
            ValueError: If they are missing, of another model, or not what was published.
        """
        if self.trainer.ckpt_path is None and self.expert_run is not None:
            self.expert_run.grow()
        elif self.trainer.ckpt_path is None and self._init_from is not None:
            initialise(self.denoiser, Path(self._init_from))  # pyright: ignore[reportArgumentType]

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW with a warm-up that counts optimiser steps."""
        optimizer, schedule = build_optimizer(self.denoiser.denoisers, self.optimizer_config)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by the total norm and log the norm before clipping: one pass over the gradients for both.

        In between, while the gradients are still as they came, tells the norm to every callback with a hook
        `on_gradient_norm(trainer, module, norm)`: the last moment before the optimiser steps, for which Lightning has no hook.
        """
        total = torch.nn.utils.get_total_norm(
            [p.grad for p in self.denoiser.parameters() if p.grad is not None]
        )
        norm = whole(total)
        self._log_step(self.global_step + 1)
        if self.expert_run is not None:
            self.expert_run.keep("grad_norm", self.global_step, norm)
        if self.is_logging_step:
            self.log("train/grad_norm", norm)
            # Each expert has a warm-up of its own.
            trained = (
                group["lr"]
                for group in optimizer.param_groups
                if any(p.grad is not None for p in group["params"])
            )
            self.log("train/lr", max(trained))
            if self.expert_run is not None:
                self.log_dict(dict(self.expert_run.latest))
        for callback in self.trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
            if isinstance(callback, WatchesGradientNorm):
                callback.on_gradient_norm(self.trainer, self, norm)
        if gradient_clip_val:
            torch.nn.utils.clip_grads_with_norm_(
                self.denoiser.parameters(), gradient_clip_val, total
            )

    @property
    def is_logging_step(self) -> bool:
        """Whether what is logged before the optimiser steps now will be kept: a call to `log` costs a fraction of a millisecond."""
        every = self.trainer.log_every_n_steps  # pyright: ignore[reportAttributeAccessIssue]
        return every > 0 and ((self.global_step + 1) % every == 0 or self.trainer.should_stop)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say how to build the model, so that the checkpoint can be used without its experiment file."""
        checkpoint[MODEL_CONFIG] = model_config(self.denoiser, self.shift)
        if self.expert_run is not None:
            self.expert_run.save(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse weights of experts that were trained for other times, or beside others, and embeddings of other tags.

        Raises:
            ValueError: If their boundaries or their vocabulary are not those of this model, or other experts were trained.
        """
        config = model_config(self.denoiser, self.shift)
        check_same_vocabulary(checkpoint, config)
        check_same_experts(checkpoint, config)
        if self.expert_run is not None and self.trainer.state.fn == "fit":  # pyright: ignore[reportAttributeAccessIssue]
            self.expert_run.load(checkpoint)

    def exported(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the weights that inference needs, as they are now, and the configuration that travels with them; see `gather`."""
        return gather(self.denoiser.state_dict()), model_config(self.denoiser, self.shift)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the flow matching loss at one random time per sample."""
        condition = self.denoiser.condition(batch["lr"], *(self.guidance.in_training(batch) or ()))
        if "latent" in batch:
            x_0 = flow_data(batch["latent"], condition, self.denoiser.config)
        else:
            assert "hr" in batch
            x_0 = self.denoiser.encode(batch["hr"], condition)
        seeds = batch["seed"]
        t = self._training_times(seeds)
        noise = seeded_normal(seeds, tuple(x_0.shape[1:]), _PATH, self.device)
        loss = self.denoiser.loss(x_0, noise, t, condition, self._l1_weight).mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(seeds))
        if self.expert_run is not None:
            self.expert_run.keep("loss", self.global_step, loss)
        return loss

    def _training_times(self, seeds: Tensor) -> Tensor:
        z, choice = seeded_normal(seeds, (2,), _TIME, self.device).unbind(1)
        return self._times.draw(
            z,
            choice,
            *(
                (0.0, 1.0)
                if self.expert_run is None
                else self.expert_run.interval(self.global_step)
            ),
        )

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Super-resolve the batch, log its quality, return SR (B, 3, H, W) in [-1, 1]; those of a second loader are `val_real`."""
        return self._evaluate(batch, "val_real" if dataloader_idx else "val")

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """As `validation_step`, on the test photographs."""
        return self._evaluate(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the SR images (B, 3, H, W) in [-1, 1]."""
        return self.super_resolve(batch)

    def super_resolve(self, batch: Batch) -> Tensor:
        """Return SR (B, 3, H, W) in [-1, 1] of the batch's `lr`, with noise from its `seed`."""
        context, mask = self.guidance(batch) or (None, None)
        return super_resolve(
            self.denoiser,
            batch["lr"],
            lambda shape: seeded_normal(batch["seed"], shape, _START, self.device),
            self.num_inference_steps,
            self.shift,
            sampler=self.sampler,
            context=context,
            mask=mask,
            guidance_scale=self.guidance_scale,
            align_steps=self._align_steps,
        )

    def path_noise(self, batch: Batch) -> Callable[[tuple[int, ...]], Tensor]:
        """Return what draws the noise of a validation batch's losses, given the shape of one latent."""
        return lambda shape: seeded_normal(batch["seed"], shape, _PATH, self.device)

    def _evaluate(self, batch: Batch, stage: str) -> Tensor:
        assert self._quality is not None
        if self.trainer.state.fn == "fit" and stage == "val":  # pyright: ignore[reportAttributeAccessIssue]
            self._log_step(self.global_step)
        batch["context"] = self.guidance(batch)  # for the picture, the losses, and callbacks
        sr, hr = self.super_resolve(batch), batch.get("hr")
        scores = self._quality(
            sr, hr, without_reference(self.val_metrics) if stage == "val_real" else None
        )
        if hr is not None:
            scores[_BICUBIC] = self._psnr_y(
                upsample_bicubic(batch["lr"], self.denoiser.config.scale), hr
            )["psnr_y"]
            scores |= self._validation_loss(batch, self.path_noise(batch), batch["context"])
        for name, values in scores.items():
            mean = self._means[f"{stage}_{name}"]
            assert isinstance(mean, MeanMetric)
            mean.update(values)
            self.log(
                f"{stage}/{name}",
                mean,
                prog_bar=name == "psnr_y",
                batch_size=len(values),
                add_dataloader_idx=False,
            )
        return sr

    def _log_step(self, step: int) -> None:
        # Lightning takes the x axis from a value of this name; its own is one short of the optimiser steps done.
        self.log("step", float(step), batch_size=1, reduce_fx="max", add_dataloader_idx=False)
