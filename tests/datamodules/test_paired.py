import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from support.attached_trainer import attach

from datamodules import PairedDataModule, RealLQDataModule
from datamodules.real_lq import LowQualityPhotographs
from lsr.training.batch_samples import BatchSamples


@pytest.fixture
def dataset(tmp_path, photo):
    """HR photographs of different sizes; their LR is every fourth pixel, so that shifts show."""
    for folder in ("LR", "HR"):
        (tmp_path / folder).mkdir()
    for i in range(5):
        hr = photo[: 96 - 4 * i]
        Image.fromarray(hr).save(tmp_path / "HR" / f"{i}_HR.png")
        Image.fromarray(np.ascontiguousarray(hr[::4, ::4])).save(tmp_path / "LR" / f"{i}_LR4.png")
    (tmp_path / "HR" / "tags.jsonl").write_text(
        '{"file": "1_HR.png", "tags": ["waves", "checks"]}\n'
    )
    return tmp_path


def module(dataset, stage="fit", rank=0, world=1, **options):
    defaults = {
        "train": str(dataset),
        "val": str(dataset),
        "test": str(dataset),
        "crop_size": 32,
        "batch_size": 4,
        "num_workers": 0,
    }
    data = attach(PairedDataModule(**defaults | options), rank, world)
    data.setup(stage)
    return data


def aligned(batch):
    """For each pair: are its LR pixels left (or, if mirrored, right) corners of HR blocks?"""
    lr, hr = batch["lr"], batch["hr"]
    return [
        torch.equal(h[:, ::4, ::4], x) or torch.equal(h[:, ::4, 3::4], x)
        for x, h in zip(lr, hr, strict=True)
    ]


def test_crops_stay_aligned_and_are_mirrored_together(dataset):
    batches = list(itertools.islice(iter(module(dataset).train_dataloader()), 10))
    assert all(all(aligned(batch)) for batch in batches)
    assert batches[0]["hr"].shape == (4, 3, 32, 32) and batches[0]["lr"].shape == (4, 3, 8, 8)
    mirrored = [
        torch.equal(h[:, ::4, 3::4], x)
        for batch in batches
        for x, h in zip(batch["lr"], batch["hr"], strict=True)
    ]
    assert 5 < sum(mirrored) < 35
    assert {"waves, checks", ""} == {tag for batch in batches for tag in batch["tags"]}


def test_a_report_names_the_photographs_of_a_batch(dataset):
    batch = next(iter(module(dataset).train_dataloader()))
    names = BatchSamples(batch).describe()["name"]
    assert len(names) == 4 and all(Path(name).is_relative_to(dataset) for name in names)


def test_the_stream_is_the_same_on_any_number_of_ranks(dataset):
    def seeds(data, batches):
        return [
            int(seed)
            for batch in itertools.islice(iter(data.train_dataloader()), batches)
            for seed in batch["seed"]
        ]

    ranks = [seeds(module(dataset, rank=rank, world=2, batch_size=2), 5) for rank in range(2)]
    assert [s for k in range(5) for rank in ranks for s in rank[2 * k : 2 * k + 2]] == seeds(
        module(dataset), 5
    )


def test_validation_uses_whole_photographs_each_on_one_rank(dataset):
    sizes = [tuple(batch["hr"].shape[2:]) for batch in module(dataset, "validate").val_dataloader()]
    assert sizes == [(96 - 4 * i, 128) for i in range(5)]
    parts = [list(module(dataset, "test", rank, 3).test_dataloader()) for rank in range(3)]
    assert sorted(int(batch["seed"]) for part in parts for batch in part) == sorted(
        int(batch["seed"]) for batch in module(dataset, "test").test_dataloader()
    )
    assert len(module(dataset, "validate", max_images=2).val_dataloader()) == 2


def test_pairs_that_do_not_fit_are_named(dataset):
    with pytest.raises(
        ValueError,
        match=r"0_HR.png has 128 x 96 pixels, which is not 2 times the 32 x 24 of .*0_LR4.png",
    ):
        module(dataset, scale=2)
    with pytest.raises(ValueError, match="1_HR.png: shorter side 92 is below crop_size 96"):
        module(dataset, crop_size=96)
    with pytest.raises(ValueError, match="has no val"):
        module(dataset, "validate", val=None)
    (dataset / "LR" / "3_LR4.png").unlink()
    with pytest.raises(
        ValueError, match=r"3_HR.png has no partner of .*LR: add .*\(1 photographs lack"
    ):
        module(dataset)


def test_a_damaged_pair_is_replaced_in_training_and_an_error_in_validation(dataset, caplog):
    hr = dataset / "HR" / "2_HR.png"
    hr.write_bytes(hr.read_bytes()[:-300])
    data = module(dataset, "fit", batch_size=10)
    batch = next(iter(data.train_dataloader()))
    assert all(aligned(batch)) and len(batch["hr"]) == 10
    assert caplog.text.count("2_HR.png") == 1
    with pytest.raises(ValueError, match="2_HR.png"):
        list(data.val_dataloader())


def test_a_crop_of_the_teacher_shows_the_place_of_the_crop_of_the_photograph(dataset):
    (dataset / "teacher").mkdir()
    for path in (dataset / "HR").glob("*_HR.png"):
        pixels = 255 - np.asarray(Image.open(path))
        Image.fromarray(pixels).save(dataset / "teacher" / path.name.replace("_HR", "_LR4"))
    data = module(dataset, teacher=str(dataset / "teacher"))
    for batch in itertools.islice(iter(data.train_dataloader()), 5):
        torch.testing.assert_close(batch["teacher"], -batch["hr"])
    assert all("teacher" not in batch for batch in data.val_dataloader())


def test_a_teacher_that_lacks_a_photograph_or_has_another_size_is_named(dataset):
    (dataset / "teacher").mkdir()
    for path in (dataset / "HR").glob("*_HR.png"):
        Image.open(path).save(dataset / "teacher" / path.name)
    Image.new("RGB", (128, 48)).save(dataset / "teacher" / "2_HR.png")
    with pytest.raises(ValueError, match=r"teacher/2_HR.png has 128 x 48 pixels"):
        module(dataset, teacher=str(dataset / "teacher"))
    (dataset / "teacher" / "2_HR.png").unlink()
    with pytest.raises(ValueError, match="lacks the teacher's results of 1 of 5 photographs"):
        module(dataset, teacher=str(dataset / "teacher"))


def test_pairs_of_different_sizes_do_not_share_a_batch(dataset):
    with pytest.raises(
        ValueError,
        match="photographs of val have 5 different sizes, which do not fit into one batch",
    ):
        module(dataset, "validate", val_batch_size=2)


def test_the_hr_photographs_are_there_to_fit_statistics_to(dataset):
    assert [image.shape for image in module(dataset).photographs()] == [
        (96 - 4 * i, 128, 3) for i in range(5)
    ]


def test_real_photographs_without_ground_truth(dataset):
    data = RealLQDataModule(str(dataset / "HR"))
    data.trainer = SimpleNamespace(global_rank=0, world_size=1)
    data.setup("test")
    batches = list(data.test_dataloader())
    assert len(batches) == 5 and all(
        "hr" not in batch and batch["lr"].shape[3] == 128 for batch in batches
    )
    assert batches[1]["tags"] == ["waves, checks"]
    with pytest.raises(ValueError, match="no HR photographs to train on"):
        data.setup("fit")
    with pytest.raises(ValueError, match="no such folder; give a folder of photographs .RealLQ250"):
        RealLQDataModule(str(dataset / "RealLQ250")).setup("test")


def test_of_a_large_real_photograph_the_middle_is_taken(dataset):
    whole = LowQualityPhotographs(dataset / "HR", seed=0)[0]["lr"]
    assert whole.shape == (3, 96, 128)
    assert torch.equal(
        LowQualityPhotographs(dataset / "HR", seed=0, max_side=100)[0]["lr"], whole[:, :, 14:114]
    )
