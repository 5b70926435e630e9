"""Cases: implementations of the same work, each compared with a reference before it is timed."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lsr.bench.table import Bench, Table
from lsr.bench.timing import time_calls
from lsr.error_text import first_clause

Result = Tensor | tuple[Tensor, ...]


class Work(NamedTuple):
    """The least that a call must do.

    Attributes:
        flops: Floating-point operations.
        moved: Bytes read from and written to memory.
    """

    flops: float
    moved: float


@dataclass(frozen=True)
class Case:
    """One implementation at one shape.

    Attributes:
        shape: Name of the shape of the inputs. Cases with the same name are compared.
        name: Name of the implementation.
        run: Function that makes one call and returns its result.
        flops: Floating-point operations of a call.
        moved: Bytes that a call must at least read and write.
        expected: Correct result of `run` in float64; None if this implementation computes another
            function than the baseline, as softmax attention does.
        tolerance: Largest allowed difference from `expected`, relative to the root mean square of
            `expected`.
        baseline: Whether the times of the other cases of this shape are compared with this one's
            time.
    """

    shape: str
    name: str
    run: Callable[[], Result]
    flops: float
    moved: float
    expected: Result | None
    tolerance: float
    baseline: bool = False

    def error(self) -> float | None:
        """Run the case once and compare its result with `expected`.

        Returns:
            The largest difference, relative to the root mean square of the expected tensor. For
            several tensors, each is compared with its own expected tensor and the largest value is
            returned. None if `expected` is None.
        """
        if self.expected is None:
            return None
        pairs = zip(_tensors(self.run()), _tensors(self.expected), strict=True)
        return max(
            ((x.double() - wanted).abs().max() / wanted.square().mean().sqrt()).item()
            for x, wanted in pairs
        )


def _tensors(result: Result) -> tuple[Tensor, ...]:
    return (result,) if isinstance(result, Tensor) else result


def forward_and_backward(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], grad: Tensor
) -> Callable[[], tuple[Tensor, ...]]:
    """Return a function that runs `function` forward and backward.

    Args:
        function: Differentiable function of all inputs.
        inputs: Arguments of `function`.
        grad: Gradient of the loss with respect to the output.

    Returns:
        A function without arguments that returns the gradients with respect to the inputs.
    """
    leaves = tuple(x.detach().requires_grad_() for x in inputs)
    return lambda: torch.autograd.grad(function(*leaves), leaves, grad)


def both_ways(
    shape: str,
    implementations: Mapping[str, Callable[..., Tensor]],
    exact: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    tolerance: float,
    work: tuple[Work, Work],
) -> Iterator[Case]:
    """Yield the forward pass of every implementation, then forward and backward passes together.

    Args:
        shape: Name of the shape of the inputs.
        implementations: Functions of the inputs by name; the first is the baseline.
        exact: Function of the inputs that computes the correct result when they are float64.
        inputs: Arguments of every implementation.
        tolerance: Largest allowed error, see `Case`.
        work: Work of a forward pass, and of a forward and a backward pass together.
    """
    precise = [x.double() for x in inputs]
    expected: Result = exact(*precise)
    grad = gradient_for(expected).to(inputs[0].dtype)
    baseline = next(iter(implementations))
    for name, function in implementations.items():
        run = partial(function, *inputs)
        yield Case(shape, name, run, *work[0], expected, tolerance, name == baseline)
    expected = forward_and_backward(exact, precise, grad.double())()
    trained = f"{shape}, forward+backward"
    for name, function in implementations.items():
        run = forward_and_backward(function, inputs, grad)
        yield Case(trained, name, run, *work[1], expected, tolerance, name == baseline)


def gradient_for(output: Tensor) -> Tensor:
    """Return a tensor to use as the gradient of `output`, of the same shape.

    Its elements are cos(0), cos(1), cos(2)...: with equal elements, as `output.sum()` would give,
    a kernel that mixes up positions in its backward pass would go unnoticed.
    """
    return torch.arange(output.numel(), device=output.device).cos().view(output.shape)


@torch.no_grad()
def randomise(module: nn.Module, generator: torch.Generator) -> None:
    """Add normal noise of standard deviation 0.02 to every parameter of a module.

    A new transformer outputs zero, because its last layers start at zero: its output would be right
    whatever the other weights do.
    """
    for parameter in module.parameters():
        noise = torch.randn(parameter.shape, generator=generator, device=parameter.device)
        parameter.add_(0.02 * noise)


_COLUMNS = (
    "shape",
    "implementation",
    "ms",
    "peak MiB",
    "GFLOP",
    "MB",
    "% of roofline",
    "times faster",
    "error",
)


def compare(bench: Bench, name: str, cases: Iterable[Case]) -> int:
    """Compare the result of every case with `expected`, time it, and print and write the table.

    A case that fails or gives a wrong result gets no time, and the other cases still run.

    Args:
        bench: Settings of the run.
        name: Name of the files to write, without suffix.
        cases: Cases to measure; the baseline of a shape, which the column "times faster" divides
            by, comes before the other cases of that shape.

    Returns:
        The number of cases that failed or gave a wrong result.
    """
    table = Table(_COLUMNS)
    baselines: dict[str, float] = {}
    wrong = 0
    for case in cases:
        cells, right = _row(bench, case, baselines)
        wrong += not right
        table.add(cells)
    table.save(bench.out, name, bench.header)
    return wrong


def _row(bench: Bench, case: Case, baselines: dict[str, float]) -> tuple[dict[str, str], bool]:
    """Return the cells of a case, and whether it ran and gave the right result.

    Args:
        bench: Settings of the run.
        case: Case to measure.
        baselines: Seconds of the baseline of each shape; that of this case is added if it is one.
    """
    cells = {"shape": case.shape, "implementation": case.name}
    cells |= {"GFLOP": f"{case.flops / 1e9:.2f}", "MB": f"{case.moved / 1e6:.1f}"}
    try:
        error = case.error()
    except Exception as problem:  # one implementation that cannot run must not end the others
        return cells | {"ms": f"FAILED: {type(problem).__name__}: {first_clause(problem)}"}, False
    cells["error"] = "another function" if error is None else f"{error:.1e}"
    # `not <=` and not `>`: an error that is NaN is wrong too.
    if error is not None and not error <= case.tolerance:
        return cells | {"ms": f"WRONG: error above {case.tolerance:g}"}, False
    return cells | _timed_cells(bench, case, baselines), True


def _timed_cells(bench: Bench, case: Case, baselines: dict[str, float]) -> dict[str, str]:
    taken = time_calls(case.run, bench.device, bench.seconds)
    if case.baseline:
        baselines[case.shape] = taken.seconds
    least = bench.roofline.least_seconds(case.flops, case.moved)
    cells = {
        "ms": f"{1e3 * taken.seconds:.3f}",
        "% of roofline": f"{100 * least / taken.seconds:.0f}",
    }
    if taken.peak_bytes is not None:
        cells["peak MiB"] = f"{taken.peak_bytes / 2**20:.1f}"
    if case.shape in baselines:
        cells["times faster"] = f"{baselines[case.shape] / taken.seconds:.2f}"
    return cells
