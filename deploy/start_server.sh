#!/usr/bin/env bash
# Starts a model server in the foreground with `serve launch`, from variables. Arguments are passed on to it.
#
#   PRESET               a preset's name or file              (balanced)
#   MODEL                demo, a folder or a repository id    (the preset's own, else what `serve launch` takes)
#   DRAFT_MODEL          the draft model of eagle3, as MODEL  (the preset's own)
#   SOURCE               huggingface or modelscope            (auto)
#   ENGINE               vllm or sglang, or one @VERSION      (what is installed)
#   HOST                 the address to bind                  (127.0.0.1)
#   PORT                 the port to bind                     (serve's own: 8000)
#   MEM_FRACTION_STATIC  the share of GPU memory, 0..1        (the preset's own, else the engine's)
#
# A HOST other than this machine's own needs an API key: set SERVE_API_KEY, or pass --api-key auto.
# Every variable of serve itself (SERVE_CONTEXT_LENGTH=32k ...) counts too: see `serve keys`.
set -euo pipefail
# shellcheck source=deploy/common.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/common.sh"

main() {
    local serve words
    serve=$(find_serve)
    collect_words
    exec "$serve" launch "${words[@]}" "$@"
}

main "$@"
