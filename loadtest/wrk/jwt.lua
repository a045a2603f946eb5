-- Another token with each request: those of the file TOKENS, one a line.
local requests = {}
local at = 0

init = function()
    for token in io.lines(os.getenv("TOKENS")) do
        requests[#requests + 1] = wrk.format("GET", nil, { ["Authorization"] = "Bearer " .. token })
    end
end

request = function()
    at = at % #requests + 1
    return requests[at]
end
