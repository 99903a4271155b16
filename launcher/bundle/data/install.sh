#!/usr/bin/env bash
# Installs serve, an engine and a model from the folder that this script is in. No network is needed or asked.
#
#   install.sh [FOLDER]    where serve and the model go      ($HOME/serve)
#   SERVE_HOME             where the engine goes, as for `serve engines install`
#
# Run again, it changes nothing that is there already.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() {
    echo "install.sh: $1" >&2
    echo "  -> $2" >&2
    exit "${3:-2}"
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
    if [[ -d $here/python ]]; then
        export UV_PYTHON_INSTALL_DIR=$folder/python
        if [[ ! -d $folder/python ]]; then
            rm -rf "$folder/python.part"
            cp -R "$here/python" "$folder/python.part"
            mv "$folder/python.part" "$folder/python"
        fi
    elif ! "$here/uv" python find --quiet "$PYTHON" >/dev/null 2>&1; then
        fail "this host has no Python $PYTHON" "install it from your distribution's packages, then run this again"
    fi
}

install_serve() {
    [[ -x $folder/venv/bin/python ]] || "$here/uv" venv --quiet --clear --python "$PYTHON" "$folder/venv"
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
    # shellcheck source=/dev/null # written when the bundle is packed
    source "$here/bundle.env"
    folder=${1:-$HOME/serve}
    mkdir -p "$folder"
    folder=$(cd "$folder" && pwd)
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
