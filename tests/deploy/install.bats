#!/usr/bin/env bats
# deploy/install.sh on hosts of many kinds: the real script, uv, serve and systemd; a fake GPU and a fake engine.

load host

setup() { make_host; }
teardown() { end_host; }

@test "from nothing to a service, and the same again changes nothing" {
    install_fake_engine
    want_demo
    try "$INSTALL"
    [ "$status" -eq 0 ]
    [[ "$output" == *"qwen3 serves demo at http://127.0.0.1:$PORT"* ]]
    [[ "$output" == *"done: systemctl status serve@qwen3" ]]
    [ "$(systemctl is-active serve@qwen3)" = active ]
    [ "$(systemctl is-enabled serve@qwen3)" = enabled ]
    [ "$(stat -c '%a %U' /etc/serve/qwen3.key)" = "600 root" ]
    pid=$(systemctl show --property=MainPID --value serve@qwen3)
    note_writes
    try "$INSTALL"
    [ "$status" -eq 0 ]
    [ "${lines[-1]}" = "== nothing to change" ]
    install_fake_engine /var/lib/serve/data/engines 0.33.0 # a newer one does not change what serves
    try "$INSTALL"
    [ "${lines[-1]}" = "== nothing to change" ]
    unset MODEL PORT # what is served stays, whoever forgets what it was
    try "$INSTALL"
    [ "$status" -eq 0 ]
    [ "${lines[-1]}" = "== nothing to change" ]
    [ "$(new_writes)" = "" ]
    [ "$(systemctl show --property=MainPID --value serve@qwen3)" = "$pid" ]
    PORT=8199 try "$INSTALL" # another port is all that changes
    [ "$status" -eq 0 ]
    [[ "$output" == *"qwen3 serves demo at http://127.0.0.1:8199"* ]]
}

@test "uninstalled, nothing is left" {
    want_demo
    try "$INSTALL" --dry-run
    before=$(written)
    try "$INSTALL" # stops at the engine, of which the index has none
    install_fake_engine
    try "$INSTALL"
    [ "$status" -eq 0 ]
    uninstall --dry-run
    [ "${lines[-1]}" = "== a dry run: nothing was changed" ]
    [[ "$output" != *kept* ]]
    try "$INSTALL" --uninstall
    [ "$status" -eq 2 ]
    [[ "$output" == *"-> serve service uninstall qwen3" ]]
    uninstall qwen3
    [ "$status" -eq 2 ]
    [ "$(systemctl is-active serve@qwen3)" = active ]
    uninstall
    [ "$status" -eq 0 ]
    diff <(echo "$before") <(written)
    [ "$(getent passwd serve)" = "" ]
    [ "$(systemctl is-active serve@qwen3)" = inactive ]
    uninstall
    [ "$status" -eq 0 ]
    [ "$output" = "== install.sh has installed nothing here" ]
}

@test "uninstalled, what was there before is left" {
    install_fake_engine
    mkdir -p /opt/serve /srv/fast/serve/models/mine /srv/fast/serve/models/org/other
    touch /opt/serve/mine /srv/fast/serve/models/mine/weights /srv/fast/serve/models/org/other/weights
    before=$(written; find /srv/fast)
    want_demo
    CACHE=/srv/fast try "$INSTALL"
    [ "$status" -eq 0 ]
    mkdir -p /srv/fast/serve/models/org/downloaded
    uninstall
    [ "$status" -eq 0 ]
    [[ "$output" == *"kept, for it is yours or was there before: /opt/serve/mine "* ]]
    diff <(echo "$before") <(written; find /srv/fast)
}

@test "serve without its interpreter: made again, and uninstalled" {
    want_demo
    DEVICE=cpu try "$INSTALL" --dry-run
    install_fake_engine
    before=$(written)
    try "$INSTALL"
    [ "$status" -eq 0 ]
    rm /opt/serve/tools/serve-launcher/bin/python*
    try "$INSTALL"
    [ "$status" -eq 0 ]
    [ "${lines[-1]}" = "== done: systemctl status serve@qwen3" ]
    serve --version
    touch /etc/serve/mine
    rm /opt/serve/tools/serve-launcher/bin/python*
    uninstall
    [ "$status" -eq 0 ]
    [[ "${lines[-1]}" == "== kept, for it is yours or was there before: "*" /etc/serve/mine" ]]
    [ "$(systemctl is-active serve@qwen3)" = inactive ]
    rm -r /etc/serve
    diff <(echo "$before") <(written)
}

@test "a service that something else has installed: left alone" {
    install_fake_engine
    want_demo
    uv venv --quiet /srv/own
    uv pip install --quiet --python /srv/own --requirements "$CHECKOUT/requirements/run.txt" "$CHECKOUT"
    SERVE_HOME=/var/lib/serve /srv/own/bin/serve service install qwen3 demo --port "$PORT"
    note_writes
    uninstall
    [ "$output" = "== install.sh has installed nothing here" ]
    [ "$(systemctl is-active serve@qwen3)" = active ]
    [ "$(new_writes)" = "" ]
}

@test "words that are none: refused before anything is written" {
    for wrong in --dryrun --uninstal --offline=x --offlien demo; do
        try "$INSTALL" "$wrong"
        [ "$status" -eq 2 ]
        [[ "$output" == *"$wrong is no option"*"  -> "* ]]
    done
    [[ "$output" == *"MODEL=demo deploy/install.sh" ]]
    try "$INSTALL" --revision
    [[ "$status" -eq 2 && "$output" == *"--revision needs "* ]]
    exec 8<"$INSTALL" # as another one that runs
    flock 8
    try "$INSTALL"
    [[ "$status" -eq 2 && "$output" == *"install.sh runs already"* ]]
    exec 8<&-
    try "$INSTALL" --offline /nope
    [[ "$output" == *"there is no file /nope"* ]]
    for wrong in 1 0,1 all; do
        CUDA_VISIBLE_DEVICES=$wrong try "$INSTALL"
        [ "$status" -eq 2 ]
        [[ "$output" == *"there is no GPU ${wrong#0,}"*"take of these: 0" ]]
    done
    [ "$(new_writes)" = "" ]
}

@test "a dry run shows what would be run and writes nothing" {
    ln -s "$INSTALL" /srv/link
    try env MODEL=Qwen/Qwen3-14B PORT=8100 HOST=0.0.0.0 MEM_FRACTION_STATIC=0.8 ENGINE=vllm@0.33.0 CACHE=srv \
        /srv/link --dry-run --context-length 32k
    [ "$status" -eq 0 ]
    [ "$(new_writes)" = "" ]
    [[ "$output" == *"+ ln -sfn /srv/serve /var/lib/serve/cache"* ]]
    [[ "$output" == *"uv tool install"* ]]
    [[ "$output" == *"+ /usr/local/bin/serve engines install vllm@0.33.0 --device cuda"* ]]
    folder=/var/lib/serve/cache/models/Qwen/Qwen3-14B
    [[ "$output" == *"+ /usr/local/bin/serve models pull Qwen/Qwen3-14B --to $folder"* ]]
    words="qwen3 $folder --preset balanced --port 8100 --engine vllm@0.33.0 --host 0.0.0.0 --memory-fraction 0.8"
    words+=" --api-key auto --served-name Qwen/Qwen3-14B --context-length 32k"
    [[ "$output" == *"+ /usr/local/bin/serve service install $words"* ]]
    [ "${lines[-1]}" = "== a dry run: nothing was changed" ]
}

@test "no GPU: refused, with the way to do without" {
    rm /usr/local/bin/nvidia-smi
    try "$INSTALL"
    [ "$status" -eq 2 ]
    [[ "$output" == *"nvidia-smi is not on PATH"*"DEVICE=cpu"* ]]
    printf '#!/bin/sh\necho "No devices were found"\nexit 6\n' >/usr/local/bin/nvidia-smi
    chmod +x /usr/local/bin/nvidia-smi
    try "$INSTALL"
    [ "$status" -eq 2 ]
    [[ "$output" == *"No devices were found"* ]]
    [ "$(new_writes | grep -v nvidia-smi | grep '^[<>]')" = "" ]
    DEVICE=cpu try "$INSTALL" --dry-run
    [ "$status" -eq 0 ]
    [[ "$output" == *"engines install vllm --device cpu"* ]]
}

@test "an old driver: refused, with the releases that it can run" {
    install_nvidia_smi '{"driver_version": "470.256.02"}'
    ENGINE=vllm@0.19.1 try "$INSTALL"
    [ "$status" -eq 2 ]
    [[ "$output" == *"driver 470.256.02 is too old"*"525"* ]]
    install_nvidia_smi '{"driver_version": "[N/A]"}'
    try "$INSTALL"
    [ "$status" -eq 2 ]
    [[ "${lines[0]}" == *"no version of the driver: [N/A]" ]]
    install_nvidia_smi '{"driver_version": "550.54.15"}'
    try "$INSTALL"
    [ "$status" -eq 2 ]
    [[ "$output" == *"580"*"ENGINE=vllm@0.19.1"* ]]
    [ "$(new_writes)" = "" ]
    ENGINE=vllm@0.19.1 try "$INSTALL" --dry-run
    [ "$status" -eq 0 ]
}

@test "two GPUs: said, and one may be chosen" {
    install_nvidia_smi '{}' '{"name": "NVIDIA L40S"}'
    try "$INSTALL" --dry-run
    [ "$status" -eq 0 ]
    [[ "$output" == *"GPU 1: NVIDIA L40S"*"first of 2 GPUs"* ]]
    CUDA_VISIBLE_DEVICES=1 try "$INSTALL" --dry-run
    [[ "$output" != *"first of 2 GPUs"* ]]
    [[ "$output" == *"--set env.CUDA_VISIBLE_DEVICES=1"* ]]
    CUDA_VISIBLE_DEVICES=0,GPU-1 try "$INSTALL" --dry-run
    [ "$status" -eq 0 ]
    try "$INSTALL" --dry-run --tensor-parallel 2
    [[ "$output" != *"first of 2 GPUs"* ]]
}

@test "a full disk: refused before anything is written" {
    mkdir /var/lib/serve
    mount -t tmpfs -o size=2G tmpfs /var/lib/serve
    note_writes
    try "$INSTALL"
    umount /var/lib/serve
    [ "$status" -eq 2 ]
    [[ "$output" == *"/var/lib/serve: 2 GB are free, an engine takes 14 GB"* ]]
    [ "$(new_writes)" = "" ]
}

@test "a disk that fills up while it installs: the next run goes on" {
    install_fake_engine
    mkdir /opt/serve
    mount -t tmpfs -o size=1100M tmpfs /opt/serve
    head -c 1090M /dev/zero >/opt/serve/ballast
    sed -i 's/^PROGRAMS_GB=1/PROGRAMS_GB=0/' "$(copy_of_the_checkout)/deploy/host.sh" # as if it had filled up later
    want_demo
    try /srv/copy/deploy/install.sh
    [ "$status" -ne 0 ]
    [[ "$output" == *"No space left"* ]]
    rm /opt/serve/ballast
    try /srv/copy/deploy/install.sh
    [ "$status" -eq 0 ]
    [ "$(systemctl is-active serve@qwen3)" = active ]
    systemctl stop serve@qwen3
    umount --lazy /opt/serve
}

copy_of_the_checkout() {
    mkdir /srv/copy
    (cd "$CHECKOUT" && cp -r launcher presets deploy systemd requirements pyproject.toml README.md LICENSE /srv/copy/)
    echo /srv/copy
}

@test "runs that broke off: the next one goes on, and says nothing to change after that" {
    install_fake_engine
    want_demo
    UV_CACHE_DIR=/srv/empty UV_OFFLINE=1 try "$INSTALL" # no network
    [ "$status" -ne 0 ]
    SERVE_CONTEXT_LENGTH=auto try "$INSTALL" # which the fake engine does not take
    [ "$status" -ne 0 ]
    try timeout --signal=KILL 2 "$INSTALL" # wherever that is
    try "$INSTALL"
    [ "$status" -eq 0 ]
    [ "$(systemctl is-active serve@qwen3)" = active ]
    try "$INSTALL"
    [ "${lines[-1]}" = "== nothing to change" ]
}

@test "another checkout upgrades serve and leaves the service alone" {
    install_fake_engine
    want_demo
    try "$INSTALL"
    [ "$status" -eq 0 ]
    pid=$(systemctl show --property=MainPID --value serve@qwen3)
    unset MODEL PORT
    sed -i 's/^__version__ = .*/__version__ = "9.9.9"/' "$(copy_of_the_checkout)/launcher/__init__.py"
    try /srv/copy/deploy/install.sh
    [ "$status" -eq 0 ]
    [[ "$(serve --version)" == *9.9.9* ]]
    [ "$(systemctl show --property=MainPID --value serve@qwen3)" = "$pid" ]
    try "$INSTALL" # and back
    [ "$status" -eq 0 ]
    [[ "$(serve --version)" != *9.9.9* ]]
}

@test "uv is installed where there is none" {
    rm /usr/local/bin/uv
    unset UV_CACHE_DIR
    install_fake_engine
    before=$(written)
    want_demo
    try "$INSTALL"
    [ "$status" -eq 0 ]
    [ -x /opt/serve/uv/bin/uv ]
    [ -d /var/lib/serve/cache/uv ]
    try "$INSTALL"
    [ "${lines[-1]}" = "== nothing to change" ]
    uninstall
    diff <(echo "$before") <(written)
}

@test "models and caches go to the NVMe disk with the most room" {
    install_fake_engine
    mkdir -p /srv/disk/a /srv/disk/b /srv/disk/c
    for each in a:20G b:40G c:60G; do mount -t tmpfs -o "size=${each#*:}" "${each%:*}" "/srv/disk/${each%:*}"; done
    # Of tmpfs, as if a and b were NVMe disks, b below a volume of LVM.
    printf '#!/bin/sh\necho "9 c /srv/disk/c\n4 b /srv/disk/b\n2 a /srv/disk/a"\n' >/usr/local/bin/findmnt
    printf '#!/bin/sh\ncase "$*" in *\\ a) echo nvme0n1;; *\\ b) echo vg-lv; echo nvme1n1;; *) echo sda;; esac\n' \
        >/usr/local/bin/lsblk
    chmod +x /usr/local/bin/findmnt /usr/local/bin/lsblk
    unset UV_CACHE_DIR
    want_demo
    try "$INSTALL"
    [ "$status" -eq 0 ]
    [ "$(readlink /var/lib/serve/cache)" = /srv/disk/b/serve ]
    [ -d /srv/disk/b/serve/uv ]
    try "$INSTALL"
    [ "${lines[-1]}" = "== nothing to change" ]
    touch /srv/disk/b/serve/mine
    uninstall
    [ "$(ls /srv/disk/b/serve)" = mine ]
    [ "$(ls /var/lib/serve)" = data ]
    umount /srv/disk/a /srv/disk/b /srv/disk/c
}

@test "another program named serve is left alone" {
    install_fake_engine
    printf '#!/bin/sh\n' >/usr/local/bin/serve
    note_writes
    try "$INSTALL"
    [ "$status" -eq 2 ]
    [[ "$output" == *"/usr/local/bin/serve is another program"* ]]
    [ "$(new_writes)" = "" ]
    uninstall
    [ -e /usr/local/bin/serve ]
    rm /usr/local/bin/serve
    try "$INSTALL" --context-length # and an engine flag without its value is named
    [[ "$output" == *"'--context-length' requires an argument"* ]]
    try "$INSTALL" --context-length 2048 demo
    [[ "$output" == *"demo is no option"* ]]
    ln -sf /srv/foreign /usr/local/bin/serve
    printf '#!/bin/sh\necho "$@" >>/srv/called\n' >/srv/foreign
    chmod +x /srv/foreign
    uninstall
    [ ! -e /srv/called ]
    [ -L /usr/local/bin/serve ]
    [ ! -e /opt/serve ]
}

@test "what cannot be served is refused before an engine is downloaded for it" {
    for wrong in PRESET=nonsense NAME=a/b MODEL=nonsense; do
        try env "$wrong" "$INSTALL"
        [ "$status" -eq 2 ]
        [[ "$output" == *"serve: "*"  -> "* ]]
        [[ "$output" != *Traceback* && "$output" != *"engines install"* ]]
    done
}

@test "a Python that makes no environments: its package is installed by root, and named to others" {
    rm /usr/local/bin/uv
    printf '#!/bin/sh\nexit 1\n' >/usr/local/bin/python3
    chmod +x /usr/local/bin/python3
    try "$INSTALL" --dry-run
    [ "$status" -eq 0 ]
    [[ "$output" == *"apt-get install -qq -y python3-venv"* ]]
    as_user true
    start_manager
    try as_user "$INSTALL"
    [ "$status" -eq 2 ]
    [[ "$output" == *"-> sudo apt-get install python3-venv"* ]]
}

@test "a model of a hub is downloaded once, with its draft, and served from there" {
    install_fake_engine
    want_demo
    try "$INSTALL"
    [ "$status" -eq 0 ]
    try env NAME=drafted MODEL= PRESET=eagle3 HOST=0.0.0.0 PORT=$((PORT + 1)) "$INSTALL" --dry-run
    [ "$status" -eq 0 ]
    folder=/var/lib/serve/cache/models
    model=Qwen/Qwen3-VL-8B-Instruct
    draft=taobao-mnn/Qwen3-VL-8B-Instruct-Eagle3
    [[ "$output" == *"serve models pull $model --to $folder/$model"*"models pull $draft --to $folder/$draft"* ]]
    [[ "$output" == *"service install drafted $folder/$model --preset eagle3"* ]]
    [[ "$output" == *"--speculative-draft-model $folder/$draft"* ]]
    try "$INSTALL" --revision v0
    [[ "$status" -eq 2 && "$output" == *"--revision is of a model that is downloaded"* ]]
    try env NAME=drafted MODEL=org/demo "$INSTALL"
    [[ "$status" -eq 2 && "$output" == *"port $PORT is that of the service qwen3"* && "$output" != *"models pull"* ]]
    start_hub org/demo
    want_other() { env NAME=other MODEL=org/demo PRESET=high_performance PORT=$((PORT + 1)) "$INSTALL" "$@"; }
    try want_other --revision v0
    [[ "$status" -eq 2 && "$output" == *"has no revision 'v0'"* ]]
    try want_other
    [ "$status" -eq 0 ]
    rm "$folder/org/demo/model.safetensors"
    try want_other
    [ "$status" -eq 0 ]
    try want_other --revision main
    [ "$status" -eq 0 ]
    [ "${lines[-1]}" = "== nothing to change" ]
    try want_other
    [[ "$output" == *"org/demo is downloaded"*"other serves org/demo at"* ]]
}

@test "a model of ModelScope: its client comes with serve, and stays" {
    install_fake_engine
    want_demo
    try "$INSTALL"
    start_hub org/demo
    export MODELSCOPE_ENDPOINT=$HF_ENDPOINT HF_ENDPOINT=http://127.0.0.1:9
    want_other() { env NAME=other MODEL=org/demo SOURCE=modelscope PORT=$((PORT + 1)) "$INSTALL"; }
    try want_other
    [ "$status" -eq 0 ]
    [[ "$output" == *"other serves org/demo at"* ]]
    try want_other
    [ "${lines[-1]}" = "== nothing to change" ]
    try "$INSTALL"
    [ "${lines[-1]}" = "== nothing to change" ]
}

@test "offline: everything comes from a bundle, with the network cut off" {
    want_demo
    uv tool install --quiet --constraints "$CHECKOUT/requirements/run.txt" "$CHECKOUT" # so that uv has it all
    uv tool uninstall --quiet serve-launcher
    install_fake_engine
    mkdir -p /srv/bundle/serve-bundle
    mv /var/lib/serve/data/engines /srv/bundle/serve-bundle/
    cat >/srv/bundle/serve-bundle/install.sh <<'END' # tests/deploy/test_offline.py takes a real one
#!/bin/sh
set -e
UV_TOOL_DIR=$1/tools UV_TOOL_BIN_DIR=$1/bin UV_OFFLINE=1 \
    uv tool install --quiet --force --constraints /srv/checkout/requirements/run.txt /srv/checkout
mkdir -p "$SERVE_HOME/data"
cp -r "$(dirname "$0")/engines" "$SERVE_HOME/data/"
mkdir -p "$1/models"
cp -r "$(dirname "$0")"/model/* "$1/models/"
END
    chmod +x /srv/bundle/serve-bundle/install.sh
    mkdir -p /srv/bundle/serve-bundle/model/one
    echo '{}' >/srv/bundle/serve-bundle/model/one/config.json
    pack_bundle one bundle.tar.gz
    note_writes
    try env --unset=MODEL "$INSTALL" --dry-run --offline /srv/bundle.tar.gz
    [ "$status" -eq 0 ]
    [[ "$output" == *"== from /srv/bundle.tar.gz: serve, vllm@0.32.0, the model one"* ]]
    [[ "$output" == *"service install qwen3 /opt/serve/models/one"* ]]
    [[ "$output" != *"engines install"* && "$output" != *download* ]]
    mkdir /opt/serve
    mount -t tmpfs -o size=2G tmpfs /opt/serve
    tar --create --file /srv/large.tar --directory /srv/bundle serve-bundle
    truncate --size=1500M /srv/large.tar
    try "$INSTALL" --offline /srv/large.tar
    [[ "$output" == *"/opt/serve: 2 GB are free, the bundle takes 5 GB"* ]]
    umount /opt/serve
    rmdir /opt/serve
    try "$INSTALL" --offline /etc/passwd
    [ "$status" -eq 2 ]
    [[ "$output" == *"/etc/passwd is damaged, or no bundle"* ]]
    [ "$(new_writes)" = "" ]
    head -c 1M /dev/urandom >/srv/bundle/serve-bundle/more
    tar --create --sort=name --directory /srv/bundle serve-bundle | head -c 1M >/srv/half.tar
    try "$INSTALL" --offline /srv/half.tar
    [ "$status" -eq 2 ]
    [[ "$output" == *"+ tar --extract"*"/srv/half.tar is damaged, or no bundle"* ]]
    [ ! -e /opt/serve/bundle ]
    try unshare --net "$INSTALL" --offline /srv/bundle.tar.gz
    [ "$status" -eq 0 ]
    [ "$(systemctl is-active serve@qwen3)" = active ]
    [ ! -e /opt/serve/bundle ]
    try unshare --net "$INSTALL" --offline /srv/bundle.tar.gz
    [ "${lines[-1]}" = "== nothing to change" ]
    NAME=other MODEL=Qwen/Qwen3-14B PORT=$((PORT + 1)) try unshare --net "$INSTALL" --offline /srv/bundle.tar.gz
    [ "$status" -eq 2 ]
    [[ "$output" == *"Qwen/Qwen3-14B is not on this host"* ]]
    ENGINE=vllm@0.31.0 try unshare --net "$INSTALL" --offline /srv/bundle.tar.gz
    [ "$status" -eq 2 ]
    [[ "$output" == *"the bundle holds vllm@0.32.0, not vllm@0.31.0"* ]]
    mv /srv/bundle/serve-bundle/model/one /srv/
    cp -r /var/lib/serve/data/models/demo-1 /srv/bundle/serve-bundle/model/two
    pack_bundle two second.tar.gz
    NAME=other MODEL='' PORT=$((PORT + 1)) try unshare --net "$INSTALL" --offline /srv/second.tar.gz
    [ "$status" -eq 0 ]
    [ -e /opt/serve/models/one/config.json ]
    grep -q '^model: /opt/serve/models/two$' /etc/serve/other.yaml
}

# A model, a file: what lies in /srv/bundle becomes an archive that says it holds the model.
pack_bundle() {
    printf 'RELEASE=vllm@0.32.0\nMODEL=%s\n' "$1" >/srv/bundle/serve-bundle/bundle.env
    tar --create --gzip --file "/srv/$2" --directory /srv/bundle serve-bundle
}

@test "no root and no systemd for this user: refused before anything is written" {
    as_user true
    note_writes
    try as_user "$INSTALL"
    [ "$status" -eq 2 ]
    [[ "$output" == *"systemd runs no services for the user tester"* ]]
    as_user mkdir -p /home/tester/.local/{share,state}/serve # of a serve that pip has installed
    try as_user env --unset=NAME "$INSTALL" --uninstall
    [ "$output" = "== install.sh has installed nothing here" ]
    rmdir /home/tester/.local/{share,state}/serve /home/tester/.local/{share,state,}
    [ "$(new_writes)" = "" ]
}

@test "no root: a service of the user's own, and nothing left of it" {
    as_user true
    start_manager
    install_fake_engine /home/tester/.local/share/serve/engines
    chown -R tester /home/tester
    want_demo
    export UV_CACHE_DIR=
    try as_user "$INSTALL"
    [ "$status" -eq 0 ]
    [[ "$output" == *"done: systemctl --user status serve@qwen3"* ]]
    [ "$(as_user systemctl --user is-active serve@qwen3)" = active ]
    try as_user "$INSTALL"
    [[ "$output" == *"== nothing to change"* ]]
    try as_user env --unset=NAME "$INSTALL" --uninstall
    [ "$status" -eq 0 ]
    rm -r /home/tester/.local/share/serve/engines # that was there before
    rmdir /home/tester/.local/share/serve
    [ "$(find /home/tester -name '*serve*')" = "" ]
}

# A command of a user who has neither sudo nor a password.
as_user() {
    id tester >/dev/null 2>&1 || useradd --create-home tester
    local id
    id=$(id -u tester)
    setpriv --reuid=tester --regid=tester --clear-groups env HOME=/home/tester USER=tester \
        XDG_RUNTIME_DIR="/run/user/$id" "$@"
}

start_manager() {
    local id
    id=$(id -u tester)
    rm -rf "/run/user/$id" # of a test before
    install -d -o tester -m 700 "/run/user/$id"
    # systemd hands the control group over a moment after the program has begun.
    systemd-run --quiet --collect --unit=manager --uid=tester --property=Delegate=yes \
        --setenv=HOME=/home/tester --setenv="XDG_RUNTIME_DIR=/run/user/$id" sh -c '
            group=/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)
            until test -w "$group" && test -w "$group/cgroup.procs"; do sleep 0.1; done
            exec /lib/systemd/systemd --user'
    for _ in {1..100}; do
        ! as_user systemctl --user show-environment >/dev/null 2>&1 || return 0
        sleep 0.1
    done
    journalctl --unit manager --no-pager
    return 1
}
