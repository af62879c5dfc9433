# Homeport's hook for OpenWrt's udhcpc, in /etc/udhcpc.user.d: hands each lease to the agent. Made by `homeport cpe hook install openwrt`.
# OpenWrt asks for the options and names the vendor class with:
#   uci set network.wan.reqopts='43 125 66'; uci set network.wan.vendorid='dslforum.org'; uci commit network
# This file is sourced, so it must not exit. What the lease says is only ever an argument, never read by the shell.

case "$1" in
bound | renew)
    @PROGRAM@ cpe lease --quiet --state-dir @STATE_DIR@ --interface "$interface" \
        --option "43=$opt43" --option "125=$opt125" --tftp-server "${tftp:-$siaddr}" </dev/null || :
    ;;
esac
