import pytest

from lsr.datasets.paired_folders import FOLDERS, find_pairs, paired_folders, teacher_files


def files(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    "pairs",
    [
        [("a.png", "a.jpg"), ("b.jpg", "b.png")],
        [("Canon_001_LR4.png", "Canon_001_HR.png")],
        [("DSC_1_x4.png", "DSC_1_x1.png"), ("DSC_2_x4.png", "DSC_2_x1.png")],
        [("bird_LR_x4.png", "bird_HR_x4.png"), ("cat_x4_LR.png", "cat_HR.png")],
        [("0801x4.png", "0801.png"), ("0802x4.png", "0802.png")],
        [("b.png", "b.png"), ("deep/a.png", "deep/a.png")],
        [("x2.png", "x2.png"), ("x4.png", "x4.png")],
    ],
)
def test_partners_are_told_by_name(tmp_path, pairs):
    files(tmp_path / "l", *(lr for lr, _ in pairs))
    files(tmp_path / "h", *(hr for _, hr in reversed(pairs)))
    assert find_pairs(tmp_path / "l", tmp_path / "h") == [
        (tmp_path / "l" / lr, tmp_path / "h" / hr) for lr, hr in pairs
    ]


@pytest.mark.parametrize(
    ("lr", "hr", "message"),
    [
        (["a.png"], ["a.png", "b.png"], "b.png has no partner of .*l: add .*1 photographs"),
        (["a.png", "b.png"], ["c.png"], "a.png has no partner of .*h: add .*3 photographs"),
        (["a_x2.png", "a_x4.png"], ["a_x1.png"], "a_x4.png and a_x2.png have the same name"),
        ([], ["a.png"], "no such folder"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, lr, hr, message):
    files(tmp_path / "l", *lr)
    with pytest.raises(ValueError, match=message):
        find_pairs(tmp_path / "l", files(tmp_path / "h", *hr))


@pytest.mark.parametrize("names", FOLDERS)
def test_a_data_set_is_known_by_its_folders(tmp_path, names):
    for name in names:
        (tmp_path / name).mkdir()
    assert paired_folders(tmp_path) == (tmp_path / names[0], tmp_path / names[1])
    (tmp_path / names[1]).rmdir()
    with pytest.raises(
        ValueError, match="one of HR photographs, named LR and HR, test_LR and test_HR"
    ):
        paired_folders(tmp_path)


@pytest.mark.parametrize(
    "names",
    [("a.jpg", "deep/b.png", "c.png"), ("a_x4.png", "deep/b.png")],
)
def test_results_of_a_teacher_are_told_by_the_names_of_the_lr_photographs(tmp_path, names):
    lr = files(tmp_path / "l", "a.png", "deep/b.png")
    pairs = [(lr / name, tmp_path / "h" / name) for name in ("a.png", "deep/b.png")]
    results = files(tmp_path / "t", *names)
    assert teacher_files(results, lr, pairs) == [results / names[0], results / names[1]]


def test_a_teacher_that_lacks_results_is_named_with_their_number(tmp_path):
    lr = files(tmp_path / "l", "a.png", "b.png", "c.png")
    pairs = [(lr / name, tmp_path / "h" / name) for name in ("a.png", "b.png", "c.png")]
    results = files(tmp_path / "t", "b.png")
    with pytest.raises(ValueError, match="lacks the teacher's results of 2 of 3 .*as .*a.png"):
        teacher_files(results, lr, pairs)
    with pytest.raises(ValueError, match="no such folder of a teacher's results"):
        teacher_files(tmp_path / "none", lr, pairs)
