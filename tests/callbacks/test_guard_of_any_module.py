"""DivergenceGuard in somebody else's Lightning project."""

import json
import math
import traceback

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from support.gpu import require_gpu
from support.hidden_gradients import StepsCopies
from support.plain_module import Plain, fit

from callbacks import DivergenceGuard, divergence_guard
from lsr.distributed.tensors import norms_of
from lsr.training.divergence import DivergenceError


def all_finite(state):
    return all(torch.isfinite(value).all() for value in state.values())


def report(folder):
    return json.loads((folder / "divergence.json").read_text())


@pytest.fixture(params=["at once", "late"])
def reading(request, monkeypatch):
    """Let the guard read as on a CPU, or one step late as on a GPU."""
    monkeypatch.setattr(divergence_guard, "reads_late", lambda device: request.param == "late")
    return request.param


@pytest.mark.parametrize("what", ["input", "loss", "gradient"])
@pytest.mark.parametrize("manual", [False, True])
def test_nan_reaches_neither_weights_nor_checkpoints(tmp_path, reading, what, manual):
    module = Plain(what, manual=manual)
    last = ModelCheckpoint(tmp_path, filename="last", every_n_train_steps=1, save_top_k=-1)
    last = [last, OnExceptionCheckpoint(tmp_path)]
    with pytest.raises(DivergenceError, match="diverged at step 5: the gradient norm is nan"):
        fit(tmp_path, module, DivergenceGuard(), *last)
    assert all_finite(module.state_dict()) and module.global_step <= 6
    for path in tmp_path.glob("*.ckpt"):
        assert all_finite(torch.load(path, weights_only=True)["state_dict"])
    found = report(tmp_path)
    assert found["step"] == 5 and found["recent"][-1]["step"] == 5
    assert "net.2.bias" in found["non_finite_gradients"]
    if what == "gradient":
        assert found["non_finite_gradients"] == ["net.2.bias"]
    assert found["samples"][0]["batches"] == [{"path": ["10.png", "11.png"], "index": [10, 11]}]


def test_the_last_step_of_a_run_is_judged_too(tmp_path, reading):
    # A checkpoint at the end of the epoch would judge it too.
    with pytest.raises(DivergenceError, match="diverged at step 5"):
        fit(tmp_path, Plain("loss"), DivergenceGuard(), steps=6, enable_checkpointing=False)


def test_accumulated_batches_are_judged_once_and_all_named(tmp_path, reading):
    guard = DivergenceGuard()
    with pytest.raises(DivergenceError, match="diverged at step 1"):
        fit(tmp_path, Plain("loss", at=1), guard, accumulate_grad_batches=3)
    assert [step["step"] for step in guard.recent_steps] == [0, 1]
    named = [batch["index"] for batch in report(tmp_path)["samples"][0]["batches"]]
    assert named == [[6, 7], [8, 9], [10, 11]]
    assert guard.recent_steps[0]["loss"] == pytest.approx(1.3, abs=0.5), "not divided by 3"


def test_both_ways_of_reading_train_alike(tmp_path, monkeypatch):
    states = []
    for late in (False, True):
        monkeypatch.setattr(divergence_guard, "reads_late", lambda device, late=late: late)
        guard = DivergenceGuard()
        module = Plain()
        fit(tmp_path, module, guard)
        states.append((module.state_dict(), guard.state_dict(), list(guard.recent_steps)))
    (one, scores, steps), (two, other_scores, other_steps) = states
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert scores == other_scores and steps == other_steps and len(steps) == 8


class OddNumbers(Plain):
    """Has gradients of 64 bits, complex and sparse ones, and frozen weights of 8 bits."""

    def __init__(self, spoilt=None) -> None:
        super().__init__()
        self.wide = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
        self.complex = torch.nn.Parameter(torch.ones(3, dtype=torch.complex64))
        self.sparse = torch.nn.Embedding(4, 2, sparse=True)
        narrow = torch.ones(3).to(torch.float8_e4m3fn)
        self.narrow = torch.nn.Parameter(narrow, requires_grad=False)
        self.spoilt = spoilt

    def training_step(self, batch, batch_idx):
        parts = {
            "wide": self.wide.square().sum(),
            "complex": self.complex.abs().square().sum(),
            "sparse": self.sparse(torch.tensor([1, 1])).sum(),
        }
        if self.spoilt in parts and self.global_step == 5:
            parts[self.spoilt] = parts[self.spoilt] * math.nan
        return super().training_step(batch, batch_idx) + sum(parts.values()).float()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3)


@pytest.mark.parametrize("spoilt", ["wide", "complex", "sparse"])
def test_gradients_and_weights_of_any_kind_are_checked(tmp_path, reading, spoilt):
    last = ModelCheckpoint(tmp_path, filename="last", every_n_train_steps=1)
    fit(tmp_path, OddNumbers(), DivergenceGuard(), last)
    module = OddNumbers(spoilt)
    with pytest.raises(DivergenceError, match="diverged at step 5"):
        fit(tmp_path, module, DivergenceGuard())
    assert all_finite({n: p for n, p in module.named_parameters() if n != "narrow"})
    assert [n.split(".")[0] for n in report(tmp_path)["non_finite_gradients"]] == [spoilt]


def test_the_norm_of_any_gradient_is_that_of_its_numbers():
    sparse = torch.sparse_coo_tensor([[1, 1]], [3.0, 1.0], (4,))
    complex_ = torch.tensor([3 + 4j])
    found = norms_of([sparse, complex_, torch.tensor([1e200], dtype=torch.float64)])
    assert found.tolist() == [4, 5, math.inf] and found.dtype == torch.float32


def same_as_before(module):
    pairs = zip(module.weights, module.weights[1:], strict=False)
    return [torch.equal(a, b) for a, b in pairs]


def test_skipping_is_bounded_and_leaves_no_trace(tmp_path, caplog):
    module = Plain("input")
    fit(tmp_path, module, DivergenceGuard(skip_non_finite=2))
    assert same_as_before(module) == [i == 5 for i in range(7)] and all_finite(module.state_dict())
    assert "step skipped" in caplog.text and "10.png" in caplog.text
    module = Plain("input")
    module.is_now = lambda what: what == "input" and module.global_step >= 3
    with pytest.raises(DivergenceError, match="diverged at step 5"):
        fit(tmp_path, module, DivergenceGuard(skip_non_finite=2))
    assert all_finite(module.state_dict())


def test_a_resumed_run_gets_past_a_bad_batch_by_its_number(tmp_path):
    last = ModelCheckpoint(
        tmp_path, filename="last", every_n_train_steps=1, enable_version_counter=False
    )
    # One batch, always the same: Lightning begins the data of an epoch again after a resume.
    with pytest.raises(DivergenceError, match="diverged at step 5"):
        fit(tmp_path, Plain("input"), DivergenceGuard(), last, batch_size=16)
    step = report(tmp_path)["step"]
    module = Plain("input")
    guard = DivergenceGuard(skip_steps=[step])
    fit(tmp_path, module, guard, ckpt_path=tmp_path / "last.ckpt", batch_size=16)
    assert module.global_step == 8 and all_finite(module.state_dict())
    # The run is one that skipped this step from the beginning.
    unbroken = Plain("input")
    fit(tmp_path, unbroken, DivergenceGuard(skip_non_finite=1), batch_size=16)
    state = module.state_dict()
    assert all(torch.equal(state[name], value) for name, value in unbroken.state_dict().items())


def float16(scale=2.0**16):
    """Return the precision "16-mixed". On a CPU Lightning would make bfloat16 of the name."""
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale))


class Overflows(Plain):
    """Its scaled loss overflows at large loss scales; `always` even without scaling."""

    def __init__(self, always=False) -> None:
        super().__init__()
        self.always = always

    def on_after_backward(self):
        scale = self.trainer.strategy.precision_plugin.scaler.get_scale()
        if self.always or scale > 2**13:
            self.net[2].bias.grad[0] = math.inf


@pytest.mark.parametrize("manual", [False, True])
def test_overflows_of_float16_are_skipped_until_the_loss_scale_fits(tmp_path, manual):
    module = Overflows()
    module.automatic_optimization = not manual
    guard = DivergenceGuard()
    fit(tmp_path, module, guard, plugins=[float16()])
    assert same_as_before(module)[:4] == [True] * 3 + [False] and all_finite(module.state_dict())
    losses = [step["loss"] for step in guard.recent_steps]
    assert all(0.9 < loss < 4 for loss in losses), "the loss before scaling"


@pytest.mark.parametrize(
    ("scale", "end"),
    [(2.0**16, 16), (2.0**40, 20)],
    ids=["the scale is halved to 1", "too many in a row"],
)
def test_overflows_without_end_are_a_divergence(tmp_path, scale, end):
    module = Overflows(always=True)
    with pytest.raises(DivergenceError, match=f"diverged at step {end}"):
        fit(tmp_path, module, DivergenceGuard(), steps=50, plugins=[float16(scale)])
    assert all_finite(module.state_dict())


def counted_reads(monkeypatch):
    """Count where the host reads a tensor, which on a GPU waits for it. Late reads do not count."""
    found = []

    def counting(name):
        method = getattr(torch.Tensor, name)

        def read(tensor, *arguments, **keywords):
            stack = "".join(traceback.format_stack(limit=4))
            if "host_copy.py" not in stack:
                found.append((name, stack))
            return method(tensor, *arguments, **keywords)

        return read

    for name in ("item", "tolist", "__float__", "__bool__", "__int__", "cpu", "numpy"):
        monkeypatch.setattr(torch.Tensor, name, counting(name))
    return found


class CountsReads(Plain):
    """Remembers how many reads there were at the start of each batch."""

    def training_step(self, batch, batch_idx):
        self.counts.append(len(self.reads))
        loss = self.net(batch["x"]).square().mean() + 1
        return loss


def test_no_step_reads_a_value_of_the_device(tmp_path, monkeypatch):
    monkeypatch.setattr(divergence_guard, "reads_late", lambda device: True)
    module = CountsReads()
    module.counts = []
    module.reads = counted_reads(monkeypatch)
    # AdamW of torch reads its own step counts, which are on the host. SGD has none.
    module.configure_optimizers = lambda: torch.optim.SGD(module.parameters(), 1e-2)
    fit(tmp_path, module, DivergenceGuard(), log_every_n_steps=1000)
    new = module.reads[module.counts[1] : module.counts[-1]]
    assert not new, new[0]


def test_on_a_gpu_no_hook_of_the_guard_waits(tmp_path):
    require_gpu("steps that do not wait for the device")

    class Strict(DivergenceGuard):
        def on_before_optimizer_step(self, *arguments):
            torch.cuda.set_sync_debug_mode("error")
            try:
                super().on_before_optimizer_step(*arguments)
            finally:
                torch.cuda.set_sync_debug_mode("default")

    fit(tmp_path, Plain(), Strict(), accelerator="gpu", devices=1, log_every_n_steps=1000)
    with pytest.raises(DivergenceError, match="diverged at step 5"):
        fit(tmp_path, Plain("loss"), DivergenceGuard(), accelerator="gpu", devices=1)


class FailsAfterNan(Plain):
    """Fails for another reason before the NaN of step 5 is read."""

    def on_before_optimizer_step(self, optimizer):
        if self.global_step == 5:
            raise RuntimeError("the disk is full")


def test_another_exception_is_kept_although_a_norm_was_not_read_yet(tmp_path, reading):
    module = FailsAfterNan("loss")
    guard = DivergenceGuard()
    error = DivergenceError if reading == "at once" else RuntimeError
    with pytest.raises(error):
        fit(tmp_path, module, guard, OnExceptionCheckpoint(tmp_path))
    checkpoint = torch.load(tmp_path / "on_exception.ckpt", weights_only=True)
    assert all_finite(checkpoint["state_dict"])
    other = DivergenceGuard()
    other.load_state_dict(next(iter(checkpoint["callbacks"].values())))
    assert len(other._scores.norms[0].values) == 5


@pytest.mark.parametrize("options", [{"skip_non_finite": -1}, {"skip_steps": [-3]}])
def test_settings_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="skip_steps >= 0"):
        DivergenceGuard(**options)


def test_a_strategy_that_steps_copies_of_the_weights_is_refused(tmp_path):
    module = Plain()
    with pytest.raises(ValueError, match="StepsCopies hides the gradients"):
        strategy = StepsCopies(device=torch.device("cpu"))
        fit(tmp_path, module, DivergenceGuard(), strategy=strategy)
    assert not module.weights, "no batch was begun"


class HiddenGradients(Plain):
    def backward(self, loss):
        super().backward(loss)
        for parameter in self.parameters():
            parameter.grad = None


def test_gradients_that_are_not_where_they_are_looked_for_end_the_first_step(tmp_path):
    module = HiddenGradients()
    with pytest.raises(ValueError, match="hides the gradients"):
        fit(tmp_path, module, DivergenceGuard())
    assert module.global_step == 0
