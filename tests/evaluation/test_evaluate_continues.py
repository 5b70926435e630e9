"""An evaluation continues an earlier one, and is shared by several processes."""

import hashlib
import json
import shutil
from multiprocessing.context import SpawnProcess

import psutil
from support.evaluation_results import table
from support.killed import killed_before

from lsr.cli import main
from lsr.commands.start_processes import in_one_or_several
from lsr.distributed.processes import Processes


def test_a_changed_prediction_is_judged_again(evaluate, data):
    _, out, _ = evaluate()
    before = table(out)
    shutil.copy(data / "HR" / "2.png", data / "bicubic" / "2.png")
    _, out, _ = evaluate()
    after = table(out)
    assert float(after["2"]["psnr_y"]) > 70 > float(before["2"]["psnr_y"])
    assert after["1"] == before["1"]


def test_another_model_or_protocol_does_not_reuse_rows(evaluate, model, denoiser):
    _, out, _ = evaluate(source=("--model", model))
    before = (out / "per_image.csv").read_bytes()
    for options, culprit in (
        (("--seed", "1"), "model"),
        (("--protocol", "paired"), "protocol"),
        (("--steps", "2"), "model"),
    ):
        code, _, err = evaluate(*options, source=("--model", model))
        assert code == 2 and f"differs in {culprit} (" in err
    assert (out / "per_image.csv").read_bytes() == before
    code, _, _ = evaluate("--steps", "2", "--overwrite", source=("--model", model))
    assert code == 0 and (out / "per_image.csv").read_bytes() != before


def test_the_settings_keep_the_keys_by_which_earlier_folders_continue(evaluate, model):
    _, out, _ = evaluate("--steps", "2", "--memory", "1GiB", source=("--model", model))
    settings = json.loads((out / "evaluation.json").read_text())
    assert settings.keys() == {"protocol", "model", "metrics", "versions", "device", "threads"}
    assert settings["model"] == {
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "scale": 4,
        "steps": 2,
        "seed": 0,
        "color_fix": "adain",
    }


def test_a_model_that_was_only_renamed_keeps_its_rows(evaluate, model):
    _, out, _ = evaluate(source=("--model", model))
    before = (out / "predictions" / "0.png").stat().st_mtime_ns
    code, _, _ = evaluate(source=("--model", model.rename(model.with_name("other.safetensors"))))
    assert code == 0 and (out / "predictions" / "0.png").stat().st_mtime_ns == before


def test_a_killed_run_continues_to_the_same_table(evaluate, model, tmp_path):
    _, whole, _ = evaluate(source=("--model", model), out="whole")
    killed_before(4, ".png", lambda: evaluate(source=("--model", model), out="killed"))
    predictions = tmp_path / "killed" / "predictions"
    kept = {path: path.stat().st_mtime_ns for path in predictions.glob("[0-9].png")}
    assert len(kept) == 3 and list(predictions.glob(".*.tmp"))
    code, out, _ = evaluate(source=("--model", model), out="killed")
    assert code == 0
    assert (out / "per_image.csv").read_bytes() == (whole / "per_image.csv").read_bytes()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, (
        "finished images are not processed again"
    )


def test_two_processes_give_the_same_table(evaluate, model, tmp_path):
    _, one, _ = evaluate(source=("--model", model), out="one")
    code, two, err = evaluate("--devices", "2", source=("--model", model), out="two")
    assert code == 0, err
    assert (one / "per_image.csv").read_bytes() == (two / "per_image.csv").read_bytes()
    assert not list(two.glob("rows-*"))


def test_processes_divide_the_free_memory_and_not_their_threads(monkeypatch, data, tmp_path):
    class Two(Processes):
        def _told(self, value, failure):
            return [value, value]

    monkeypatch.setattr("lsr.inference.memory.free_bytes", lambda device: 800)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    scored = []
    monkeypatch.setattr("lsr.evaluation.processes.score", lambda job, *_: scored.append(job))
    monkeypatch.setattr("lsr.evaluation.results.write_results", lambda evaluation: 0)

    def in_two(verb, work, argument, devices):
        monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as each process is told
        return work(argument, Two(0, devices))

    monkeypatch.setattr("lsr.commands.evaluate.in_one_or_several", in_two)
    command = ["eval", "--data", str(data), "--predictions", str(data / "bicubic")]
    command += ["--metrics", "psnr", "--out", str(tmp_path / "out"), "--devices", "2"]
    assert main(command) == 0
    (job,) = scored
    assert (job.sampling.memory, job.threads) == (800 // 2 // 2, 3)


def test_results_that_are_gone_are_made_again_by_two_processes(evaluate, model):
    _, out, _ = evaluate(source=("--model", model))
    before = (out / "per_image.csv").read_bytes()
    shutil.rmtree(out / "predictions")
    code, out, err = evaluate("--devices", "2", source=("--model", model))
    assert code == 0, err
    assert (out / "per_image.csv").read_bytes() == before


def test_no_other_program_can_take_the_port_at_which_processes_meet(monkeypatch):
    def ports():
        connections = psutil.Process().net_connections("tcp")
        return {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}

    before, seen = ports(), []
    monkeypatch.setattr(SpawnProcess, "start", lambda process: seen.append(ports() - before))
    monkeypatch.setattr("lsr.commands.start_processes._wait", len)
    monkeypatch.setattr("lsr.commands.start_processes._end", len)
    assert in_one_or_several("eval", print, None, devices=2) == 2
    assert len(seen[0]) == 1 and seen[0] == seen[1], "no socket listens when the processes start"
