"""StudentModule: trains a one-step student by targets and by discriminators (stage 3)."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lsr.batch import Batch, seeds_of
from lsr.distributed.fsdp import ShardedStrategy
from lsr.distributed.ranks import allow_unused_weights, check_alike, mean_over_ranks
from lsr.models.checkpoint import EMA_STATE
from lsr.models.condition import Condition
from lsr.models.denoiser import Denoiser
from lsr.models.initialisation import initialise
from lsr.student.config import StudentConfig
from lsr.student.discriminators import Discriminators, Evidence
from lsr.student.frozen import Frozen, read_frozen
from lsr.student.perceptual import Perceptual
from lsr.student.pictures import Pictures, real_pictures
from lsr.student.same_student import check_same_student, trained_with
from lsr.student.start import start_file
from lsr.student.student_loss import StudentLoss, ignore_noise, one_step
from lsr.training.batch_data import check_teacher, data_of_batch
from lsr.training.discriminator_watch import DiscriminatorWatch
from lsr.training.gradients import clip_gradients, is_logging_step, log_step
from lsr.training.module import LinearSRModule
from lsr.training.optimizer import OptimizerConfig, build_optimizer
from lsr.training.supported import check_precision

STUDENT_RUN = "student_run"
"""Key in a Lightning checkpoint: the state of the watch, and what the run is trained with."""

_DISCRIMINATORS = "discriminators."
"""Prefix of the names of the discriminators' weights in a checkpoint."""


class StudentModule(LinearSRModule):
    """Trains the map from LR image and noise to SR image in one step.

    The student is a denoiser like any other. Here it is evaluated at t = 1 alone, and its data
    prediction is the result. Its loss is the weighted sum of `StudentConfig`. A batch trains the
    discriminators first, then the student, and counts as one optimiser step.

    Logs what `LinearSRModule` logs, with `val/loss` at t = 1; each term of the loss as
    `train/loss_<term>`; `train/discriminator_grad_norm`; and at validations the mean hinge loss of
    each discriminator since the last one, `train/discriminator_<name>`.

    Args:
        student: The terms of the loss.
        discriminator_optimizer: Settings of the discriminators' AdamW.
        **settings: Settings of `LinearSRModule`, without `experts`. `init_from` may also be a knee
            folder, or a mixture, whose last expert the student then is at first.

    Attributes:
        not_averaged: Prefixes of the names of weights that `callbacks.EMA` leaves out.

    Raises:
        ValueError: If a setting is out of range.
    """

    not_averaged = (_DISCRIMINATORS,)

    def __init__(
        self,
        student: StudentConfig = StudentConfig(),  # noqa: B008 (frozen)
        discriminator_optimizer: OptimizerConfig = OptimizerConfig(  # noqa: B008 (frozen)
            weight_decay=0.0, betas=(0.5, 0.99), warmup_steps=0
        ),
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        if self.expert_run is not None:
            raise ValueError("a student is a single denoiser: leave out model.experts")
        if self.num_inference_steps != 1:
            raise ValueError("a student makes its image in one step: num_inference_steps must be 1")
        if not student.noise and self.student.config.prediction == "velocity":
            raise ValueError(
                "student.noise: false needs model.denoiser.prediction: preconditioned; with "
                "velocity, sampling adds its noise to what the network computes"
            )
        self.automatic_optimization = False
        self.config = student
        self.discriminator_optimizer = discriminator_optimizer
        self.discriminators: Discriminators | None = None
        self.denoiser.one_step = True
        self.scores.loss.times = {"loss": (1.0,)}
        self._watch = DiscriminatorWatch(student.win_validations)
        self._frozen: dict[str, Frozen] = {}
        self._loss: StudentLoss | None = None
        self._trained_with: dict[str, Any] = {}

    @property
    def student(self) -> Denoiser:
        """The student."""
        assert isinstance(self.denoiser, Denoiser)
        return self.denoiser

    def setup(self, stage: str) -> None:
        """Also read the frozen models and build the discriminators, before training.

        Raises:
            ValueError: If a file is missing or does not fit, the data have no teacher, or the
                strategy is sharded.
        """
        super().setup(stage)
        if stage != "fit" or self._loss is not None:
            return
        if self.config.needs_teacher and not self.config.teacher_steps:
            check_teacher(self.trainer)
        if isinstance(self.trainer.strategy, ShardedStrategy):
            raise ValueError("stage 3 cannot shard weights: use --trainer.strategy ddp")
        scale = self.student.config.scale
        self._loss = StudentLoss(self.config, Perceptual(self.config), scale)
        self._frozen = read_frozen(self.config, self._init_from, self.student)
        real = self.config.real if self.config.is_adversarial else None
        noise = self.config.noise
        self._trained_with = trained_with(self._loss.weights, self._frozen, real, noise)
        check_alike("stage 3", str(self._trained_with))
        if self.config.is_adversarial:
            # The same first weights on every rank, whatever was drawn before.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                self.discriminators = Discriminators(self.config, self._frozen.get("ladd"))
            # The steps of the student and of the discriminators leave each other's gradients out.
            allow_unused_weights(self.trainer.strategy)

    def on_fit_start(self) -> None:
        """Start a new run from the weights of `init_from`, and move the frozen models.

        Raises:
            ValueError: If the weights are of another model, or the precision is not supported.
        """
        check_precision(self)
        if self.trainer.ckpt_path is None:
            if self._init_from is not None:
                initialise(self.student, start_file(self._init_from), last_expert=True)
            if not self.config.noise:
                ignore_noise(self.student)
        for frozen in self._frozen.values():
            frozen.model.to(self.device)

    def configure_optimizers(self) -> Any:
        """Return AdamW of the student and, if there are any, of the discriminators."""
        pairs = [build_optimizer([self.student], self.optimizer_config)]
        if self.discriminators is not None:
            pairs.append(build_optimizer([self.discriminators], self.discriminator_optimizer))
        return [optimizer for optimizer, _ in pairs], [schedule for _, schedule in pairs]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the state of the watch, and what the run is trained with."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[STUDENT_RUN] = self._watch.state_dict() | self._trained_with

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the watch; leave the discriminators out unless training continues.

        Raises:
            ValueError: If the run was trained with other terms or other frozen models.
        """
        super().on_load_checkpoint(checkpoint)
        if self._is_fitting:
            found = checkpoint.get(STUDENT_RUN, {})
            check_same_student(found, self._trained_with)
            self._watch.load_state_dict(found, self.device)
            return
        for key in ("state_dict", EMA_STATE):
            weights = checkpoint.get(key, {})
            for name in [name for name in weights if name.startswith(_DISCRIMINATORS)]:
                del weights[name]

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Train the discriminators, then the student, by one step each."""
        assert self._loss is not None
        log_step(self, self.global_step + 1)
        student = self.student
        condition = student.condition(batch["lr"], *(self.guidance.in_training(batch) or ()))
        x_0 = data_of_batch(batch, student, condition)
        noise = self.path_noise(batch)(tuple(x_0.shape[1:]))
        hr = self._pictures(x_0, condition, batch.get("hr"))
        teacher = self._teacher(batch, noise, condition)
        start = noise if self.config.noise else torch.zeros_like(noise)
        made = self._pictures(one_step(student, start, condition), condition)
        terms = self._loss.errors(made, hr, teacher)
        optimizers = self._optimizers()
        judges = self.discriminators
        if judges is not None and self.global_step >= self.config.gan_start:
            real = real_pictures(self.config.real, hr, teacher)
            scene = None
            if judges.ladd is not None:
                scene = judges.ladd.scene(student, condition, seeds_of(batch))
            with torch.no_grad():
                truth = judges.see(real, scene)
            fake = judges.see(made, scene)
            self._train_discriminators(judges, optimizers[1], truth, fake.detached())
            self.toggle_optimizer(optimizers[0])
            terms |= judges.adversarial(fake, teacher)
        self._train_student(self._loss.total(terms), terms, optimizers[0], len(batch["seed"]))

    def _pictures(self, x_0: Tensor, condition: Condition, image: Tensor | None = None) -> Pictures:
        """Return pictures by their data; their images are decoded if they are needed."""
        assert self._loss is not None
        if image is None and self._loss.needs_image:
            image = self.student.decode(x_0, condition)
        return Pictures(x_0, image)

    def _teacher(self, batch: Batch, noise: Tensor, condition: Condition) -> Pictures | None:
        """Return the teacher's results; None if nothing needs them."""
        if not self.config.needs_teacher:
            return None
        if "teacher" in self._frozen:
            steps = self.config.teacher_steps
            x_0 = self._frozen["teacher"].sample(noise, self.student, condition, steps)
            return self._pictures(x_0, condition)
        assert "teacher" in batch
        x_0 = self.student.encode(batch["teacher"], condition)
        return self._pictures(x_0, condition, batch["teacher"])

    def _train_discriminators(
        self, judges: Discriminators, optimizer: Any, real: Evidence, fake: Evidence
    ) -> None:
        self.toggle_optimizer(optimizer)
        losses = judges.losses(real, fake)
        optimizer.zero_grad()
        self.manual_backward(torch.stack(list(losses.values())).sum())
        # The method `step` of Lightning's wrapper would count a second optimiser step.
        self.trainer.strategy.optimizer_step(optimizer.optimizer, lambda: None)
        self._schedules()[1].step()
        self.untoggle_optimizer(optimizer)
        self._watch.keep({name: loss for name, loss in losses.items() if name != "r1"})
        if is_logging_step(self) and self._watch.grad_norm is not None:
            self.log("train/discriminator_grad_norm", self._watch.grad_norm)

    def _train_student(
        self, loss: Tensor, terms: dict[str, Tensor], optimizer: Any, batch_size: int
    ) -> None:
        self._loss_log.in_training(self, loss, batch_size)
        if is_logging_step(self):
            values = mean_over_ranks(torch.stack([term.detach() for term in terms.values()]))
            for name, value in zip(terms, values, strict=True):
                self.log(f"train/loss_{name}", value)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self._schedules()[0].step()
        self.untoggle_optimizer(optimizer)

    def _optimizers(self) -> list[Any]:
        found: Any = self.optimizers()
        return found if isinstance(found, list) else [found]

    def _schedules(self) -> list[Any]:
        found: Any = self.lr_schedulers()
        return found if isinstance(found, list) else [found]

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Log the norm of the gradients and clip them, after the callbacks have judged them."""
        limit = self.config.gradient_clip_val
        if optimizer is self.trainer.optimizers[0]:
            clip_gradients(self, optimizer, limit, "norm")
            return
        assert self.discriminators is not None
        weights = [p for p in self.discriminators.parameters() if p.grad is not None]
        if not weights:
            return  # the guard skips this step
        self._watch.grad_norm = torch.nn.utils.clip_grad_norm_(weights, limit or float("inf"))

    def on_validation_epoch_start(self) -> None:
        """Also log the losses of the discriminators."""
        super().on_validation_epoch_start()
        if self._is_fitting:
            self._watch.in_validation(self)
