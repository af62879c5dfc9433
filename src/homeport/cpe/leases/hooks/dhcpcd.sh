# Homeport's hook for dhcpcd: hands each lease to the agent. Made by `homeport cpe hook install dhcpcd`.
# dhcpcd.conf needs (the definitions make dhcpcd hand over options 125 and 17 as they came):
#   vendorclassid dslforum.org
#   vendclass 3561 dslforum.org
#   define 125 binhex homeport_vivso
#   define6 17 binhex homeport_vendor_opts
#   option vendor_encapsulated_options, homeport_vivso, tftp_server_name
#   option dhcp6_homeport_vendor_opts
# This file is sourced by dhcpcd-run-hooks, so it must not exit. What the lease says is only ever an argument, never read by the shell.

case "$reason" in
BOUND | RENEW | REBIND | REBOOT | INFORM)
    @PROGRAM@ cpe lease --quiet --state-dir @STATE_DIR@ --interface "$interface" \
        --option "43=$new_vendor_encapsulated_options" --option "125=$new_homeport_vivso" \
        --tftp-server "$new_tftp_server_name" </dev/null || :
    ;;
BOUND6 | RENEW6 | REBIND6 | REBOOT6 | INFORM6)
    @PROGRAM@ cpe lease --quiet --state-dir @STATE_DIR@ --interface "$interface" --ipv6 \
        --option "17=$new_dhcp6_homeport_vendor_opts" </dev/null || :
    ;;
EXPIRE | RELEASE)
    @PROGRAM@ cpe lease --quiet --state-dir @STATE_DIR@ --interface "$interface" --released </dev/null || :
    ;;
EXPIRE6 | RELEASE6)
    @PROGRAM@ cpe lease --quiet --state-dir @STATE_DIR@ --interface "$interface" --ipv6 --released </dev/null || :
    ;;
esac
