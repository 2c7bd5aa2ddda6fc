-- Sends prepared requests from a file, each once: wrk ... -s load.lua URL -- FILE OFFSET
-- The file holds, for each request, a line with its length in bytes and then the request.
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  sent = 0
  exhausted = 0
  file = assert(io.open(args[1], "rb"))
  file:seek("set", tonumber(args[2]))
end

function request()
  local length = file:read("*l")
  if length == nil then
    exhausted = exhausted + 1
    return wrk.format("GET", "/webhooks/hireflix")
  end
  sent = sent + 1
  return file:read(tonumber(length))
end

function done(summary, latency, requests)
  local failed = summary.errors
  io.write(string.format(
    '\nRESULT {"answered": %d, "sent": %d, "exhausted": %d, "refused": %d, "broken": %d, ' ..
    '"seconds": %.6f, "p50": %.3f, "p99": %.3f}\n',
    summary.requests, threads[1]:get("sent"), threads[1]:get("exhausted"), failed.status,
    failed.connect + failed.read + failed.write + failed.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
