# shellcheck shell=bash
# What the scripts beside this one share: messages, the program, and the words that variables become.

say() {
    echo "== $*"
}

# Ends with what is wrong, what to do about it, and an exit code of serve's: 2, nothing was done, or 1, something failed.
die() {
    echo "${0##*/}: $1" >&2
    [[ -z "${2:-}" ]] || echo "  -> $2" >&2
    exit "${3:-2}"
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

# Fills `words` with what a launch and a service take alike; the caller declares it.
collect_words() {
    words=()
    [[ -z "${MODEL:-}" ]] || words+=("$MODEL")
    words+=(--preset "${PRESET:-balanced}" --port "${PORT:-8000}")
    [[ -z "${ENGINE:-}" ]] || words+=(--engine "$ENGINE")
    [[ -z "${HOST:-}" ]] || words+=(--host "$HOST")
    [[ -z "${MEM_FRACTION_STATIC:-}" ]] || words+=(--memory-fraction "$MEM_FRACTION_STATIC")
    [[ -z "${DRAFT_MODEL:-}" ]] || words+=(--speculative-draft-model "$DRAFT_MODEL")
    [[ -z "${SOURCE:-}" ]] || words+=(--source "$SOURCE")
}

# Fills `words` with what `serve service install` takes: root makes services of the host, others their own.
collect_service_words() {
    collect_words
    words=("${NAME:-main}" "${words[@]}")
    [[ "$EUID" == 0 ]] || words+=(--user)
    [[ -n "${SERVE_API_KEY:-}" ]] || words+=(--api-key auto)
    [[ -z "${CUDA_VISIBLE_DEVICES:-}" ]] || words+=(--set "env.CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES")
}
