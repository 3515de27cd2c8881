# For wheels/build, wheels/smoke and ci/install-docs: source it, then call `kit MODULE [ARGUMENT...]`, which runs
# wheels/kit/MODULE.py with the tools of ci/locks/wheels.txt, in build/wheels/tools: zig alone has 400 MB.
. "$(dirname "${BASH_SOURCE[0]}")/../../ci/lib.sh"
tools=$PWD/build/wheels/tools

# No Debian release has Python 3.12; what has it comes by Maven.
ensure_maven() { command -v mvn >/dev/null || (apt_install maven) || say "Python 3.12 is left out"; }

kit() {
    local module=$1
    shift
    ensure_python
    command -v git >/dev/null || apt_install git
    pinned_venv "$tools" ci/locks/wheels.txt --require-hashes
    ensure_maven
    exec env PYTHONPATH="$PWD/wheels" "$tools/bin/python" -m "kit.$module" "$@"
}
