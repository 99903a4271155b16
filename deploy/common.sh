# shellcheck shell=bash
# What the scripts beside this one share: messages, the program, and the words that variables become.

say() {
    echo "== $*"
}

# Ends with what is wrong and what to do about it; the exit code is serve's for what cannot be done.
die() {
    echo "${0##*/}: $1" >&2
    echo "  -> $2" >&2
    exit 2
}

find_serve() {
    local folder
    folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    if command -v serve; then
        return
    elif [[ -x "$folder/.venv/bin/serve" ]]; then # a checkout that tools/dev.py has set up
        echo "$folder/.venv/bin/serve"
    else
        die "serve is not on PATH" "install it with deploy/install.sh, or run: python3 tools/dev.py demo"
    fi
}

# Fills `words` with what a launch and a service take alike; the caller declares it. What is served already, in the file
# that may be given, stands in for the model and the preset.
collect_words() {
    words=(${MODEL:+"$MODEL"})
    if [[ -n "${1:-}" ]]; then words+=(--config "$1"); else words+=(--preset "${PRESET:-balanced}"); fi
    [[ -z "${PORT:-}" ]] || words+=(--port "$PORT")
    [[ -z "${ENGINE:-}" ]] || words+=(--engine "$ENGINE")
    [[ -z "${HOST:-}" ]] || words+=(--host "$HOST")
    [[ -z "${MEM_FRACTION_STATIC:-}" ]] || words+=(--memory-fraction "$MEM_FRACTION_STATIC")
    [[ -z "${DRAFT_MODEL:-}" ]] || words+=(--speculative-draft-model "$DRAFT_MODEL")
    [[ -z "${SOURCE:-}" ]] || words+=(--source "$SOURCE")
}

# The same for a service, which has a key unless one is given.
collect_service_words() {
    collect_words "${1:-}"
    [[ -n "${1:-}${SERVE_API_KEY:-}" ]] || words+=(--api-key auto)
    [[ -z "${CUDA_VISIBLE_DEVICES:-}" ]] || words+=(--set "env.CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES")
}
