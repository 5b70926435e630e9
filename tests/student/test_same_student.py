"""A continued run of stage 3 keeps its teacher, its start, and what is real to discriminators."""

import pytest

from lsr.student.same_student import check_same_student


def run(real: str = "hr", noise: bool = True, **frozen: str) -> dict:
    return {"terms": ["ladd", "teacher_l1"], "real": real, "noise": noise, "frozen": frozen}


def test_a_teacher_that_samples_neither_comes_nor_goes():
    without, with_it = run(ladd="a"), run(ladd="a", teacher="a")
    check_same_student(with_it, with_it)
    with pytest.raises(ValueError, match="without a teacher that samples: keep student.teacher_s"):
        check_same_student(without, with_it)
    with pytest.raises(ValueError, match="with a teacher that samples: keep student.teacher_steps"):
        check_same_student(with_it, without)


def test_what_the_discriminators_see_as_real_does_not_change():
    with pytest.raises(ValueError, match="trained with student.real: hr, not teacher: keep it"):
        check_same_student(run(ladd="a"), run("teacher", ladd="a"))
    earlier = run(ladd="a")
    del earlier["real"]
    check_same_student(earlier, run("teacher", ladd="a"))


def test_a_student_that_starts_from_noise_goes_on_so():
    with pytest.raises(ValueError, match="trained with student.noise: true, not false: keep it"):
        check_same_student(run(), run(noise=False))
    with pytest.raises(ValueError, match="trained with student.noise: false, not true: keep it"):
        check_same_student(run(noise=False), run())
