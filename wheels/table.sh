# Shared by the scripts here that prove something: source it behind ci/lib.sh. Rows come out as they are known.

failures=0

# heading WHAT: of the first column.
heading() { printf '\n| %-58s | %-7s | %s\n|%s\n' "$1" result figure "$(printf -- '-%.0s' {1..90})"; }

# row WHAT RESULT [FIGURE]: RESULT is ok, FAILED or skipped.
row() {
    printf '| %-58s | %-7s | %s\n' "$1" "$2" "${3:-}"
    [ "$2" != FAILED ] || failures=$((failures + 1))
}

# check WHAT COMMAND...: ok when it succeeds, and its last line is the figure; else FAILED, and all that it said.
# A function ends at its first command that fails. `A && B` does not count as one: write them on two lines.
check() {
    local what=$1 said code
    shift
    set +e # not `if said=...`, in which nothing that fails would end anything
    said=$(set -e; "$@" 2>&1)
    code=$?
    set -e
    if [ "$code" = 0 ]; then
        row "$what" ok "$(tail -n 1 <<<"$said")"
    else
        row "$what" FAILED
        sed 's/^/    /' <<<"$said"
    fi
}

# The end of a script: what the rows come to.
finish() {
    [ "$failures" = 0 ] || die "$failures of the above FAILED"
    say "all of it works"
}
