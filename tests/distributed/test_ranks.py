from dataclasses import replace

import lightning as L
import pytest
from lightning.pytorch.strategies import DDPStrategy
from support.tiny import TINY

from lsr.training.module import LinearSRModule


@pytest.mark.parametrize(("context_dim", "unused"), [(12, True), (0, False)])
def test_a_cross_attention_that_nothing_guides_may_be_left_without_gradients(context_dim, unused):
    module = LinearSRModule(replace(TINY, context_dim=context_dim))
    strategy = DDPStrategy()
    module.trainer = L.Trainer(accelerator="cpu", strategy=strategy, logger=False)
    module.setup("predict")
    assert strategy._ddp_kwargs.get("find_unused_parameters", False) == unused
