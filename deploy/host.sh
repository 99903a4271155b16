# shellcheck shell=bash
# What install.sh has to know of a host before it changes anything: GPUs, driver, disks, systemd.

# Major versions of NVIDIA's driver: what every release of CUDA 12 needs, and what the newest releases, of CUDA 13, do.
LEAST_DRIVER=525
NEWEST_DRIVER=580
LAST_OF_CUDA_12="vllm@0.19.1 or sglang@0.5.10.post1"
declare -A ROOM_GB=([cuda]=14 [cpu]=4) # of the largest engine
PROGRAMS_GB=1
BUNDLE_FACTOR=3 # of its size: for a while it lies there unpacked and installed, and weights shrink by a fifth in it

check_gpu() {
    local rows count
    [[ "$DEVICE" == cuda ]] || return 0
    local otherwise="for a server without a GPU: DEVICE=cpu"
    command -v nvidia-smi >/dev/null || die "there is no NVIDIA driver: nvidia-smi is not on PATH" \
        "sudo ubuntu-drivers install, then: sudo reboot; $otherwise"
    rows=$(timeout 30 nvidia-smi --query-gpu=index,name,memory.total,driver_version --format=csv,noheader,nounits) ||
        die "nvidia-smi finds no GPU that works: ${rows:-it does not answer}" "sudo dmesg | grep -i nvrm; $otherwise"
    [[ -n "$rows" ]] || die "nvidia-smi finds no GPU" "$otherwise"
    count=$(wc -l <<<"$rows")
    check_driver "$(head -1 <<<"$rows" | sed 's/.*, *//')"
    check_chosen_gpus "$rows"
    while IFS=, read -r index name mebibytes driver; do
        say "GPU $index:$name,$mebibytes MiB, driver$driver"
    done <<<"$rows"
    if ((count > 1)) && [[ -z "${CUDA_VISIBLE_DEVICES:-}" && "${OPTIONS[*]}" != *-parallel* ]]; then
        say "the service uses the first of $count GPUs; another: CUDA_VISIBLE_DEVICES=1; all: --tensor-parallel $count"
    fi
}

check_driver() {
    local major=${1%%.*}
    [[ "$major" =~ ^[0-9]+$ ]] || die "nvidia-smi tells no version of the driver: $1" "sudo reboot; then: nvidia-smi"
    ((major >= LEAST_DRIVER)) || die "driver $1 is too old: every engine needs $LEAST_DRIVER or newer" \
        "sudo apt install nvidia-driver-$NEWEST_DRIVER, then: sudo reboot"
    ((major >= NEWEST_DRIVER)) || [[ -n "$BUNDLE" || "${ENGINE:-}" == *@* ]] || has_engine ||
        die "driver $1 is too old for the newest releases, which need $NEWEST_DRIVER" \
            "sudo apt install nvidia-driver-$NEWEST_DRIVER, then: sudo reboot; or ENGINE=$LAST_OF_CUDA_12"
}

# By the numbers of nvidia-smi; a uuid is the engine's to look up.
check_chosen_gpus() {
    local chosen gpu
    IFS=', ' read -ra chosen <<<"${CUDA_VISIBLE_DEVICES:-}"
    for gpu in "${chosen[@]}"; do
        [[ "$gpu" == GPU-* || "$gpu" == MIG-* || $'\n'"$1" == *$'\n'"$gpu,"* ]] ||
            die "CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES: there is no GPU $gpu" \
                "take of these: $(cut -d, -f1 <<<"$1" | paste -sd,)"
    done
}

check_disk() {
    has_engine || check_room "$DATA" "${ROOM_GB[$DEVICE]}" "an engine"
    if [[ -z "$BUNDLE" ]]; then
        runs_serve || check_room "$PROGRAMS" "$PROGRAMS_GB" "serve"
    elif ! is_installed "$(print_stamp_of_bundle)"; then
        check_room "$PROGRAMS" $((BUNDLE_FACTOR * $(stat -c %s "$BUNDLE") / 10 ** 9 + PROGRAMS_GB)) "the bundle"
    fi
}

check_room() {
    local place=$1 free_gb
    while [[ ! -d "$place" ]]; do place=$(dirname "$place"); done
    [[ -w "$place" ]] || die "this user may not write to $place" "run it with sudo, or see whose it is: ls -ld $place"
    free_gb=$(($(df --output=avail --block-size=1 "$place" | tail -1) / 10 ** 9))
    ((free_gb >= $2)) || die "$1: $free_gb GB are free, $3 takes $2 GB" "see what fills it: du -xhd1 $place"
}

# Before anything is downloaded: a service is what it is for.
check_systemd() {
    local fix="log in as this user (not by su), or install as root for the host"
    [[ -d /run/systemd/system ]] || die "this host does not run systemd" "in a container: deploy/start_server.sh"
    [[ "$EUID" == 0 ]] || systemctl --user show-environment >/dev/null 2>&1 ||
        die "systemd runs no services for the user $(id -un)" "$fix"
}

check_link() {
    [[ ! -e "$SERVE" ]] || is_ours ||
        die "$SERVE is another program" "take it away, or give it another name"
}

is_ours() {
    [[ "$(readlink -m "$SERVE")" == "$(readlink -m "$PROGRAMS")"/* ]]
}

# Not only -x: what is left of it may have lost its interpreter.
runs_serve() {
    is_ours && "$SERVE" --version >/dev/null 2>&1
}

# Whether serve works, and came from the checkout or bundle of this digest.
is_installed() {
    runs_serve && [[ "$(cat "$STAMP" 2>/dev/null)" == "$1" ]]
}

has_engine() {
    local mark
    for mark in "$ENGINES/${ENGINE:+${ENGINE/@/-}-}"*/serve-environment.json; do
        [[ ! -x "${mark%/*}/bin/python" ]] || return 0
    done
    return 1
}

find_fast_disk() {
    local place=$DATA source target
    while [[ ! -d "$place" ]]; do place=$(dirname "$place"); done
    while read -r _ source target; do
        if [[ -w "$target" ]] && lsblk --inverse --noheadings --list --output NAME "${source%%\[*}" 2>/dev/null |
            grep -q '^nvme'; then
            [[ "$(stat -c %d "$target")" == "$(stat -c %d "$place")" ]] || echo "${target%/}/serve"
            return
        fi
    done < <(findmnt --raw --noheadings --bytes --real --output AVAIL,SOURCE,TARGET | sort -rn)
}
