#!/usr/bin/env bash
# Starts Qwen3-VL-8B-Instruct with its EAGLE-3 draft in the foreground: start_server.sh, whose variables it takes, with
# the preset eagle3. For another model give MODEL and its own DRAFT_MODEL. Arguments are passed on to `serve launch`.
set -euo pipefail

main() {
    PRESET="${PRESET:-eagle3}" exec "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/start_server.sh" "$@"
}

main "$@"
