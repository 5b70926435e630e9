import hashlib
import itertools
import os
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.attached_trainer import attach

from datamodules import RealESRGANDataModule
from lsr.cli import main
from lsr.degradations import DegradationParameters, apply
from lsr.training.batch_samples import BatchSamples


@pytest.fixture
def folder(tmp_path, photo):
    for i in range(5):
        Image.fromarray(photo[:, i * 4 :]).save(tmp_path / f"{i}.png")
    return tmp_path


def module(folder, rank=0, world=1, **options):
    defaults = {
        "train": [str(folder)],
        "val": [str(folder)],
        "crop_size": 32,
        "val_crop_size": 64,
        "batch_size": 4,
        "num_workers": 0,
    }
    data = attach(RealESRGANDataModule(**defaults | options), rank, world)
    data.setup("fit")
    return data


def hashes(loader, batches, transfer=lambda batch: batch):
    """One hash of (hr, lr, seed) per sample, in order, after `transfer` of each batch."""
    out = []
    for batch in map(transfer, itertools.islice(iter(loader), batches)):
        for hr, lr, seed in zip(batch["hr"], batch["lr"], batch["seed"], strict=True):
            out.append(
                hashlib.sha256(
                    hr.numpy().tobytes() + lr.numpy().tobytes() + str(int(seed)).encode()
                ).hexdigest()
            )
    return out


def test_shapes_and_ranges(folder):
    batch = next(iter(module(folder).train_dataloader()))
    assert (
        batch["hr"].shape == (4, 3, 32, 32)
        and batch["lr"].shape == (4, 3, 8, 8)
        and batch["seed"].shape == (4,)
    )
    for image in (batch["hr"], batch["lr"]):
        assert (
            image.dtype == torch.float32
            and image.min() >= -1
            and image.max() <= 1
            and image.std() > 0.05
        )


def test_a_report_names_the_photographs_of_a_batch(folder):
    batch = next(iter(module(folder).train_dataloader()))
    names = BatchSamples(batch).describe()["name"]
    assert len(names) == 4 and {Path(name).name for name in names} <= set(os.listdir(folder))


def test_the_stream_does_not_depend_on_workers_or_ranks(folder):
    alone = hashes(module(folder, batch_size=8).train_dataloader(), 3)
    assert len(set(alone)) == 24
    assert hashes(module(folder, batch_size=8, num_workers=2).train_dataloader(), 3) == alone
    ranks = [
        hashes(module(folder, rank, 2, num_workers=2).train_dataloader(), 3) for rank in range(2)
    ]
    assert [h for k in range(3) for rank in ranks for h in rank[4 * k : 4 * k + 4]] == alone


def test_degrading_on_the_device_gives_the_pairs_of_the_workers(folder):
    options = {"batch_size": 8, "degradation": "stablesr", "num_workers": 1}
    device = module(folder, degrade_on="device", **options)
    raw = next(iter(device.train_dataloader()))
    assert raw["hr"].dtype == torch.uint8 and "lr" not in raw
    on_device = hashes(
        device.train_dataloader(), 2, lambda batch: device.on_after_batch_transfer(batch, 0)
    )
    assert on_device == hashes(module(folder, **options).train_dataloader(), 2)


def test_a_pair_can_be_made_again_from_its_line(folder):
    data = module(folder, degrade_on="device")
    batch = next(iter(data.train_dataloader()))
    line, hr = batch["degradation"][2], batch["hr"][2:3]
    lr = data.on_after_batch_transfer(batch, 0)["lr"][2:3]
    assert torch.equal(
        apply(hr / 255, [DegradationParameters.from_json(line)], data.degradation) * 2 - 1, lr
    )


def test_the_device_is_chosen_where_it_is_not_the_cpu(folder):
    data = module(folder)
    assert not data._on_device()
    data.trainer.strategy.root_device = torch.device("cuda")
    assert data._on_device()
    assert not attach_device(module(folder, degrade_on="workers"), "cuda")._on_device()
    assert not attach_device(module(folder), "mps")._on_device(), "it has no float64"
    with pytest.raises(ValueError, match="set data.init_args.degrade_on to workers"):
        attach_device(
            attach(RealESRGANDataModule(train=[str(folder)], degrade_on="device")), "mps"
        ).setup("fit")
    late = attach_device(
        attach(RealESRGANDataModule(train=[str(folder)], degradation_changes={"jpeg": "libjpeg"})),
        "cuda",
    )
    with pytest.raises(ValueError, match="jpeg: libjpeg runs on the CPU only"):
        late.setup("fit")


def attach_device(data, kind):
    data.trainer.strategy.root_device = torch.device(kind)
    return data


def test_validation_is_bounded_by_max_images(folder):
    data = module(folder, max_images=2)
    assert len(hashes(data.val_dataloader(), 9)) == 2
    assert set(hashes(data.val_dataloader(), 9)) < set(hashes(module(folder).val_dataloader(), 9))


def test_an_epoch_over_shards_has_every_photograph_once_also_after_a_resume(folder, tmp_path):
    assert main(["shard", str(folder), "--out", str(tmp_path / "shards"), "--max-mib", "0.05"]) == 0
    assert len(list((tmp_path / "shards").glob("*.tar"))) > 1
    options = {"train": [str(tmp_path / "shards")], "batch_size": 1, "num_workers": 2}
    first, second = (module(folder, rank, 2, **options) for rank in range(2))
    epoch = [h for data in (first, second) for h in hashes(data.train_dataloader(), 10)]
    files = hashes(module(folder, batch_size=2).train_dataloader(), 10)
    assert sorted(epoch) == sorted(files), (
        "the photographs of the folder, each as often, in pairs of the same content"
    )
    attach(first, world=2, batches=4)
    resumed = module(folder, **options | {"batch_size": 2})
    resumed.load_state_dict(first.state_dict())
    assert hashes(resumed.train_dataloader(), 6) == files[8:], (
        "continued by one rank where two have stopped"
    )


def test_weighted_sources_with_tags(folder, tmp_path_factory, photo):
    other = tmp_path_factory.mktemp("other")
    Image.fromarray(photo).save(other / "a.png")
    (other / "a.txt").write_text("plasma, checks")
    data = module(folder, train=[str(folder), str(other)], train_weights=[1, 4], batch_size=100)
    tags = next(iter(data.train_dataloader()))["tags"]
    assert set(tags) == {"", "plasma, checks"} and 65 <= tags.count("plasma, checks") <= 95


def test_a_loader_made_again_in_mid_run_continues(folder):
    whole = hashes(module(folder).train_dataloader(), 6)
    data = module(folder)
    data.train_dataloader()
    for batches in (2, 3):
        attach(data, batches=batches)
        assert hashes(data.train_dataloader(), 6 - batches) == whole[4 * batches :]
        assert data.state_dict() == {"samples_seen": 4 * batches}


def test_overfitting_repeats_the_same_batches(folder):
    data = module(folder)
    first = hashes(data.train_dataloader(), 2)
    data.trainer.overfit_batches = 2
    loader = data.train_dataloader()
    data.trainer.fit_loop.epoch_loop.batch_progress.total.processed = 2
    assert hashes(loader, 2) == first


def test_a_number_of_epochs_that_cannot_end_the_run_is_refused(folder):
    data = module(folder)
    data.trainer.max_steps, data.trainer.max_epochs = -1, 3
    with pytest.raises(ValueError, match="no epochs, so max_epochs 3 .* set trainer.max_steps"):
        data.train_dataloader()
    data.trainer.limit_train_batches = 5
    data.train_dataloader()


def test_a_resumed_stream_continues(folder):
    whole = hashes(module(folder).train_dataloader(), 6)
    first = module(folder)
    first.train_dataloader()
    attach(first, batches=2)
    second = module(folder)
    second.load_state_dict(first.state_dict())
    assert first.state_dict() == {"samples_seen": 8}
    assert hashes(second.train_dataloader(), 4) == whole[8:]


def test_validation_pairs_are_fixed_and_shared_without_repetition(folder):
    whole = hashes(module(folder).val_dataloader(), 9)
    again = module(folder)
    assert hashes(again.val_dataloader(), 9) == whole == hashes(again.val_dataloader(), 9)
    ranks = [hashes(module(folder, rank, 3).val_dataloader(), 9) for rank in range(3)]
    assert sorted(h for rank in ranks for h in rank) == sorted(whole) and len(whole) == 5


def test_runs_of_other_seeds_are_validated_on_the_same_pairs(folder):
    one, other = module(folder, seed=0), module(folder, seed=1)
    assert hashes(one.val_dataloader(), 9) == hashes(other.val_dataloader(), 9)
    assert hashes(one.train_dataloader(), 2) != hashes(other.train_dataloader(), 2)
    assert hashes(module(folder, val_seed=1).val_dataloader(), 9) != hashes(one.val_dataloader(), 9)


def test_training_and_validation_draw_different_degradations(folder):
    data = module(folder, val_crop_size=32)
    val = data.val_dataloader().dataset[0]
    train = data.train_dataloader().dataset[0, 0]
    assert not torch.equal(val["lr"], train["lr"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_size": 30}, "crop_size must be a positive multiple of scale 4, not 30"),
        ({"max_images": 0}, "max_images must be at least 1"),
        ({"scale": 0}, "scale must be at least 1"),
        ({"crop_size": 0}, "crop_size must be a positive multiple of scale 4, not 0"),
        ({"degrade_on": "gpu"}, "degrade_on must be auto, workers or device"),
        ({"degradation_changes": {"scale": 2}}, "degradation_changes cannot have scale"),
        ({"train_weights": [1, 2]}, "2 weights for the 1 entries"),
        ({"train_weights": [0]}, "positive numbers"),
        ({"degradation": "magic"}, "unknown degradation preset 'magic'"),
        ({"degradation_changes": {"jpegg": 1}}, "unknown degradation setting jpegg"),
    ],
)
def test_settings_that_cannot_be_are_refused(folder, options, message):
    with pytest.raises(ValueError, match=message):
        module(folder, **options)


def test_the_tags_of_all_photographs_are_known_before_the_first_batch(folder):
    (folder / "3.txt").write_text("plasma, checks")
    texts = list(module(folder).texts())
    assert len(texts) == 10 and texts.count("plasma, checks") == 2 and texts.count("") == 8, (
        "of training and of validation"
    )


def test_real_photographs_are_validated_on_with_the_tags_that_the_pairs_have(folder, tmp_path):
    (folder / "captions.jsonl").write_text('{"file": "0.png", "tags": ["a wave"]}\n')
    (folder / "tags.jsonl").write_text('{"file": "0.png", "tags": ["wave"]}\n')
    for name, tags in (("tags.jsonl", "wave"), ("captions.jsonl", "a wave"), ("none.jsonl", "")):
        data = module(folder, val_real=str(folder), tags_file=name)
        for loader in data.val_dataloader():
            assert next(iter(loader))["tags"][0] == tags


def test_what_is_no_photograph_among_the_real_ones_is_told_at_the_start(folder, tmp_path):
    (folder / "real").mkdir()
    (folder / "real" / "a.png").write_text("no picture")
    with pytest.raises(ValueError, match="a.png"):
        module(folder, val_real=str(folder / "real"))


def test_a_scale_that_divides_no_power_of_two(folder):
    lr = next(iter(module(folder, scale=3, crop_size=48, val_crop_size=48).train_dataloader()))[
        "lr"
    ]
    assert lr.shape[2:] == (16, 16)


@pytest.mark.parametrize("entries", [None, [], [""], "photographs"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_photographs_is_one_clear_error(folder, split, entries):
    with pytest.raises(ValueError, match=f"init_args.{split} must be a list of folders"):
        module(folder, **{split: entries})


@pytest.mark.parametrize(
    ("train", "val", "warned"),
    [
        ("own", "bundled:val", True),
        ("own", "own", False),
        ("bundled:train", "bundled:val", False),
        ("bundled:train", "own", False),
    ],
)
def test_bundled_photographs_that_judge_a_run_on_others_are_named(
    folder, caplog, train, val, warned
):
    entries = {"own": [str(folder)]}
    module(folder, train=entries.get(train, [train]), val=entries.get(val, [val]))
    lines = [line for line in caplog.messages if "the bundled ones" in line]
    assert len(lines) == warned
    assert all("val uses" in line and "set data.init_args.val" in line for line in lines)


def test_one_rank_warns_of_bundled_photographs(folder, caplog):
    module(folder, rank=1, world=2, val=["bundled:val"])
    assert not any("the bundled ones" in line for line in caplog.messages)
