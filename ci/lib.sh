# Shared by the scripts here: source it, then call ensure_venv. Works in the repository's root, whatever the caller's.
# After ensure_venv, $python is the environment's interpreter and rport is installed in it, editable, from this tree.

set -euo pipefail
script=$(realpath -- "$0")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME # start-up times without .pyc are not what users see
export PIP_DISABLE_PIP_VERSION_CHECK=1
python=.venv/bin/python

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

say() { printf '== %s\n' "$*" >&2; }

# header_is_help "$@": where --help is asked for, the comment at the top of the script is shown, and that is all.
header_is_help() {
    case "${1:-}" in -h | --help) show_header && exit ;; esac
}

show_header() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$script"; }

rport_version() { sed -n 's/^__version__ = "\(.*\)"$/\1/p' rport/__init__.py; }

# The same for dpkg and rpm, which both sort what follows a tilde before the release: 1.2.0~rc1.
package_version() { rport_version | sed -E 's/(a|b|rc)([0-9])/~\1\2/; s/\.dev/~~dev/'; }

can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# apt_install PACKAGE...: installs as root on Debian, else ends with a message that names the packages.
# Services stay down: the programs are wanted, not a web server that listens from now on; see invoke-rc.d(8).
apt_install() {
    local policy=/usr/sbin/policy-rc.d ours='' failed=''
    can_install || die "missing system packages; run: sudo apt-get install -y $*"
    say "installing $*"
    apt-get update -qq >/dev/null || say "apt-get update failed; trying with the lists that are here"
    if [ ! -e "$policy" ]; then
        ours=yes
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null || failed=yes
    [ -z "$ours" ] || rm -f "$policy"
    [ -z "$failed" ] || die "apt-get could not install: $*"
}

# ensure_tools LIST: the programs of a list of packages. What is missing is installed, or else named, and done without.
ensure_tools() {
    local package tool missing=()
    while read -r package tool; do
        case "$package" in '' | '#'*) continue ;; esac
        PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || missing+=("$package")
    done <"$1"
    [ ${#missing[@]} != 0 ] || return 0
    if can_install; then
        (apt_install "${missing[@]}") || say "what needs them is left out"
    else
        say "what needs them is left out; to have all: sudo apt-get install -y ${missing[*]}"
    fi
}

# The first interpreter that is new enough; nothing when there is none.
find_python() {
    local name
    for name in "${PYTHON:-python3}" python3 python3.{11..19}; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
}

# What the interpreter $1 lacks for making environments and compiling extensions, as Debian package names.
# Headers are looked for only where Debian's own interpreter is used: others bring theirs.
missing_packages() {
    "$1" - <<'PY'
import importlib.util, os, shutil, sys, sysconfig

if not (importlib.util.find_spec("ensurepip") and importlib.util.find_spec("venv")):
    print(f"python3.{sys.version_info.minor}-venv")
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    print(f"python3.{sys.version_info.minor}-dev")
if not shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0]) and not shutil.which("cc"):
    print("gcc libc6-dev")
PY
}

ensure_python() {
    base=$(find_python)
    if [ -z "$base" ]; then
        apt_install python3 python3-dev python3-venv gcc libc6-dev
        base=$(find_python)
        [ -n "$base" ] || die "needs Python 3.11 or newer; install one and name it, as in PYTHON=/path/to/python3.11 $0"
    fi
    local packages
    packages=$(missing_packages "$base" | tr '\n' ' ')
    # shellcheck disable=SC2086
    [ -z "${packages// /}" ] || apt_install $packages
}

# What the installation depends on: it is made again when this changes.
venv_stamp() {
    { cat pyproject.toml ci/locks/dev.txt setup.py rport/*.pyx rport/*.pxd && pwd && "$base" -VV; } | sha256sum | cut -d' ' -f1
}

core_built() {
    local source
    for source in rport/*.pyx; do compgen -G "${source%.pyx}.*.so" >/dev/null || return 1; done
}

ensure_venv() {
    ensure_python
    local stamp
    stamp=$(venv_stamp)
    [ "$(cat .venv/stamp 2>/dev/null || true)" != "$stamp" ] || ! core_built || return 0
    mkdir -p build
    exec 9>build/venv.lock
    if command -v flock >/dev/null; then flock 9; fi # two scripts at once: the second finds it done
    if [ "$(cat .venv/stamp 2>/dev/null || true)" != "$stamp" ] || ! core_built; then
        make_venv
        echo "$stamp" >.venv/stamp
    fi
    exec 9>&-
}

make_venv() {
    say "setting up .venv with $("$base" --version) and compiling the core (once)"
    if ! "$python" -c 'import pip' 2>/dev/null || ! .venv/bin/python -c "import sys; sys.exit(sys.version_info < (3, 11))"; then
        rm -rf .venv
        "$base" -m venv .venv
    fi
    quietly "$python" -m pip install --require-hashes -r ci/locks/dev.txt
    quietly "$python" -m pip install --no-build-isolation --no-deps -e .
}

# pyproject.toml's build-system, a requirement a line.
build_requires() {
    "$base" -c '
import tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")'
}

# pinned_venv DIRECTORY LIST OPTION...: an environment with what LIST names, by these options of pip's; made again when LIST changes.
pinned_venv() {
    local at=$1 list=$2 stamp
    shift 2
    stamp=$({ cat "$list" && "$base" -VV; } | sha256sum | cut -d' ' -f1)
    [ "$(cat "$at/stamp" 2>/dev/null || true)" != "$stamp" ] || return 0
    say "setting up $at (once)"
    rm -rf "$at"
    "$base" -m venv "$at"
    quietly "$at/bin/python" -m pip install "$@" -r "$list"
    echo "$stamp" >"$at/stamp"
}

tools=build/tools/lint

# ensure_lint_tools: the programs of ci/locks/lint.txt, in $tools/bin. An environment of their own: their pins do not meet ours.
# Without a lock, as after a conflict, the newest: ci/lock makes one with them.
ensure_lint_tools() {
    if [ -e ci/locks/lint.txt ]; then
        pinned_venv "$tools" ci/locks/lint.txt --require-hashes
    else
        pinned_venv "$tools" ci/locks/lint.in
    fi
}

# quietly COMMAND...: shows the output only when it fails.
quietly() {
    mkdir -p build
    if ! "$@" >build/install.log 2>&1; then
        cat build/install.log >&2
        die "failed: $*"
    fi
}
