-- A provider for Homeport in Lua: the neighbours in the kernel's ARP table as Device.Hosts.Host rows.
-- One request is one line of JSON on stdin, one answer one line on stdout; see docs/reference/provider-protocol.md.

local file = os.getenv("ARP") or "/proc/net/arp"
local hosts = "Device.Hosts.Host.{i}."

local function rows()
    local found = {}
    for line in io.lines(file) do
        -- address, type, flags, hardware address; flag 2: the entry is complete
        local address, flags, hardware = line:match("^(%d+%.%d+%.%d+%.%d+)%s+%S+%s+0x(%x+)%s+(%x%x:%x%x:%x%x:%x%x:%x%x:%x%x)")
        if address and hardware ~= "00:00:00:00:00:00" then
            local active = tonumber(flags, 16) % 4 >= 2
            found[#found + 1] = string.format('{"PhysAddress":"%s","IPAddress":"%s","Active":%s}', hardware, address, tostring(active))
        end
    end
    return table.concat(found, ",")
end

io.stdout:setvbuf("line")
for line in io.stdin:lines() do
    local id, word = line:match('^{"id":(%d+),"do":"(%a+)"')
    if word == "hello" then
        print('{"id":' .. id .. ',"ok":true,"tables":[{"path":"' .. hosts .. '","key":"PhysAddress","poll":10,'
            .. '"columns":["PhysAddress","IPAddress","Active"]}]}')
    elseif word == "rows" then
        local ok, found = pcall(rows)
        if ok then
            print('{"id":' .. id .. ',"ok":true,"rows":[' .. found .. ']}')
        else
            io.stderr:write(found, "\n")
            print('{"id":' .. id .. ',"ok":false,"error":"the ARP table cannot be read"}')
        end
    elseif id then
        print('{"id":' .. id .. ',"ok":false,"error":"this provider only reads"}')
    end
end
