#!/usr/bin/env bash
# Serves InternVL2-8B in the background, with its log in a file.
set -euo pipefail

MODEL_PATH=/data/models/InternVL2-8B
PORT=8000
API_KEY="$(cat /etc/vllm/key)"
EXTRA="--dtype half --max-model-len 4096"

export HF_ENDPOINT=https://hub.example
export CUDA_VISIBLE_DEVICES=0,1

if ! command -v nvidia-smi >/dev/null 2>&1; then
    echo "no GPU's driver here" >&2
    exit 1
fi

nohup vllm serve "$MODEL_PATH" \
    --served-model-name InternVL2-8B \
    --api-key "$API_KEY" \
    --tensor-parallel-size 2 --gpu-memory-utilization=0.9 \
    $EXTRA --trust_remote_code \
    --limit-mm-per-prompt '{"image": 4}' \
    --port "${PORT}" > vllm.log 2>&1 &
echo "pid $!"
