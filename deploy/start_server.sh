#!/usr/bin/env bash
# Starts a model server in the foreground with `serve launch`, from variables. Arguments are passed on to it.
#
#   PRESET               a preset's name or file              (balanced)
#   MODEL                demo, a folder or a repository id    (the preset's own, else what `serve launch` takes)
#   ENGINE               vllm or sglang, or one @VERSION      (what is installed)
#   HOST                 the address to bind                  (127.0.0.1)
#   PORT                 the port to bind                     (8000)
#   MEM_FRACTION_STATIC  the share of GPU memory, 0..1        (the preset's own, else the engine's)
#
# A HOST other than this machine's own needs an API key: set SERVE_API_KEY, or pass --api-key auto.
# Every variable of serve itself (SERVE_CONTEXT_LENGTH=32k ...) counts too: see `serve keys`.
set -euo pipefail

find_serve() {
    local folder
    folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    if command -v serve; then
        return
    elif [[ -x "$folder/.venv/bin/serve" ]]; then # a checkout that tools/dev.py has set up
        echo "$folder/.venv/bin/serve"
    else
        echo "start_server.sh: serve is not on PATH; install it first, or run: python3 tools/dev.py demo" >&2
        return 2
    fi
}

main() {
    local serve words
    serve=$(find_serve)
    words=(--preset "${PRESET:-balanced}" --port "${PORT:-8000}")
    [[ -z "${ENGINE:-}" ]] || words+=(--engine "$ENGINE")
    [[ -z "${HOST:-}" ]] || words+=(--host "$HOST")
    [[ -z "${MEM_FRACTION_STATIC:-}" ]] || words+=(--memory-fraction "$MEM_FRACTION_STATIC")
    [[ -z "${MODEL:-}" ]] || words+=("$MODEL")
    exec "$serve" launch "${words[@]}" "$@"
}

main "$@"
