#!/bin/sh
# HOMEPORT_DATA is the unit's own directory, which stays over updates; what it prints is its log.
every=5
[ "$1" = "--every" ] && every=$2
[ -f "$HOMEPORT_DATA/hello.conf" ] || echo "greeting=$GREETING" > "$HOMEPORT_DATA/hello.conf"
trap 'echo "goodbye"; exit 0' TERM
while :; do
    echo "$GREETING from $HOMEPORT_UNIT"
    sleep "$every" &
    wait $!
done
