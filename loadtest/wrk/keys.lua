-- Another API key with each request: those of KEYS consumers, as compare.py gives them.
local count = tonumber(os.getenv("KEYS"))
local at = 0

request = function()
    -- A prime number of steps, so that none is met again soon.
    at = (at + 7919) % count
    return wrk.format("GET", nil, { ["X-API-Key"] = string.format("loadtest-%08d", at) })
end
