#!/bin/sh
# Homeport's hook for NetworkManager's dispatcher: hands each lease to the agent. Made by `homeport cpe hook install networkmanager`.
# With dhcp=dhclient the options come in the environment. NetworkManager's own client hands over neither 43 nor 125, so they are
# asked for (--query) where nothing came. What the lease says is only ever an argument, never read by the shell.

interface=$1
case "$2" in
up | dhcp4-change | dhcp6-change)
    @PROGRAM@ cpe lease --quiet --state-dir @STATE_DIR@ --interface "$interface" --query \
        --option "43=$DHCP4_VENDOR_ENCAPSULATED_OPTIONS" --option "125=$DHCP4_VIVSO" \
        --tftp-server "${DHCP4_TFTP_SERVER_NAME:-$DHCP4_NEXT_SERVER}" </dev/null
    ;;
down)
    @PROGRAM@ cpe lease --quiet --state-dir @STATE_DIR@ --interface "$interface" --released </dev/null
    @PROGRAM@ cpe lease --quiet --state-dir @STATE_DIR@ --interface "$interface" --ipv6 --released </dev/null
    ;;
esac
exit 0
