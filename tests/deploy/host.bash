# shellcheck shell=bash disable=SC2034
# A host for each test, within a systemd of its own (test_bats.py boots it): whatever is written to it is written to
# layers above this machine's folders, which a test can look at and which are gone afterwards.
# ROOT, PYTHON and PACKAGES are the checkout, a Python and a folder for uv's cache, from test_bats.py.

FOLDERS=(/opt /usr/local/bin /var/lib /var/cache /etc /root /home /srv)

make_host() {
    local folder layer
    LAYERS=$BATS_TEST_TMPDIR/layers CHECKOUT=/srv/checkout
    mkdir "$LAYERS"
    mount -t tmpfs -o size=64G tmpfs "$LAYERS" # next to nothing of it is used, but an engine asks for room
    for folder in "${FOLDERS[@]}"; do
        layer=$LAYERS$folder
        mkdir -p "$layer/upper" "$layer/work"
        mount -t overlay overlay -o "lowerdir=$folder,upperdir=$layer/upper,workdir=$layer/work" "$folder"
    done
    mkdir "$CHECKOUT"
    mount --bind "$ROOT" "$CHECKOUT"
    cp "$(command -v uv)" /usr/local/bin/uv
    install_nvidia_smi
    INSTALL=$CHECKOUT/deploy/install.sh
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    export HOME=/root UV_CACHE_DIR=$PACKAGES NAME=qwen3 SERVE_CONTEXT_LENGTH=2048
    unset PYTHONPATH VIRTUAL_ENV SERVE_HOME MODEL PRESET ENGINE HOST PORT CUDA_VISIBLE_DEVICES
    cd /
    note_writes
}

end_host() {
    local folder
    [ -z "${HUB:-}" ] || kill "$HUB"
    systemctl kill --signal=KILL "serve@*" "manager" 2>/dev/null || true
    systemctl stop "serve@*" "manager" 2>/dev/null || true
    umount --lazy "$CHECKOUT"
    for folder in "${FOLDERS[@]}"; do umount --lazy "$folder"; done
    umount --lazy "$LAYERS"
    systemctl daemon-reload
}

# The GPUs that nvidia-smi tells of, each a JSON object of what differs from a healthy H100.
install_nvidia_smi() {
    local IFS=,
    ((${#})) || set -- '{}'
    mkdir -p /srv/nvidia-smi
    cp "$ROOT/tests/fake_nvidia_smi.py" /srv/nvidia-smi/
    echo "{\"gpus\": [$*]}" >/srv/nvidia-smi/gpus.json
    printf '#!/bin/sh\nFAKE_NVIDIA_SMI=/srv/nvidia-smi/gpus.json exec /usr/bin/python3 /srv/nvidia-smi/%s "$@"\n' \
        fake_nvidia_smi.py >/usr/local/bin/nvidia-smi
    chmod +x /usr/local/bin/nvidia-smi
}

# An engine as `serve engines install` makes them, of a vLLM that is fake_engine.py; in a folder, of a version.
install_fake_engine() {
    local version=${2:-0.32.0} folder
    folder=${1:-/var/lib/serve/data/engines}/vllm-$version-cuda
    mkdir -p "$(dirname "$folder")"
    /usr/bin/python3 "$ROOT/tests/fake_environment.py" "$folder" "$version"
    note_writes
}

# What has been written to the host since `note_writes`, but for what a user that came and went leaves in /etc, backups
# and a lock of the tools for users, and for what a server that runs says of itself every few seconds.
note_writes() {
    written >"$BATS_TEST_TMPDIR/noted"
}

new_writes() {
    written | diff "$BATS_TEST_TMPDIR/noted" - || true
}

written() {
    (cd "$LAYERS" && find ./*/upper ./*/*/upper -mindepth 1 ! -path '*/__pycache__*' ! -path './etc/upper/*' \
        ! -path './srv/*' ! -name pulse.json -print | sort
    cd /etc && find . -type f ! -name '*-' ! -name '.pwd.lock' ! -name 'subuid' ! -name 'subgid' -print0 | sort -z |
        xargs -0 sha256sum)
}

# The demo model at a port of its own.
want_demo() {
    MODEL=demo
    PORT=$("$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    export MODEL PORT
}

# A hub that has the demo model under a name; ends with the test.
start_hub() {
    mkdir -p "/srv/hub/$1"
    cp -r /var/lib/serve/data/models/demo-1/. "/srv/hub/$1"
    (cd "$ROOT" && exec "$PYTHON" -m tests.hub /srv/hub) >/srv/hub.address 3>&- &
    HUB=$!
    until [ -s /srv/hub.address ]; do sleep 0.1; done
    HF_ENDPOINT=$(cat /srv/hub.address)
    export HF_ENDPOINT
}

uninstall() {
    try env --unset=NAME "$INSTALL" --uninstall "$@"
}

# `run` with the output shown when the test fails.
try() {
    run "$@"
    echo "${output:-}"
}
