"""The verb table. What a verb needs is imported when it is called: `lsr --help` imports neither torch nor lightning."""

import importlib
import os
import sys
from collections.abc import Sequence

from lsr.exit_codes import BAD_USAGE, DONE, INTERRUPTED

VERBS: dict[str, tuple[str, str]] = {
    "fit": (
        "lsr.training.cli",
        "train: lsr fit --config experiments/tiny/stage1.yaml [--ckpt_path last] [--key value ...]",
    ),
    "validate": (
        "lsr.training.cli",
        "validate a checkpoint: lsr validate --config FILE --ckpt_path last",
    ),
    "test": (
        "lsr.training.cli",
        "score a checkpoint on the test photographs: lsr test --config FILE --ckpt_path last",
    ),
    "predict": (
        "lsr.training.cli",
        "super-resolve the test pairs: lsr predict --config FILE --ckpt_path last",
    ),
    "knee": (
        "lsr.commands.knee",
        "find the knee in a logged run: lsr knee RUN|EVENTS|CSV [--compare] [--leave-one-out] [--json] [--png]",
    ),
    "degrade": (
        "lsr.commands.degrade",
        "make LR images: lsr degrade preview PHOTO --preset NAME | lsr degrade export PHOTO... --out DIR",
    ),
    "bench": (
        "lsr.commands.bench",
        "time what is ours beside its peers: lsr bench [attention|ops|model|scaling|...]",
    ),
    "convert": (
        "lsr.commands.convert",
        "weights of SANA as a model to train from: lsr convert sana SRC --out FILE",
    ),
    "merge-experts": (
        "lsr.commands.merge_experts",
        "join experts that were trained one by one: lsr merge-experts RUN... --out FILE",
    ),
    "cache-latents": (
        "lsr.commands.cache_latents",
        "encode training crops beforehand: lsr cache-latents --config FILE --out DIR",
    ),
    "eval": (
        "lsr.commands.evaluate",
        "score a model or results on real or paired photographs: lsr eval --model FILE --data DIR --out DIR",
    ),
    "upscale": (
        "lsr.commands.upscale",
        "upscale photographs: lsr upscale PHOTO... [--model FILE] [--out DIR]",
    ),
    "ablate": (
        "lsr.commands.ablate",
        "compare variations of experiments: lsr ablate YAML|DIR --out DIR [--vary KEY=[A, B]]",
    ),
    "tag": (
        "lsr.commands.tag",
        "write tags.jsonl for photographs: lsr tag DIR --tagger ram++|ram|clip --weights PATH",
    ),
    "export": (
        "lsr.commands.export",
        "a model as one safetensors file: lsr export RUN|CKPT --out FILE.safetensors",
    ),
    "shard": (
        "lsr.commands.shard",
        "pack photographs into WebDataset shards: lsr shard DIR --out OUT [--max-mib 256]",
    ),
}
"""Verb -> (module with `main(arguments) -> exit code`, one line of help)."""


def _help() -> str:
    width = max(map(len, VERBS))
    lines = "\n".join(f"  {verb:<{width}}  {text}" for verb, (_, text) in VERBS.items())
    return (
        f"usage: lsr VERB ...\n\nLinear-attention diffusion for photorealistic image super-resolution.\n\n{lines}\n\n"
        "`lsr VERB --help` tells the options of a verb, `lsr --version` the version. Exit codes: 0 done, 1 some\n"
        "inputs failed, 2 bad usage or unusable input, 3 training diverged. LSR_DEBUG=1 shows the traceback behind a one-line error.\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb.

    Args:
        arguments: The command line without the program's name; None takes `sys.argv`.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(_help())
        return DONE if arguments else BAD_USAGE
    if arguments[0] in ("-V", "--version"):
        from lsr import __version__

        sys.stdout.write(f"{__version__}\n")
        return DONE
    if arguments[0] not in VERBS:
        sys.stderr.write(f"lsr: unknown verb {arguments[0]!r}; known are {', '.join(VERBS)}\n")
        return BAD_USAGE
    # OpenMP threads that spin while they wait starve the data workers: 15 times slower when the cores are shared.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    try:
        return importlib.import_module(VERBS[arguments[0]][0]).main(arguments)
    except (ValueError, FileNotFoundError) as error:
        if os.environ.get("LSR_DEBUG"):
            raise
        sys.stderr.write(f"lsr {arguments[0]}: {' '.join(str(error).split())}\n")
        return BAD_USAGE
    except KeyboardInterrupt:
        sys.stderr.write(
            f"lsr {arguments[0]}: interrupted; what can be continued continues when run again (fit: --ckpt_path last)\n"
        )
        return INTERRUPTED
