"""The examples in the help of every verb are commands that can be run."""

import argparse
import importlib
import re
import shlex

import pytest
from support.processes import ROOT

from lsr.cli import VERBS, main

PASSES_OPTIONS_ON = {"ablate", "cache-latents"}
"""Verbs that hand the options they do not know to `lsr fit`."""


def nested(parser):
    """Return a parser and those of its actions."""
    found = [parser]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found += action.choices.values()
    return found


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_examples_and_they_parse(verb):
    parser = importlib.import_module(VERBS[verb][0]).parser()
    for each in nested(parser):
        assert len(each.examples) >= 2
        shown = each.format_help()
        for example in each.examples:
            assert f"\n  {example}\n" in shown and len(example) <= 98
            words = shlex.split(re.split(r" [<>#] ", example)[0])
            assert words[0] == "lsr" and VERBS[words[1]][0] == VERBS[verb][0]
            _, unknown = parser.parse_known_args(words[2:])
            assert not unknown or verb in PASSES_OPTIONS_ON


def test_the_options_in_the_short_help_of_training_are_options(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(ROOT)
    values = {
        "--config": "experiments/tiny/stage1.yaml",
        "--ckpt_path": "last",
        "--trainer.default_root_dir": str(tmp_path),
        "--trainer.max_steps": "7",
        "--trainer.devices": "1",
        "--data.init_args.train": "['photos']",
        "--data.init_args.batch_size": "3",
        "--model.init_from": "model.safetensors",
        "--may_differ": "[data]",
    }
    help_options = {
        name
        for action in importlib.import_module(VERBS["fit"][0]).parser()._actions
        for name in action.option_strings
    }
    assert help_options == values.keys() | {"--print_config", "-h", "--help"}
    with pytest.raises(SystemExit) as end:
        main(["fit", *(word for pair in values.items() for word in pair), "--print_config"])
    printed = capsys.readouterr().out
    assert end.value.code in (0, None)
    assert "max_steps: 7" in printed and "init_from: model.safetensors" in printed
