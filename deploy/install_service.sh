#!/usr/bin/env bash
# Makes a service of systemd with `serve service install`, starts it and waits until it serves. Done again, it changes
# what has changed. Arguments are passed on, such as --context-length 32k or --dry-run.
#
#   NAME                  the service is serve@NAME                    (main)
#   CUDA_VISIBLE_DEVICES  the GPUs that it may use, such as 1          (all)
#   SERVE_API_KEY         the API key                                  (one is made)
#
# and the variables of start_server.sh. Root makes a service of the host, anybody else one of their own:
#
#   sudo env NAME=qwen3 MODEL=Qwen/Qwen3-14B deploy/install_service.sh
#   systemctl status serve@qwen3; journalctl --follow --unit serve@qwen3
set -euo pipefail
# shellcheck source=deploy/common.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/common.sh"

main() {
    local serve words scope=()
    serve=$(find_serve)
    collect_service_words
    [[ "$EUID" == 0 ]] || scope=(--user)
    exec "$serve" service install "${NAME:-main}" "${words[@]}" "${scope[@]}" "$@"
}

main "$@"
