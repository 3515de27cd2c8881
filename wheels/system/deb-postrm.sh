#!/bin/sh
set -e

if [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || true
fi
if [ "$1" = purge ]; then # the user stays, since files elsewhere may be his
    rm -f /etc/systemd/system/multi-user.target.wants/@NAME@.service
    rm -rf @STATE@
fi
