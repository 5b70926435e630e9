from dataclasses import replace

import lightning as L
import pytest
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, ModelParallelStrategy
from tiny import TINY

from lsr.distributed import refuse_sharded_weights
from lsr.module import LinearSRModule


@pytest.mark.parametrize("strategy", [FSDPStrategy, ModelParallelStrategy])
def test_sharded_weights_are_refused_with_what_to_do_instead(strategy):
    with pytest.raises(ValueError, match="FSDP is not supported.*merge-experts"):
        refuse_sharded_weights(strategy())


@pytest.mark.parametrize(("context_dim", "unused"), [(12, True), (0, False)])
def test_a_cross_attention_that_nothing_guides_may_be_left_without_gradients(context_dim, unused):
    module = LinearSRModule(replace(TINY, context_dim=context_dim))
    strategy = DDPStrategy()
    module.trainer = L.Trainer(accelerator="cpu", strategy=strategy, logger=False)
    module.setup("predict")
    assert strategy._ddp_kwargs.get("find_unused_parameters", False) == unused


def test_whole_weights_are_not_refused():
    refuse_sharded_weights(DDPStrategy())
