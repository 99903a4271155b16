#!/usr/bin/env bash
# Downloads a model with `serve models pull`, from variables. Arguments are passed on to it.
#
#   MODEL   a repository id                        (the preset's)
#   PRESET  a preset's model and its draft         (none; one of the two is needed)
#   SOURCE  huggingface, modelscope or auto        (huggingface)
#   TO      the folder that it is put into         (the hub's own cache)
#
# HF_TOKEN, HF_ENDPOINT and HF_HOME count as they do for Hugging Face's own programs.
set -euo pipefail
# shellcheck source=deploy/common.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/common.sh"

main() {
    local serve words
    [[ -n "${MODEL:-}${PRESET:-}" ]] || die "no model is named" "MODEL=Qwen/Qwen3-14B $0"
    serve=$(find_serve)
    words=()
    [[ -z "${MODEL:-}" ]] || words+=("$MODEL")
    [[ -z "${PRESET:-}" ]] || words+=(--preset "$PRESET")
    [[ -z "${SOURCE:-}" ]] || words+=(--source "$SOURCE")
    [[ -z "${TO:-}" ]] || words+=(--to "$TO")
    exec "$serve" models pull "${words[@]}" "$@"
}

main "$@"
