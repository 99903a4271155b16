#!/usr/bin/env bash
# From a GPU host with nothing but its driver to a server of systemd: uv, serve, an engine, a model and the service.
# Done again it changes nothing; a run that broke off goes on where it was.
#
#   deploy/install.sh [--dry-run] [--offline BUNDLE] [--uninstall] [OPTIONS of serve launch ...]
#
#   --dry-run         prints what would be run, after the same checks, and writes nothing
#   --offline BUNDLE  takes everything from an archive of `serve engines bundle`, without a network
#   --uninstall       takes away all that this script has made, services and downloaded models included
#
# Root installs for the host: programs in /opt/serve, data in /var/lib/serve, `serve` in /usr/local/bin. Anybody else
# installs for themselves: ~/.local/share/serve and ~/.local/bin, and a service of their own. Variables, all optional:
#
#   NAME, MODEL, PRESET, ENGINE, HOST, PORT, MEM_FRACTION_STATIC, DRAFT_MODEL, SOURCE, CUDA_VISIBLE_DEVICES,
#   SERVE_API_KEY   as in install_service.sh and start_server.sh
#   DEVICE          cuda, or cpu for a host without a GPU            (cuda)
#   CACHE           the folder for models and uv's cache             (on the NVMe disk with the most room, if there is
#                                                                     one that has more than the disk of the data)
#   UV_INDEX_URL    a mirror of the package index; PIP_INDEX_URL counts as well
#
# Without any of the first two lines and without OPTIONS, a service that is there already stays as it is.
set -euo pipefail
# shellcheck source=deploy/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=deploy/host.sh
source "$(dirname "${BASH_SOURCE[0]}")/host.sh"

CHECKOUT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

read_arguments() {
    DRY_RUN='' BUNDLE='' UNINSTALL='' OPTIONS=()
    while (($#)); do
        case "$1" in
            --dry-run) DRY_RUN=yes ;;
            --uninstall) UNINSTALL=yes ;;
            --offline)
                [[ -f "${2:-}" ]] || die "--offline needs the archive of a bundle" "serve engines bundle makes one"
                BUNDLE=$(realpath "$2")
                shift
                ;;
            -h | --help)
                sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
                exit 0
                ;;
            --)
                shift
                OPTIONS+=("$@")
                break
                ;;
            *) OPTIONS+=("$1") ;;
        esac
        shift
    done
    DEVICE=${DEVICE:-cuda}
    [[ -v ROOM_GB[$DEVICE] ]] || die "DEVICE=$DEVICE is no device" "cuda or cpu"
    WISHES="${MODEL:-}${PRESET:-}${ENGINE:-}${HOST:-}${PORT:-}${MEM_FRACTION_STATIC:-}${DRAFT_MODEL:-}${SOURCE:-}"
    WISHES+="${CUDA_VISIBLE_DEVICES:-}${SERVE_API_KEY:-}${OPTIONS[*]}"
    NAME=${NAME:-main}
}

choose_folders() {
    if [[ "$EUID" == 0 ]]; then
        PROGRAMS=/opt/serve DATA=/var/lib/serve BIN=/usr/local/bin SCOPE=() MANAGER=(systemctl)
        CONFIGURATION=/etc/serve ENGINES=$DATA/data/engines
        export SERVE_HOME=$DATA
        # The system's Python before one of root's own, which is closed to the user that runs the services.
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH
    else
        DATA=${XDG_DATA_HOME:-$HOME/.local/share}/serve
        PROGRAMS=$DATA BIN=$HOME/.local/bin SCOPE=(--user) MANAGER=(systemctl --user)
        CONFIGURATION=${XDG_CONFIG_HOME:-$HOME/.config}/serve ENGINES=$DATA/engines
        unset SERVE_HOME
    fi
    SERVE=$BIN/serve
    umask 022
}

# Prints a command as it could be typed, and runs it unless this is a dry run.
run() {
    local shown
    printf -v shown ' %q' "$@"
    echo "+$shown"
    [[ -n "$DRY_RUN" ]] || "$@"
}

change() {
    CHANGED=yes
    run "$@"
}

# A link to the disk that was chosen once: a later run finds it again, whichever has the most room by then.
choose_cache() {
    local disk
    FOLDER=$DATA/cache
    if [[ ! -e "$FOLDER" ]]; then # a disk that lost its content at a reboot is a link to nothing
        disk=$(readlink "$FOLDER" || true)
        disk=${disk:-${CACHE:+$CACHE/serve}}
        disk=${disk:-$(find_fast_disk)}
        change mkdir -p "$DATA" "${disk:-$FOLDER}"
        if [[ -n "$disk" ]]; then
            say "models and caches go to $disk"
            change ln -sfn "$disk" "$FOLDER"
        fi
    fi
    export UV_CACHE_DIR=${UV_CACHE_DIR:-$FOLDER/uv} UV_PYTHON_INSTALL_DIR=$PROGRAMS/python
    export UV_TOOL_DIR=$PROGRAMS/tools UV_TOOL_BIN_DIR=$BIN
}

install_uv() {
    UV=$PROGRAMS/uv/bin/uv
    [[ ! -x "$UV" ]] || return 0
    if command -v uv >/dev/null; then
        UV=$(command -v uv)
        return
    fi
    say "uv"
    if ! python3 -c 'import ensurepip' 2>/dev/null; then
        command -v apt-get >/dev/null && [[ "$EUID" == 0 ]] ||
            die "this host has neither uv nor a Python that makes environments" "sudo apt-get install python3-venv"
        change apt-get update -qq
        change env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y python3-venv
    fi
    change python3 -m venv "$PROGRAMS/uv"
    change "$PROGRAMS/uv/bin/pip" install --quiet --no-cache-dir --disable-pip-version-check --require-hashes \
        --requirement <(awk '/^[^ ]/ { wanted = /^uv==/ } wanted' "$CHECKOUT/requirements/run.txt")
}

install_launcher() {
    local stamp=$PROGRAMS/launcher.sha256 digest
    [[ -f "$CHECKOUT/pyproject.toml" ]] ||
        die "$CHECKOUT is no checkout of serve" "clone its repository, and run the deploy/install.sh in there"
    digest=$(digest_of_checkout)
    if [[ -x "$SERVE" && "$(cat "$stamp" 2>/dev/null)" == "$digest" ]]; then
        say "serve is that of this checkout"
        return
    fi
    say "serve"
    [[ -n "${UV_INDEX_URL:-}" || -z "${PIP_INDEX_URL:-}" ]] || export UV_INDEX_URL=$PIP_INDEX_URL
    change "$UV" tool install --quiet --force --compile-bytecode --reinstall-package serve-launcher --python '>=3.10' \
        --constraints "$CHECKOUT/requirements/run.txt" "$CHECKOUT"
    [[ -n "$DRY_RUN" ]] || echo "$digest" >"$stamp" # last: without it the next run does this again
}

# The installer within puts serve and a model below the folder that it is given, the engine where SERVE_HOME says.
install_bundle() {
    local folder=$PROGRAMS/bundle stamp=$PROGRAMS/bundle.installed models
    if [[ -x "$SERVE" && "$(cat "$stamp" 2>/dev/null)" == "$(stat -c '%n %s %Y' "$BUNDLE")" ]]; then
        say "the bundle is installed"
    else
        say "serve and the engine of $BUNDLE"
        change mkdir -p "$folder" "$BIN"
        change tar --extract --file "$BUNDLE" --directory "$folder"
        change "$folder/serve-bundle/install.sh" "$PROGRAMS"
        change ln -sfn "$PROGRAMS/bin/serve" "$SERVE"
        change rm -rf "$folder"
        [[ -n "$DRY_RUN" ]] || stat -c '%n %s %Y' "$BUNDLE" >"$stamp" # last: without it the next run does this again
    fi
    models=("$PROGRAMS"/models/*/config.json)
    [[ ! -e "${models[0]}" ]] || MODEL=${MODEL:-$(dirname "${models[0]}")}
}

digest_of_checkout() (
    cd "$CHECKOUT"
    find launcher presets deploy systemd pyproject.toml requirements/run.txt -name __pycache__ -prune -o -type f -print0 |
        sort -z | xargs -0 sha256sum | sha256sum
)

# The release that the service has already: another one is `serve service upgrade`'s to try, which can go back.
choose_engine() {
    ENGINE=${ENGINE:-$(sed -n 's/^engine: //p' "$CONFIGURATION/$NAME.yaml" 2>/dev/null || true)}
    [[ -n "$BUNDLE" ]] || ENGINE=${ENGINE:-vllm}
}

# What is asked for is also tried here, before gigabytes are downloaded for it.
choose_models() {
    local words told
    collect_service_words
    if [[ -x "$SERVE" ]]; then
        told=$("$SERVE" explain "${words[@]}" --name "$NAME" "${OPTIONS[@]}" --json)
        MODEL=${MODEL:-$(read_json model <<<"$told")}
        told=$("$SERVE" presets show "${PRESET:-balanced}" --json)
        [[ "$MODEL" == demo ]] || DRAFT_MODEL=${DRAFT_MODEL:-$(read_json keys speculative.draft_model value <<<"$told")}
    elif [[ -z "${MODEL:-}" ]]; then # a dry run before serve is there
        say "then the model of the preset ${PRESET:-balanced} is downloaded"
    fi
}

install_engine() {
    if installed_engine; then
        say "${ENGINE:-the engine} is installed"
    else
        change "$SERVE" engines install "${ENGINE:-vllm}" --device "$DEVICE"
    fi
}

# Below the cache, so that a service finds the model whatever user it runs as.
download_models() {
    if is_remote "${MODEL:-}"; then
        SERVED_NAME=(--served-name "$MODEL")
        download_model "$MODEL"
        MODEL=$FOLDER/models/$MODEL
    fi
    if is_remote "${DRAFT_MODEL:-}"; then
        download_model "$DRAFT_MODEL"
        DRAFT_MODEL=$FOLDER/models/$DRAFT_MODEL
    fi
    SOURCE='' # they are folders now
}

is_remote() {
    [[ -n "$1" && "$1" != demo && "${SOURCE:-}" != local && ! -e "$1" ]]
}

download_model() {
    local folder=$FOLDER/models/$1
    if [[ -e "$folder.complete" ]]; then
        say "$1 is downloaded"
        return
    fi
    [[ -z "$BUNDLE" ]] || die "$1 is not on this host" "copy its folder there, and name that: MODEL=/srv/models/NAME"
    change mkdir -p "$(dirname "$folder")"
    change "$SERVE" models pull "$1" ${SOURCE:+--source "$SOURCE"} --to "$folder"
    change chmod -R go+rX "$folder" # for the user of the services, whatever the hub's client made of it
    [[ -n "$DRY_RUN" ]] || touch "$folder.complete"
}

# One value of a JSON document by its keys; nothing if it is not there.
read_json() {
    "$(dirname "$(readlink -f "$SERVE")")/python" -c '
import json, sys
value = json.load(sys.stdin)
for key in sys.argv[1:]:
    value = value.get(key) or {}
print(value or "")' "$@"
}

install_service() {
    local words said
    collect_service_words
    words=(service install "$NAME" "${words[@]}" "${SCOPE[@]}" "${SERVED_NAME[@]}" "${OPTIONS[@]}")
    say "the service serve@$NAME"
    if [[ -n "$DRY_RUN" ]]; then
        run "$SERVE" "${words[@]}"
        return
    fi
    { said=$(run "$SERVE" "${words[@]}" | tee >(cat >&3)); } 3>&1
    grep -q '^nothing to change$' <<<"$said" || CHANGED=yes
}

keep_service() {
    say "serve@$NAME stays as $CONFIGURATION/$NAME.yaml has it"
    "${MANAGER[@]}" is-active --quiet "serve@$NAME" || change "$SERVE" service start "$NAME" "${SCOPE[@]}"
}

# Without it the services of a user end when their last session does.
enable_linger() {
    [[ "$EUID" != 0 && "$(loginctl show-user --property=Linger --value "$(id -un)" 2>/dev/null)" != yes ]] || return 0
    if run loginctl enable-linger; then
        CHANGED=yes
    else
        say "it ends when you log out and does not start with the host until: sudo loginctl enable-linger $(id -un)"
    fi
}

report() {
    if [[ -n "$DRY_RUN" ]]; then
        say "a dry run: nothing was changed"
    elif [[ -z "$CHANGED" ]]; then
        say "nothing to change"
    else
        say "done: ${MANAGER[*]} status serve@$NAME"
    fi
    [[ ":$PATH:" == *":$BIN:"* ]] || say "serve is in $BIN, which is not on PATH"
}

uninstall() {
    local name told disk
    if [[ -x "$SERVE" && -d /run/systemd/system ]]; then
        told=$("$SERVE" service list --json "${SCOPE[@]}")
        while read -r name; do
            change "$SERVE" service uninstall "$name" "${SCOPE[@]}" </dev/null
        done < <(grep -Po '"name": "\K[^"]+' <<<"$told")
    fi
    [[ ! -x "$SERVE" ]] || run "$SERVE" stop --all # what runs without systemd
    disk=$(readlink "$DATA/cache" || true)
    [[ -z "$disk" ]] || remove "$disk/models" "$disk/uv"
    [[ -z "$disk" || ! -d "$disk" ]] || change rmdir --ignore-fail-on-non-empty "$disk"
    ! is_ours || remove "$SERVE"
    remove "$PROGRAMS" "$DATA"
    if [[ "$EUID" == 0 ]]; then
        remove /var/cache/serve
        [[ "$(getent passwd serve | cut -d: -f6)" != "$DATA" ]] || change userdel serve
    else
        remove "${XDG_STATE_HOME:-$HOME/.local/state}/serve"
    fi
    [[ ! -e "$CONFIGURATION" ]] || say "kept, for it is yours: $(echo "$CONFIGURATION"/*)"
    [[ -n "$CHANGED" ]] || say "nothing to remove"
}

remove() {
    local path
    for path in "$@"; do
        [[ ! -e "$path" && ! -L "$path" ]] || change rm -rf "$path"
    done
}

main() {
    CHANGED='' SERVED_NAME=()
    read_arguments "$@"
    choose_folders
    if [[ -n "$UNINSTALL" ]]; then
        uninstall
    else
        check_gpu
        check_disk
        check_systemd
        check_link
        choose_cache
        if [[ -n "$BUNDLE" ]]; then
            install_bundle
        else
            install_uv
            install_launcher
        fi
        if [[ -z "$WISHES" && -f "$CONFIGURATION/$NAME.yaml" ]]; then
            keep_service
        else
            choose_engine
            choose_models
            install_engine
            download_models
            install_service
        fi
        enable_linger
        report
    fi
}

main "$@"
