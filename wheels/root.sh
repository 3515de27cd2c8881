# Shared by the scripts here that need a Debian of their own, as a directory: source it behind ci/lib.sh.

# Every root is of the processor that it is built on. Root is needed: device nodes, chroot, mounts.
ensure_roots() {
    [ "$(id -u)" = 0 ] || die "needs root, to make and enter the tree of another Debian: sudo $0"
    local tool missing=()
    for tool in debootstrap unshare; do
        PATH=$PATH:/usr/sbin command -v "$tool" >/dev/null || missing+=("${tool/unshare/util-linux}")
    done
    [ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"
}

# make_root SUITE DIRECTORY [PACKAGES]: a minimal Debian, made once; PACKAGES with commas between.
make_root() {
    [ ! -e "$2/.complete" ] || return 0
    say "debootstrap $1 in $2"
    rm -rf --one-file-system "$2"
    mkdir -p "$2"
    quietly nice debootstrap --variant=minbase ${3:+--include="$3"} "$1" "$2"
    touch "$2/.complete"
}

# drive_in_root DIRECTORY BIN RPORTD: wheels/drive.py with the programs in it, and with /proc, as in any machine.
drive_in_root() {
    unshare --mount --pid --fork --kill-child sh -ec '
        mount -t proc proc "$1/proc"; mount -t proc proc /proc
        exec "$2" wheels/drive.py "$3" --rportd "$4" --root "$1"' sh "$(realpath "$1")" "$base" "$2" "$3"
}

# in_root DIRECTORY COMMAND...: with processes and mounts of its own, which end with it, and nothing of our environment.
# $bind, where it is set, is a directory of ours that it sees, to read, as /bound.
in_root() {
    local root=$1
    shift
    mkdir -p "$root/bound"
    unshare --mount --pid --fork --kill-child sh -ec '
        mount -t proc proc "$1/proc"
        [ -z "$2" ] || mount --bind -o ro "$2" "$1/bound"
        root=$1
        shift 2
        exec chroot "$root" "$@"' sh "$root" "${bind:-}" \
        /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        ${SOURCE_DATE_EPOCH:+SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH"} "$@"
}
