#!/bin/sh
# Homeport's hook for systemd-networkd, run by networkd-dispatcher: hands each lease to the agent.
# Made by `homeport cpe hook install networkd`. networkd keeps option 43 in /run/systemd/netif/leases; it keeps neither option 125 nor
# DHCPv6's 17, so these are asked for (--query) where 43 names no ACS. The .network file needs:
#   [DHCPv4]
#   VendorClassIdentifier=dslforum.org
#   RequestOptions=43
# Without networkd-dispatcher a path unit does the same: see the guide "Discovery by DHCP".

case "$IFACE" in
"" | lo) exit 0 ;;
esac
@PROGRAM@ cpe lease --quiet --state-dir @STATE_DIR@ --interface "$IFACE" --networkd --query </dev/null
exit 0
