import pytest
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, ModelParallelStrategy

from lsr.distributed import refuse_sharded_weights


@pytest.mark.parametrize("strategy", [FSDPStrategy, ModelParallelStrategy])
def test_sharded_weights_are_refused_with_what_to_do_instead(strategy):
    with pytest.raises(ValueError, match="FSDP is not supported.*merge-experts"):
        refuse_sharded_weights(strategy())


def test_whole_weights_are_not_refused():
    refuse_sharded_weights(DDPStrategy())
