#!/bin/sh
# Before the first start: as `@NAME@ service install` does it, and only what is not there.
set -e

ready() {
    if ! getent passwd @NAME@ >/dev/null; then
        if getent group @NAME@ >/dev/null; then set -- --gid @NAME@; else set -- --user-group; fi
        useradd --system "$@" --no-create-home --home-dir @STATE@ --shell /usr/sbin/nologin --comment "@TITLE@" @NAME@
    elif [ "$(id -gn @NAME@)" != @NAME@ ]; then
        echo "@NAME@: there is a user @NAME@ already, of the group $(id -gn @NAME@), which would read its secrets." \
            "Give it its own: groupadd --system @NAME@; usermod --gid @NAME@ @NAME@" >&2
        exit 1
    fi
    if [ ! -d @STATE@ ]; then
        install -d -m 0700 -o @NAME@ -g @NAME@ @STATE@
    fi
    if [ -e @CONFIG@ ] && [ "$(stat -L -c %u:%g @CONFIG@)" = 0:0 ]; then # its owner has not thought about it
        chgrp @NAME@ @CONFIG@
        chmod 0640 @CONFIG@
    fi
}
