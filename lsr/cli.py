"""The command line `lsr`: the table of its verbs, and the entry point that runs one of them.

The module of a verb is imported when the verb runs, so `lsr --help` does not import torch.
"""

import importlib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from functools import partial

from lsr.console.standard_output import with_standard_output
from lsr.errors import BAD_USAGE, DONE, INTERRUPTED, interrupt, one_line

VERBS: dict[str, tuple[str, str]] = {
    "fit": (
        "lsr.commands.fit",
        "train a model: lsr fit --config experiments/tiny/stage1.yaml [--ckpt_path last]",
    ),
    "validate": (
        "lsr.commands.fit",
        "validate a checkpoint: lsr validate --config FILE --ckpt_path last",
    ),
    "test": (
        "lsr.commands.fit",
        "score a checkpoint on test photographs: lsr test --config FILE --ckpt_path last",
    ),
    "predict": (
        "lsr.commands.fit",
        "super-resolve test photographs: lsr predict --config FILE --ckpt_path last",
    ),
    "knee": (
        "lsr.commands.knee",
        "find the knee in the log of a run: lsr knee RUN|EVENTS|CSV [--compare] [--png]",
    ),
    "report": (
        "lsr.commands.report",
        "write one HTML file about runs: lsr report RUN [RUN ...] [--out FILE.html]",
    ),
    "degrade": (
        "lsr.commands.degrade",
        "make LR images of photographs: lsr degrade preview|export PHOTO... --out OUT",
    ),
    "bench": (
        "lsr.commands.bench",
        "measure the speed of operators and models: lsr bench [attention|ops|model|...]",
    ),
    "convert": (
        "lsr.commands.convert",
        "convert weights of SANA to a LinearSR model: lsr convert sana SRC --out FILE",
    ),
    "merge-experts": (
        "lsr.commands.merge_experts",
        "merge experts that were trained one by one: lsr merge-experts RUN... --out FILE",
    ),
    "cache-latents": (
        "lsr.commands.cache_latents",
        "encode training crops in advance: lsr cache-latents --config FILE --out DIR",
    ),
    "eval": (
        "lsr.commands.evaluate",
        "score a model, or existing results: lsr eval [--model MODEL] --data DIR --out DIR",
    ),
    "upscale": (
        "lsr.commands.upscale",
        "upscale photographs: lsr upscale PHOTO... [--model MODEL] [--out DIR]",
    ),
    "serve": (
        "lsr.commands.serve",
        "upscale photographs in the browser: lsr serve [--port 7860] [--model MODEL...]",
    ),
    "ablate": (
        "lsr.commands.ablate",
        "compare variants of experiments: lsr ablate YAML|DIR --out DIR [--vary KEY=[A, B]]",
    ),
    "tag": (
        "lsr.commands.tag",
        "write the tags of photographs: lsr tag DIR --weights PATH [--tagger ram++|ram|clip]",
    ),
    "export": (
        "lsr.commands.export",
        "write a model as a file or web page: lsr export RUN --out PATH [--format onnx|web]",
    ),
    "push": (
        "lsr.commands.push",
        "publish a model on the hub: lsr push RUN OWNER/NAME --licence ID [--dry-run DIR]",
    ),
    "shard": (
        "lsr.commands.shard",
        "pack photographs into WebDataset shards: lsr shard DIR --out OUT [--max-mib 256]",
    ),
    "doctor": (
        "lsr.commands.doctor",
        "print what works on this machine and what is missing: lsr doctor [--json]",
    ),
    "completion": (
        "lsr.commands.completion",
        "print the completion of a shell: lsr completion bash|zsh|fish",
    ),
}
"""Verb -> (module with `main(arguments) -> exit code` and `parser()`, help of one line)."""


def _help() -> str:
    """Return the text of `lsr --help`."""
    width = max(map(len, VERBS))
    lines = "\n".join(f"  {verb:<{width}}  {text}" for verb, (_, text) in VERBS.items())
    return (
        "usage: lsr VERB ...\n\n"
        "Linear-attention diffusion for photorealistic image super-resolution.\n\n"
        f"{lines}\n\n"
        "`lsr VERB --help` lists the options of a verb, `lsr --version` prints the version.\n"
        "Exit codes: 0 done, 1 some inputs failed, 2 bad usage or unusable input, 3 training\n"
        "diverged, 130 interrupted. LSR_DEBUG=1 shows the traceback of an error.\n"
    )


def _run(arguments: Sequence[str]) -> int:
    """Run a verb, or answer what is asked without one; return the exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(_help())
        return DONE if arguments else BAD_USAGE
    if arguments[0] in ("-V", "--version"):
        from lsr import __version__

        sys.stdout.write(f"{__version__}\n")
        return DONE
    if arguments[0] not in VERBS:
        sys.stderr.write(f"lsr: unknown verb {arguments[0]!r}; use one of {', '.join(VERBS)}\n")
        return BAD_USAGE
    # OpenMP threads that spin while they wait take the cores from the data workers: training was 15
    # times slower when they shared the cores.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    if not sys.stderr.isatty():
        # The bars of other libraries, for example of weights that transformers loads.
        os.environ.setdefault("TQDM_DISABLE", "1")
    return importlib.import_module(VERBS[arguments[0]][0]).main(arguments)


def _after_interruption(verb: str) -> str:
    """Return how the user continues a verb that was interrupted."""
    if verb == "fit":
        return "to continue, run the same command with --ckpt_path last"
    return "run the same command again: it continues, or begins again"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb.

    Args:
        arguments: The command line without the name of the program; None reads `sys.argv`.

    Returns:
        The exit code.
    """
    is_program = arguments is None and threading.current_thread() is threading.main_thread()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if is_program and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, interrupt)
        return with_standard_output(" ".join(["lsr", *arguments[:1]]), partial(_run, arguments))
    except (ValueError, FileNotFoundError) as error:
        if os.environ.get("LSR_DEBUG"):
            raise
        sys.stderr.write(f"lsr {arguments[0]}: {one_line(error)}\n")
        return BAD_USAGE
    except KeyboardInterrupt:
        if is_program:
            # A second signal ends the process, instead of a traceback from what Python does at
            # its end.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.stderr.write(f"lsr {arguments[0]}: interrupted; {_after_interruption(arguments[0])}\n")
        return INTERRUPTED
