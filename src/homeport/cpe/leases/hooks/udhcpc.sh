#!/bin/sh
# Homeport's hook for udhcpc (BusyBox): hands each lease to the agent. Made by `homeport cpe hook install udhcpc`.
# Start the client with it:  udhcpc -i eth0 -V dslforum.org -O 43 -O 125 -O tftp -s @PLACE@
# What the lease says is only ever an argument, never read by the shell.

if [ -x @NEXT@ ]; then
    @NEXT@ "$@"
fi

case "$1" in
bound | renew)
    @PROGRAM@ cpe lease --quiet --state-dir @STATE_DIR@ --interface "$interface" \
        --option "43=$opt43" --option "125=$opt125" --tftp-server "${tftp:-$siaddr}" </dev/null
    ;;
deconfig | leasefail)
    # At its start udhcpc clears the interface with deconfig too; what the last lease named stays until another one comes.
    ;;
esac
exit 0
