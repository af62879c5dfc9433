#!/bin/sh
# A provider for Homeport in POSIX shell: the uptime of the machine, and a lamp whose colour is the provisioning code.
# One request is one line of JSON on stdin, one answer one line on stdout; see docs/reference/provider-protocol.md.

uptime=Device.DeviceInfo.UpTime
colour=Device.DeviceInfo.ProvisioningCode
lamp=${LAMP:?the description gives LAMP, the file that is the lamp}

# The text of one value of `check` or `set`: what stands behind its path. Colours need no JSON escapes; what has one is no colour.
value() {
    printf '%s\n' "$line" | sed -n 's/.*"values":{"'"$colour"'":"\([^"\\]*\)".*/\1/p'
}

while IFS= read -r line; do
    id=$(printf '%s\n' "$line" | sed -n 's/^{"id":\([0-9]*\),.*/\1/p')
    do=$(printf '%s\n' "$line" | sed -n 's/^{"id":[0-9]*,"do":"\([a-z]*\)".*/\1/p')
    case $do in
    hello)
        echo '{"id":'"$id"',"ok":true,"parameters":["'$uptime'",{"path":"'$colour'","set":true}]}'
        ;;
    get)
        read -r seconds _ < /proc/uptime
        now=$(cat "$lamp" 2>/dev/null || echo off)
        echo '{"id":'"$id"',"ok":true,"values":{"'$uptime'":'"${seconds%%.*}"',"'$colour'":"'"$now"'"}}'
        ;;
    check)
        case $(value) in
        off | red | green) echo '{"id":'"$id"',"ok":true}' ;;
        *) echo '{"id":'"$id"',"errors":{"'$colour'":"the lamp can be off, red or green"}}' ;;
        esac
        ;;
    set)
        if value > "$lamp"; then
            echo '{"id":'"$id"',"ok":true}'
        else
            echo '{"id":'"$id"',"ok":false,"error":"the lamp cannot be switched"}'
        fi
        ;;
    *)
        echo '{"id":'"$id"',"ok":false,"error":"unknown request"}'
        ;;
    esac
done
