"""The class of the module follows from the settings."""

import pytest

from lsr.training.module import LinearSRModule
from lsr.training.module_choice import module_of
from lsr.training.student import StudentModule

PLAIN = "model:\n  shift: 3.0\n"
STUDENT = "model:\n  student: {l1_weight: 1.0}\n"


@pytest.mark.parametrize("option", ["--config {}", "--config={}", "-c {}"])
@pytest.mark.parametrize(("text", "wanted"), [(PLAIN, LinearSRModule), (STUDENT, StudentModule)])
def test_a_file_with_a_student_is_of_stage_3(tmp_path, option, text, wanted):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    assert module_of(option.format(path).split()) is wanted


def test_one_setting_on_the_command_line_is_enough(tmp_path):
    assert module_of(["--config", "none.yaml", "--model.student.l1_weight=2"]) is StudentModule


@pytest.mark.parametrize("text", ["model: 3", "a: [", "", "- b", "model:", "student: 1"])
def test_what_is_wrong_with_a_file_is_told_by_the_parser(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    assert module_of(["--config", str(path)]) is LinearSRModule
    assert module_of(["--config", str(tmp_path / "none.yaml"), "--config"]) is LinearSRModule
