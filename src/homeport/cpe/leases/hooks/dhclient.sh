# Homeport's hook for ISC dhclient: hands each lease to the agent. Made by `homeport cpe hook install dhclient`.
# dhclient.conf needs:
#   send vendor-class-identifier "dslforum.org";
#   also request vendor-encapsulated-options, vivso, tftp-server-name;
#   also request dhcp6.vendor-opts;
# This file is sourced by dhclient-script, so it must not exit. What the lease says is only ever an argument, never read by the shell.

case "$reason" in
BOUND | RENEW | REBIND | REBOOT)
    @PROGRAM@ cpe lease --quiet --state-dir @STATE_DIR@ --interface "$interface" \
        --option "43=$new_vendor_encapsulated_options" --option "125=$new_vivso" \
        --tftp-server "${new_tftp_server_name:-$new_next_server}" </dev/null || :
    ;;
BOUND6 | RENEW6 | REBIND6)
    @PROGRAM@ cpe lease --quiet --state-dir @STATE_DIR@ --interface "$interface" --ipv6 \
        --option "17=$new_dhcp6_vendor_opts" </dev/null || :
    ;;
EXPIRE | RELEASE | FAIL)
    @PROGRAM@ cpe lease --quiet --state-dir @STATE_DIR@ --interface "$interface" --released </dev/null || :
    ;;
EXPIRE6 | RELEASE6)
    @PROGRAM@ cpe lease --quiet --state-dir @STATE_DIR@ --interface "$interface" --ipv6 --released </dev/null || :
    ;;
esac
