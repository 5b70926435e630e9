"""What the experts of stage 2 start from."""

import logging
from pathlib import Path

from lsr.checkpoint import initialise
from lsr.experts import ExpertMixture, ExpertsConfig
from lsr.knee_seed import SEED, read_manifest

log = logging.getLogger(__name__)


def seed_experts(mixture: ExpertMixture, config: ExpertsConfig) -> None:
    """Make every expert a copy of the knee.

    Args:
        mixture: The experts.
        config: Names the knee, or another model file if it allows one.

    Raises:
        ValueError: If there is no such knee, its weights are not those that were published, or they are of another configuration.
    """
    first = mixture.expert(0)
    initialise(first, _verified(Path(config.seed), config.allow_unverified_seed))
    for i in range(1, len(mixture.experts)):
        mixture.expert(i).load_state_dict(first.state_dict())


def _verified(seed: Path, allow_unverified: bool) -> Path:
    if not seed.exists():
        raise ValueError(f"{seed}: no such knee; make stage1 publishes one, and lsr knee {seed.parent} tells why there is none")
    path = seed / SEED if seed.is_dir() else seed
    try:
        if not seed.is_dir():
            raise ValueError(f"{seed}: is not the folder of a knee")
        read_manifest(seed)
    except ValueError as error:
        if not allow_unverified:
            raise ValueError(f"{error}; experts.allow_unverified_seed: true lets any model file through") from error
        log.warning("%s: the experts grow from it unverified", error)
    return path
