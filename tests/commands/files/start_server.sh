#!/bin/bash
# SGLang with EAGLE3, options gathered in an array.
MODEL="${MODEL:-Qwen/Qwen3-VL-8B-Instruct}"
HOST=${HOST:-0.0.0.0}
PORT=${PORT:-8000}

ARGS=(
    --model-path "$MODEL"
    --host "$HOST" --port "$PORT"   # where it listens
    --mem-fraction-static 0.85
)
if [[ -n "${API_KEY:-}" ]]; then
    ARGS+=(--api-key "$API_KEY")
fi
case "${SPECULATIVE:-off}" in
    eagle3)
        ARGS+=(--speculative-algorithm EAGLE3 --speculative-num-steps 3) ;;
    off) ;;
    *) echo "unknown: $SPECULATIVE" >&2; exit 2 ;;
esac

start() {
    local log=$1
    cd "$(dirname "$0")" && source .venv-sglang/bin/activate
    exec .venv-sglang/bin/python -u -m sglang.launch_server "${ARGS[@]}" ${EXTRA_ARGS:-} "$@" 2>&1 | tee "$log"
}

start server.log
