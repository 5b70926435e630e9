"""LinearSRModule: training, validation and prediction of a denoiser, or of a mixture of experts."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import lightning as L
from torch import Tensor
from torch.optim import Optimizer

from lsr.batch import Batch, seeds_of
from lsr.distributed.fsdp import shard
from lsr.distributed.ranks import allow_unused_weights
from lsr.distributed.tensors import gather
from lsr.experts.config import ExpertsConfig
from lsr.experts.run import ExpertRun, check_same_experts
from lsr.flow.noise import seeded_normal
from lsr.flow.training_times import TrainingTimes
from lsr.guidance.conditioning import Guidance, check_same_vocabulary, with_vocabulary
from lsr.inference.sampling import super_resolve
from lsr.models.checkpoint import MODEL_CONFIG, model_config
from lsr.models.denoiser import Denoiser, DenoiserConfig
from lsr.models.initialisation import initialise
from lsr.models.mixture import Model
from lsr.training.batch_data import check_batch, check_data, data_of_batch
from lsr.training.gradients import clip_gradients, log_step
from lsr.training.loss_log import LossLog
from lsr.training.optimizer import OptimizerConfig, build_optimizer
from lsr.training.scores import Scores
from lsr.training.supported import check_precision
from lsr.training.validation_loss import ValidationLoss

# Uses of a sample's seed, see `seeded_normal`. lsr.guidance.context has number 3.
_TIME, _PATH, _START = 0, 1, 2


class LinearSRModule(L.LightningModule):
    """Trains a denoiser by conditional flow matching, and validates it by super-resolving images.

    Batches are of type `lsr.batch.Batch`. Logs `train/loss`, `train/grad_norm`, `train/lr`,
    `val/loss`, `val/<metric>` and the baseline `val/psnr_y_bicubic`; for a second validation
    loader, whose images have no ground truth, `val_real/<metric>`; with guidance also
    `val/loss_other_context`, the loss when every image gets the guidance of its neighbour.

    With `experts` (stage 2) the denoiser is a mixture, and every optimiser step trains one expert,
    see `lsr.experts.turns`. The times of its batches are drawn from the expert's interval, with the
    density of `TrainingTimes` restricted to it. The other experts get no gradients and do not
    change. Also logs the latest `train/loss_expert_<i>` and `train/grad_norm_expert_<i>` of every
    expert, and `val/loss_expert_<i>`, the loss at the middle of its interval before the shift.

    Args:
        denoiser: Configuration of the denoiser, or of each expert of a mixture.
        optimizer: Settings of AdamW and its warm-up.
        shift: Shift of the flow times towards noise, in training and sampling.
        logit_mean: Location of the logit-normal density of the training times.
        logit_std: Scale of that density.
        terminal_fraction: Fraction of the training times that are exactly 1. Samplers start there,
            but the density is 0 there: for one-step sampling set it above 0.
        l1_weight: Weight of the absolute error of the predicted data in the training loss, see
            `Denoiser.loss`.
        num_inference_steps: Number of sampling steps in validation.
        sampler: "euler" or "heun".
        align_steps: Whether steps end where experts meet, see `lsr.flow.timesteps.timestep_grid`.
        val_metrics: Metrics of validation and test, see `lsr.metrics.cards.CARDS`.
        experts: Configuration of the experts, which start as copies of the knee of stage 1; None
            trains a single denoiser.
        vocabulary: File of the tags or words with learned embeddings; None: those of `denoiser`.
        null_ratio: Fraction of the training samples that lose their guidance.
        guidance_scale: Scale of classifier-free guidance in sampling, see
            `lsr.flow.classifier_free`; 1 turns it off.
        niqe_parameters: `.mat` file of NIQE's model of good photographs, or "fit" to fit it to the
            training photographs, see `Scores`; None takes the published model.
        init_from: Model file whose weights a new run starts from; a resumed run ignores it.
        compile: Whether to compile the network with torch.compile.
        compile_autoencoder: Whether to compile the autoencoder too.
        gradient_checkpointing: Whether to save memory; a step then takes a third longer.

    Raises:
        ValueError: If a number is out of range, or the boundaries or the vocabulary are unusable.
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
        if init_from is not None and experts is not None:
            raise ValueError(f"experts start from experts.seed: leave out init_from {init_from}")
        denoiser = with_vocabulary(denoiser, vocabulary)
        self.guidance = Guidance(denoiser, null_ratio)
        mixture = None if experts is None else experts.build(denoiser)
        self.known_norm: Tensor | None = None  # see lsr.training.known_norm
        self.denoiser: Model = mixture or Denoiser(denoiser)
        self.expert_run = ExpertRun(experts, mixture) if experts and mixture else None
        for each in self.denoiser.denoisers:
            each.net.gradient_checkpointing = gradient_checkpointing
        self.optimizer_config = optimizer
        self.shift = shift
        self.num_inference_steps = num_inference_steps
        self.sampler = sampler
        self.guidance_scale = guidance_scale
        self._l1_weight = l1_weight
        self._align_steps = align_steps
        self._init_from = init_from
        self._compile = compile
        self._compile_autoencoder = compile_autoencoder
        self._loss_log = LossLog()
        self._times = TrainingTimes(shift, logit_mean, logit_std, terminal_fraction)
        loss = ValidationLoss(self.denoiser, shift)
        self.scores = Scores(val_metrics, loss, denoiser.scale, niqe_parameters)

    def configure_model(self) -> None:
        """Shard the denoiser if the strategy does, and compile it.

        Compiling in place keeps the names of the weights. A second call changes nothing.
        """
        if self.device_mesh is not None:
            shard(self.denoiser.denoisers, self.device_mesh["data_parallel"])
        if self._compile:
            for denoiser in self.denoiser.denoisers:
                denoiser.net.compile()

    def setup(self, stage: str) -> None:
        """Load autoencoder, guidance and metrics: what is missing is reported before training.

        Raises:
            ValueError: If a metric is unknown, weights are missing, or the data are of another
                scale or autoencoder.
        """
        check_data(self.trainer, self.denoiser, stage)
        self.denoiser.space.prepare(self._compile_autoencoder)
        self.guidance.prepare(self.trainer)
        # DDP has to expect weights without gradients: of the experts that a step does not train,
        # and of a cross-attention that never gets a context.
        never_guided = self.denoiser.config.context_dim and self.guidance.encoder is None
        if self.expert_run is not None or never_guided:
            allow_unused_weights(self.trainer.strategy)
        if stage != "predict":
            self.scores.prepare(self.trainer, stage)

    def stream_batch(self, k: int) -> int:
        """Return the number of the training stream's batch that is the run's batch `k`."""
        if self.expert_run is None:
            return k
        trainer: Any = self.trainer  # Lightning does not declare accumulate_grad_batches
        return self.expert_run.turns.stream_batch(k, trainer.accumulate_grad_batches)

    def on_fit_start(self) -> None:
        """Start a new run from the weights of `init_from`, or of the knee.

        Raises:
            ValueError: If they are missing, changed or of another model; for an unusable precision.
        """
        check_precision(self)
        self.known_norm = None
        if self.trainer.ckpt_path is None and self.expert_run is not None:
            self.expert_run.grow()
        elif self.trainer.ckpt_path is None and self._init_from is not None:
            initialise(self.denoiser, Path(self._init_from))  # pyright: ignore[reportArgumentType]

    def configure_optimizers(self) -> dict[str, Any]:
        """Return AdamW and its warm-up, which counts optimiser steps."""
        optimizer, schedule = build_optimizer(self.denoiser.denoisers, self.optimizer_config)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Log the total norm of the gradients, and clip them, see `clip_gradients`."""
        clip_gradients(self, optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the model's configuration: the checkpoint can be used without its YAML file."""
        checkpoint[MODEL_CONFIG] = model_config(self.denoiser, self.shift)
        if self.expert_run is not None:
            self.expert_run.save(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint fits the model, and restore the state of the experts' run.

        Raises:
            ValueError: If its boundaries between experts or its vocabulary are not those of this
                model, or if other experts were trained.
        """
        config = model_config(self.denoiser, self.shift)
        check_same_vocabulary(checkpoint, config)
        check_same_experts(checkpoint, config)
        if self.expert_run is not None:
            self.expert_run.load(checkpoint, self._is_fitting)

    def exported(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the current weights of the denoiser, and the model's configuration.

        Every rank has to call this: sharded weights are gathered, see `gather`.
        """
        return gather(self.denoiser.state_dict()), model_config(self.denoiser, self.shift)

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Keep the seeds on the host, which reads them in every step."""
        return {**batch, "host_seeds": seeds_of(batch)}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the flow matching loss at one random time per sample."""
        condition = self.denoiser.condition(batch["lr"], *(self.guidance.in_training(batch) or ()))
        x_0 = data_of_batch(batch, self.denoiser, condition)
        t = self._training_times(seeds_of(batch))
        noise = self.path_noise(batch)(tuple(x_0.shape[1:]))
        run = self.expert_run
        # The mixture would read the times to find the expert, and so wait for a GPU.
        trained = self.denoiser.denoisers[0 if run is None else run.turns.expert(self.global_step)]
        loss = trained.loss(x_0, noise, t, condition, self._l1_weight).mean()
        self._loss_log.in_training(self, loss, len(batch["seed"]))
        return loss

    def _training_times(self, seeds: Tensor | Sequence[int]) -> Tensor:
        z, choice = seeded_normal(seeds, (2,), _TIME, self.device).unbind(1)
        run = self.expert_run
        interval = (0.0, 1.0) if run is None else run.interval(self.global_step)
        return self._times.draw(z, choice, *interval)

    def on_validation_epoch_start(self) -> None:
        """Let the callbacks of this validation see the training loss as its mean over the ranks."""
        if self._is_fitting:
            self._loss_log.in_validation(self)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Log a batch's scores, as `val_real/...` for the second loader; return its SR images."""
        return self._evaluate(batch, "val_real" if dataloader_idx else "val")

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Log the scores of a batch of test images, and return its SR images."""
        return self._evaluate(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the SR images (B, 3, H, W) in [-1, 1]."""
        return self.super_resolve(batch)

    def super_resolve(self, batch: Batch) -> Tensor:
        """Return the SR images (B, 3, H, W) in [-1, 1]; the noise comes from the batch's `seed`."""
        context, mask = self.guidance(batch) or (None, None)
        return super_resolve(
            self.denoiser,
            batch["lr"],
            lambda shape: seeded_normal(seeds_of(batch), shape, _START, self.device),
            self.num_inference_steps,
            self.shift,
            sampler=self.sampler,
            context=context,
            mask=mask,
            guidance_scale=self.guidance_scale,
            align_steps=self._align_steps,
        )

    def path_noise(self, batch: Batch) -> Callable[[tuple[int, ...]], Tensor]:
        """Return a function that draws the noise of the losses, given the shape of one latent."""
        return lambda shape: seeded_normal(seeds_of(batch), shape, _PATH, self.device)

    @property
    def _is_fitting(self) -> bool:
        trainer: Any = self.trainer  # Lightning does not declare the attribute `state`
        return trainer.state.fn == "fit"

    def _evaluate(self, batch: Batch, stage: str) -> Tensor:
        if self._is_fitting and stage == "val":
            log_step(self, self.global_step)
        check_batch(batch, self.denoiser)
        # Kept in the batch, so that the SR images, the losses and the callbacks share it.
        batch["context"] = self.guidance(batch)
        sr = self.super_resolve(batch)
        for name, values in self.scores(batch, sr, stage, self.path_noise(batch)).items():
            self.log(
                f"{stage}/{name}",
                self.scores.mean(stage, name, values),
                prog_bar=name == "psnr_y",
                batch_size=len(values),
                add_dataloader_idx=False,
            )
        return sr
