#!/usr/bin/env bash
# One node of 8 GPUs: vLLM writes on the first four, the other four train (TRL's server mode).
# Usage: cluster/node4-vllm.sh [arguments of `r3lib experiment`, such as --task countdown --seeds 0]
set -euo pipefail
model=${MODEL:-Qwen/Qwen2.5-1.5B-Instruct}
CUDA_VISIBLE_DEVICES=0,1,2,3 trl vllm-serve --model "$model" --tensor-parallel-size 4 --max-model-len 8192 &
server=$!
trap 'kill "$server"' EXIT
until curl -sf http://localhost:8000/health > /dev/null; do
    kill -0 "$server"  # ends here if the server did
    sleep 5
done
CUDA_VISIBLE_DEVICES=4,5,6,7 accelerate launch --config_file cluster/node8.yaml --num_processes 4 \
    -m r3lib experiment --profile paper --vllm server "$@"
