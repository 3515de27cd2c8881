#!/bin/sh
# Configuration that was changed is kept as .rpmsave, and @STATE@ with the keys as it is: rpm knows no purge.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null || :
    if [ "$1" -ge 1 ]; then
        systemctl try-restart @NAME@.service >/dev/null 2>&1 || :
    fi
fi
