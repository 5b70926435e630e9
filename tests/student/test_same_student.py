"""A continued run of stage 3 keeps its teacher."""

import pytest

from lsr.student.same_student import check_same_student


def run(**frozen: str) -> dict:
    return {"terms": ["ladd", "teacher_l1"], "frozen": frozen}


def test_a_teacher_that_samples_neither_comes_nor_goes():
    without, with_it = run(ladd="a"), run(ladd="a", teacher="a")
    check_same_student(with_it, with_it)
    with pytest.raises(ValueError, match="without a teacher that samples: keep student.teacher_s"):
        check_same_student(without, with_it)
    with pytest.raises(ValueError, match="with a teacher that samples: keep student.teacher_steps"):
        check_same_student(with_it, without)
