"""Feature matching: the student is drawn to the teacher by the features of the discriminator."""

import torch

from lsr.student.config import StudentConfig, UNetConfig
from lsr.student.discriminators import Discriminators, Evidence
from lsr.student.pictures import Pictures


def test_features_of_the_student_are_compared_with_those_of_the_teacher(generator):
    config = StudentConfig(unet=UNetConfig(channels=4, feature_weight=2.0))
    judges = Discriminators(config, None).eval()
    fake = torch.randn(2, 3, 8, 8, generator=generator).requires_grad_()
    teacher = torch.randn(2, 3, 8, 8, generator=generator)
    found = judges.adversarial(Evidence([], fake), Pictures(teacher, teacher))
    layers = zip(judges.unet.features(fake), judges.unet.features(teacher), strict=True)
    errors = [(one - other).abs().mean() for one, other in layers]
    assert len(errors) == 7
    torch.testing.assert_close(found["features"], sum(errors) / 7)
    (gradient,) = torch.autograd.grad(found["features"], fake)
    assert (gradient != 0).any()


def test_without_a_weight_no_teacher_is_looked_at(generator):
    judges = Discriminators(StudentConfig(unet=UNetConfig(channels=4)), None)
    fake = torch.randn(1, 3, 8, 8, generator=generator)
    assert judges.adversarial(Evidence([], fake), None).keys() == {"unet"}
