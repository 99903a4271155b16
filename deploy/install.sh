#!/usr/bin/env bash
# From a GPU host with nothing but its driver to a server of systemd: uv, serve, an engine, a model and the service.
# Done again it changes nothing; a run that broke off goes on where it was.
#
#   deploy/install.sh [--dry-run] [--offline BUNDLE] [--uninstall] [OPTIONS of serve launch ...]
#
#   --dry-run         prints what would be run, after the same checks, and writes nothing
#   --offline BUNDLE  takes everything from an archive of `serve engines bundle`, without a network
#   --uninstall       takes away what has come since it ran first: programs, engines, services, downloaded models
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
HERE=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source=deploy/common.sh
source "$HERE/common.sh"
# shellcheck source=deploy/host.sh
source "$HERE/host.sh"

CHECKOUT=$(dirname "$HERE")

read_arguments() {
    DRY_RUN='' BUNDLE='' BUNDLE_ENGINE='' BUNDLE_MODEL='' UNINSTALL='' REVISION='' OPTIONS=()
    while (($#)); do
        case "$1" in
            --dry-run) DRY_RUN=yes ;;
            --uninstall) UNINSTALL=yes ;;
            --offline)
                [[ -n "${2:-}" ]] || die "--offline needs the archive of a bundle" "serve engines bundle makes one"
                [[ -f "$2" ]] || die "there is no file $2" "name the archive that serve engines bundle has made"
                BUNDLE=$(realpath "$2")
                shift
                ;;
            -h | --help)
                sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
                exit 0
                ;;
            --revision) # of what is downloaded
                [[ -n "${2:-}" ]] || die "--revision needs a branch, tag or commit" "leave it out for the newest"
                REVISION=$2
                shift
                ;;
            --revision=*) REVISION=${1#*=} ;;
            --dry* | --offli* | --unin*) die "$1 is no option" "--dry-run, --offline BUNDLE or --uninstall" ;;
            --)
                shift
                OPTIONS+=("$@")
                break
                ;;
            *) OPTIONS+=("$1") ;;
        esac
        shift
    done
    [[ -z "$UNINSTALL" ]] || refuse_more_words
    [[ "${OPTIONS[0]:--}" == -* ]] || refuse_model "${OPTIONS[0]}" # behind an option it may be its value
    DEVICE=${DEVICE:-cuda}
    [[ -v ROOM_GB[$DEVICE] ]] || die "DEVICE=$DEVICE is no device" "cuda or cpu"
    WISHES="${MODEL:-}${PRESET:-}${ENGINE:-}${HOST:-}${PORT:-}${MEM_FRACTION_STATIC:-}${DRAFT_MODEL:-}${SOURCE:-}"
    WISHES+="${CUDA_VISIBLE_DEVICES:-}${SERVE_API_KEY:-}${OPTIONS[*]}"
    NAME=${NAME:-main}
}

refuse_more_words() {
    [[ -z "${NAME:-}" ]] || die "--uninstall takes all services away, not only $NAME" "serve service uninstall $NAME"
    [[ -z "$BUNDLE${OPTIONS[*]}" ]] ||
        die "--uninstall takes no more than --dry-run" "for one service: serve service uninstall NAME"
}

refuse_model() {
    die "$1 is no option" "a model is a variable: MODEL=$1 deploy/install.sh"
}

choose_folders() {
    export HOME=${HOME:-$(getent passwd "$EUID" | cut -d: -f6)}
    if [[ "$EUID" == 0 ]]; then
        PROGRAMS=/opt/serve DATA=/var/lib/serve BIN=/usr/local/bin SCOPE=() MANAGER=(systemctl)
        CONFIGURATION=/etc/serve UNITS=/etc/systemd/system ENGINES=$DATA/data/engines CACHES=/var/cache/serve
        export SERVE_HOME=$DATA
        # The system's Python before one of root's own, which is closed to the user that runs the services.
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH
    else
        DATA=${XDG_DATA_HOME:-$HOME/.local/share}/serve
        PROGRAMS=$DATA BIN=$HOME/.local/bin SCOPE=(--user) MANAGER=(systemctl --user)
        UNITS=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user ENGINES=$DATA/engines
        CONFIGURATION=${XDG_CONFIG_HOME:-$HOME/.config}/serve CACHES=${XDG_STATE_HOME:-$HOME/.local/state}/serve
        unset SERVE_HOME
    fi
    SERVE=$BIN/serve STAMP=$PROGRAMS/serve.installed BEFORE=$DATA/before-install.sh
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
        disk=${disk:-${CACHE:+$(realpath -m "$CACHE")/serve}}
        disk=${disk:-$(find_fast_disk)}
        note_what_is_there "${disk:-}"
        change mkdir -p "$DATA" "${disk:-$FOLDER}"
        if [[ -n "$disk" ]]; then
            say "models and caches go to $disk"
            change ln -sfn "$disk" "$FOLDER"
        fi
    fi
    export UV_CACHE_DIR=${UV_CACHE_DIR:-$FOLDER/uv} UV_PYTHON_INSTALL_DIR=$PROGRAMS/python
    export UV_TOOL_DIR=$PROGRAMS/tools UV_TOOL_BIN_DIR=$BIN
}

# So that --uninstall leaves it. Folders are told by what is in them, down to single engines and models.
note_what_is_there() {
    local found
    [[ -z "$DRY_RUN" && ! -e "$BEFORE" ]] || return 0
    found=$(
        list_below "$PROGRAMS" $((EUID == 0 ? 1 : 2))
        list_below "$DATA" $((EUID == 0 ? 3 : 2))
        list_below "$CACHES" 2
        [[ -z "$1" ]] || list_below "$1" 3
    )
    mkdir -p "$DATA"
    sort -u <<<"$found" >"$BEFORE"
}

# Files down to a depth, and folders at it.
list_below() {
    [[ ! -d "$1" ]] || find "$1" -mindepth 1 -maxdepth "$2" -printf '%d %y %p\n' |
        awk -v depth="$2" '$1 == depth || $2 != "d" { sub(/^[0-9]+ . /, ""); print }'
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

check_checkout() {
    [[ -f "$CHECKOUT/pyproject.toml" ]] ||
        die "$CHECKOUT is no checkout of serve" "clone its repository, and run the deploy/install.sh in there"
}

install_launcher() {
    local digest extra=''
    if [[ "${SOURCE:-}" == modelscope || "$(cat "$STAMP" 2>/dev/null)" == *modelscope* ]]; then extra='[modelscope]'; fi
    digest="$(print_digest_of_checkout)$extra"
    if is_installed "$digest"; then
        say "serve is that of this checkout"
        return
    fi
    say "serve"
    [[ -n "${UV_INDEX_URL:-}" || -z "${PIP_INDEX_URL:-}" ]] || export UV_INDEX_URL=$PIP_INDEX_URL
    change "$UV" tool install --quiet --force --compile-bytecode --reinstall-package serve-launcher --python '>=3.10' \
        --constraints "$CHECKOUT/requirements/run.txt" "$CHECKOUT$extra"
    [[ -n "$DRY_RUN" ]] || echo "$digest" >"$STAMP" # last: without it the next run does this again
}

# What a bundle holds stands in a file at its beginning: read soon, and before anything is written.
read_bundle() {
    local facts
    facts=$(tar --extract --to-stdout --occurrence=1 --file "$BUNDLE" serve-bundle/bundle.env 2>/dev/null) ||
        refuse_bundle
    BUNDLE_ENGINE=$(print_fact RELEASE <<<"$facts")
    BUNDLE_MODEL=$(print_fact MODEL <<<"$facts")
}

# One line of them, of which nothing is run: xargs takes the quotes away.
print_fact() {
    sed -n "s/^$1=//p" | xargs --no-run-if-empty printf '%s'
}

refuse_bundle() {
    die "$BUNDLE is damaged, or no bundle" "see: tar -tf $BUNDLE; copy it again, or make it with serve engines bundle"
}

# The installer within puts serve and a model below the folder that it is given, the engine where SERVE_HOME says.
install_bundle() {
    local folder=$PROGRAMS/bundle
    if is_installed "$(print_stamp_of_bundle)"; then
        say "the bundle is installed"
    else
        say "from $BUNDLE: serve, $BUNDLE_ENGINE${BUNDLE_MODEL:+, the model $BUNDLE_MODEL}"
        remove "$STAMP" "$folder" # the folder is there after a run that broke off
        change mkdir -p "$folder" "$BIN"
        if ! change tar --extract --file "$BUNDLE" --directory "$folder" ||
            [[ -z "$DRY_RUN" && ! -x "$folder/serve-bundle/install.sh" ]]; then
            remove "$folder"
            refuse_bundle
        fi
        change "$folder/serve-bundle/install.sh" "$PROGRAMS"
        change ln -sfn "$PROGRAMS/bin/serve" "$SERVE"
        change rm -rf "$folder"
        [[ -n "$DRY_RUN" ]] || print_stamp_of_bundle >"$STAMP" # last: without it the next run does this again
    fi
    [[ -z "$BUNDLE_MODEL" ]] || MODEL=${MODEL:-$PROGRAMS/models/$BUNDLE_MODEL}
}

print_stamp_of_bundle() {
    stat -c '%n %s %Y' "$BUNDLE" # and no hash of gigabytes
}

print_digest_of_checkout() (
    cd "$CHECKOUT"
    find launcher presets deploy systemd pyproject.toml requirements/run.txt -name __pycache__ -prune -o -type f -print0 |
        sort -z | xargs -0 sha256sum | sha256sum
)

# The release that the service has already: another one is `serve service upgrade`'s to try, which can go back.
choose_engine() {
    ENGINE=${ENGINE:-$(sed -n 's/^engine: //p' "$CONFIGURATION/$NAME.yaml" 2>/dev/null || true)}
    ENGINE=${ENGINE:-${BUNDLE_ENGINE:-vllm}}
}

# What is asked for is also tried here, before gigabytes are downloaded for it.
choose_models() {
    local words told SOURCE='' # what is downloaded is a folder to the engine
    [[ -n "${MODEL:-}${PRESET:-}" || ! -f "$CONFIGURATION/$NAME.yaml" ]] || SERVED=$CONFIGURATION/$NAME.yaml
    collect_service_words "$SERVED"
    if runs_serve; then
        told=$("$SERVE" explain --json --name "$NAME" "${words[@]}" "${OPTIONS[@]}")
        [[ -n "${MODEL:-}" || "$told" != *'"origin": "MODEL"'* ]] ||
            refuse_model "$(read_json served_name <<<"$told")"
        refuse_port "$(read_json base_url <<<"$told")"
        [[ -n "$SERVED" ]] || MODEL=${MODEL:-$(read_json model <<<"$told")}
        [[ -z "$REVISION" ]] || is_remote "${MODEL:-}" ||
            die "--revision is of a model that is downloaded" "name it too: MODEL=ORGANIZATION/NAME"
        [[ -z "$SERVED" ]] || return 0
        told=$("$SERVE" presets show "${PRESET:-balanced}" --json)
        [[ "$MODEL" == demo ]] || DRAFT_MODEL=${DRAFT_MODEL:-$(read_json keys speculative.draft_model value <<<"$told")}
    else
        say "what is asked for is not looked at yet: that takes serve itself"
        [[ -n "${MODEL:-}$BUNDLE" ]] || say "then the model of the preset ${PRESET:-balanced} is downloaded"
    fi
}

# As serve does, but before gigabytes are downloaded for it.
refuse_port() {
    local port=${1##*:} other taken
    for other in "$CONFIGURATION"/*.yaml; do
        [[ -f "$other" && "$other" != "$CONFIGURATION/$NAME.yaml" ]] || continue
        taken=$(sed -n 's/^port: //p' "$other")
        [[ "${taken:-8000}" != "$port" ]] ||
            die "port $port is that of the service $(basename "$other" .yaml)" "PORT=$((port + 1)), or another that is free"
    done
}

install_engine() {
    if has_engine; then
        say "$ENGINE is installed"
    elif [[ -n "$BUNDLE" ]]; then
        [[ "$BUNDLE_ENGINE@" == "$ENGINE@"* ]] || die "the bundle holds $BUNDLE_ENGINE, not $ENGINE" "leave ENGINE out"
    else
        change "$SERVE" engines install "$ENGINE" --device "$DEVICE"
    fi
}

# Below the cache, so that a service finds the model whatever user it runs as.
download_models() {
    if is_remote "${MODEL:-}"; then
        SERVED_NAME=(--served-name "$MODEL")
        download_model "$MODEL" "$REVISION"
        MODEL=$FOLDER/models/$MODEL
    fi
    if is_remote "${DRAFT_MODEL:-}"; then
        download_model "$DRAFT_MODEL"
        DRAFT_MODEL=$FOLDER/models/$DRAFT_MODEL
    fi
    SOURCE='' # they are folders now
}

is_remote() {
    [[ -n "$1" && "$1" != demo && "$1" != /* && "${SOURCE:-}" != local && ! -e "$1" ]]
}

download_model() {
    local folder=$FOLDER/models/$1 revision=${2:-} said pull
    if [[ -z "$revision" ]] && runs_serve && "$SERVE" models where "$folder" >/dev/null 2>&1; then
        say "$1 is downloaded"
        return
    fi
    [[ -z "$BUNDLE" ]] || die "$1 is not on this host" "copy its folder there, and name that: MODEL=/srv/models/NAME"
    run mkdir -p "$(dirname "$folder")"
    pull=("$SERVE" models pull "$1" ${revision:+--revision "$revision"} ${SOURCE:+--source "$SOURCE"} --to "$folder")
    if [[ -n "$DRY_RUN" ]]; then
        run "${pull[@]}"
        return
    fi
    { said=$(run "${pull[@]}" | tee >(cat >&3)); } 3>&1
    [[ "$said" == *", nothing to fetch: "* ]] || CHANGED=yes
    run chmod -R go+rX "$folder" # for the user of the services, whatever the hub's client made of it
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
    collect_service_words "$SERVED"
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
        [[ -n "$DRY_RUN" ]] || touch "$DATA/lingers"
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
    local disk kept
    if [[ ! -e "$DATA/cache" && ! -L "$DATA/cache" ]]; then # what an installation makes first
        say "install.sh has installed nothing here"
        return
    fi
    remove_services
    ! runs_serve || run "$SERVE" stop --all # what runs without systemd
    disk=$(readlink "$DATA/cache" || true)
    kept=$(cat "$BEFORE" 2>/dev/null || true)
    [[ ! -e "$DATA/lingers" ]] || run loginctl disable-linger || true
    ! is_ours || remove "$SERVE"
    [[ -z "$disk" ]] || remove_new "$disk/models" "$disk/uv"
    [[ -z "$disk" || ! -d "$disk" ]] || change rmdir --ignore-fail-on-non-empty "$disk"
    remove_new "$PROGRAMS" "$CACHES" "$DATA"
    [[ "$EUID" != 0 || "$(getent passwd serve | cut -d: -f6)" != "$DATA" ]] || change userdel serve
    [[ ! -e "$CONFIGURATION" ]] || kept+=$'\n'$(echo "$CONFIGURATION"/*)
    if [[ -n "$DRY_RUN" ]]; then
        say "a dry run: nothing was changed"
    elif [[ -n "$kept" ]]; then
        say "kept, for it is yours or was there before: $(paste -sd ' ' <<<"$kept" | cut -c1-400)"
    fi
}

# All of them, whatever has installed them, for what they run on goes next; and without serve, which may be broken.
remove_services() {
    local dropins=("$UNITS"/serve@?*.service.d/deployment.conf) dropin name
    [[ -e "${dropins[0]}" ]] || return 0
    check_systemd
    change "${MANAGER[@]}" stop 'serve@*'
    for dropin in "${dropins[@]}"; do
        name=${dropin##*/serve@}
        name=${name%.service.d/*}
        change "${MANAGER[@]}" disable --quiet "serve@$name"
        remove "$dropin" "$CONFIGURATION/$name".{yaml,yaml.previous,key,env}
        change rmdir --ignore-fail-on-non-empty "${dropin%/*}"
    done
    [[ ! -d "$CONFIGURATION" ]] || change rmdir --ignore-fail-on-non-empty "$CONFIGURATION"
    remove "$UNITS/serve@.service" "$UNITS/serve-nvidia.service"
    change "${MANAGER[@]}" daemon-reload
    change "${MANAGER[@]}" reset-failed 'serve@*'
}

# All but what was there before, as the variable `kept` of the caller lists it.
remove_new() {
    local path
    for path in "$@"; do
        if grep -Fq -- "$path/" <<<"$kept"; then
            remove_new_in "$path"
        else
            remove "$path"
        fi
    done
}

remove_new_in() {
    local path
    for path in "$1"/* "$1"/.[!.]*; do
        grep -Fxq -- "$path" <<<"$kept" || remove_new "$path"
    done
}

remove() {
    local path
    for path in "$@"; do
        [[ ! -e "$path" && ! -L "$path" ]] || change rm -rf "$path"
    done
}

main() {
    CHANGED='' SERVED='' SERVED_NAME=()
    read_arguments "$@"
    exec 9<"${BASH_SOURCE[0]}" # of two at once the second would find half of everything
    flock --nonblock 9 || die "install.sh runs already" "wait for it"
    choose_folders
    if [[ -n "$UNINSTALL" ]]; then
        uninstall
    else
        if [[ -n "$BUNDLE" ]]; then read_bundle; else check_checkout; fi
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
