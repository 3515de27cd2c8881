
if [ "$1" = configure ]; then
    ready
    if [ -d /run/systemd/system ]; then
        systemctl --system daemon-reload >/dev/null || true
        if [ -n "$2" ]; then # an upgrade: what runs goes on with the new program
            deb-systemd-invoke restart @NAME@.service >/dev/null || true
        fi
    fi
    if [ -z "$2" ]; then
        echo "@NAME@ is not started yet: edit @CONFIG@, then: systemctl enable --now @NAME@"
    fi
fi
