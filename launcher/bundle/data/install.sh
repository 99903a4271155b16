#!/usr/bin/env bash
# Installs serve, an engine and a model from the folder that this script is in. No network is needed or asked.
#
#   install.sh [FOLDER]    where serve and the model go      ($HOME/serve)
#   SERVE_HOME             where the engine goes, as for `serve engines install`
#
# Run again, it changes nothing that is there already.
set -euo pipefail

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")

fail() {
    echo "install.sh: $1" >&2
    echo "  -> $2" >&2
    exit "${3:-2}"
}

choose_folder() {
    case ${1:-} in
        -h | --help)
            sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
            exit 0
            ;;
        -*) fail "$1 is no option" "see install.sh --help" ;;
    esac
    (($# <= 1)) || fail "it takes one folder, and not $# words" "put a name with blanks in quotes"
    folder=$(realpath -m "${1:-$HOME/serve}")
    mkdir -p "$folder" 2>/dev/null && [[ -w $folder ]] ||
        fail "$folder is no folder that this user may write to" "name another: install.sh FOLDER"
}

ignore_settings() { # of uv and pip: everything comes from this folder
    local name
    for name in $(compgen -e); do
        case $name in UV_* | PIP_* | PYTHONPATH | PYTHONHOME | VIRTUAL_ENV) unset "$name" ;; esac
    done
    export UV_OFFLINE=1 UV_NO_INDEX=1 UV_NO_CONFIG=1 UV_PYTHON_DOWNLOADS=never PIP_CONFIG_FILE=/dev/null
}

check_host() {
    [[ $(uname -m) == "$MACHINE" ]] || fail "this bundle is for $MACHINE, and this is $(uname -m)" "pack one for it"
}

bring_python() {
    local each
    if [[ -d $here/python ]]; then
        export UV_PYTHON_INSTALL_DIR=$folder/python
        mkdir -p "$folder/python"
        for each in "$here/python"/*; do
            [[ ! -e $folder/python/${each##*/} && ! -L $folder/python/${each##*/} ]] || continue
            rm -rf "$folder/python.part"
            cp -R "$each" "$folder/python.part"
            mv "$folder/python.part" "$folder/python/${each##*/}"
        done
    elif ! "$here/uv" python find --quiet "$PYTHON" >/dev/null 2>&1; then
        fail "this host has no Python $PYTHON" "install it from your distribution's packages, then run this again"
    fi
}

version_of() {
    "$1" -c 'import platform; print(platform.python_version())' 2>/dev/null || true
}

install_serve() {
    [[ $(version_of "$folder/venv/bin/python"). == "$PYTHON".* ]] ||
        "$here/uv" venv --quiet --clear --python "$PYTHON" "$folder/venv"
    "$here/uv" pip install --quiet --python "$folder/venv/bin/python" --no-deps --require-hashes --compile-bytecode \
        --no-index --find-links "$here/wheels/serve" --requirements "$here/serve.txt"
    mkdir -p "$folder/bin"
    [[ -e $folder/bin/serve ]] || ln -sfn ../venv/bin/serve "$folder/bin/serve"
}

install_engine() {
    UV_FIND_LINKS=$here/wheels/engine "$folder/bin/serve" engines install "$RELEASE" --device "$DEVICE" \
        --python "$PYTHON" --lock "$here/engine.lock"
}

install_model() {
    [[ -n $MODEL && ! -d $folder/models/$MODEL ]] || return 0
    mkdir -p "$folder/models"
    rm -rf "$folder/models/.$MODEL.part"
    cp -R "$here/model/$MODEL" "$folder/models/.$MODEL.part"
    mv "$folder/models/.$MODEL.part" "$folder/models/$MODEL"
}

main() {
    choose_folder "$@"
    # shellcheck source=/dev/null # written when the bundle is packed
    source "$here/bundle.env"
    ignore_settings
    export UV_CACHE_DIR=$folder/cache # beside what is installed, to be linked and not copied
    trap 'rm -rf "$folder/cache"' EXIT
    check_host
    bring_python
    install_serve
    install_engine
    install_model
    echo "serve is ready: export PATH=$(printf %q "$folder/bin"):\$PATH"
    [[ -z $MODEL ]] || echo "the model: serve launch $(printf %q "$folder/models/$MODEL")"
}

main "$@"
