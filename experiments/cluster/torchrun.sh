#!/bin/bash
# A run on several machines without a scheduler: the same command on each, with its own NODE_RANK, from the root of the repository.
#   NODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 bash experiments/cluster/torchrun.sh experiments/linearsr/stage1.yaml
#   NODES=2 NODE_RANK=1 MASTER_ADDR=10.0.0.1 bash experiments/cluster/torchrun.sh experiments/linearsr/stage1.yaml
set -euo pipefail

config=${1:?name an experiment file}
shift
devices=${DEVICES:-8}
exec .venv/bin/python -m torch.distributed.run \
    --nnodes "${NODES:?how many machines}" --node-rank "${NODE_RANK:?which of them this is, from 0}" --nproc-per-node "$devices" \
    --master-addr "${MASTER_ADDR:?the address of machine 0}" --master-port "${MASTER_PORT:-29500}" \
    -m lsr fit --config "$config" --ckpt_path last --trainer.num_nodes "$NODES" --trainer.devices "$devices" "$@"
