
ready
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null || :
fi
if [ "$1" = 1 ]; then
    echo "@NAME@ is not started yet: edit @CONFIG@, then: systemctl enable --now @NAME@"
fi
