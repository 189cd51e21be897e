-- One request again and again; at the end a line of JSON. WRK_BODY and WRK_TYPE say what is sent, WRK_JSON_LENGTH how
-- much of it is JSON where the rest is binary.
local file = io.open(os.getenv("WRK_BODY"), "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
wrk.headers["Content-Type"] = os.getenv("WRK_TYPE")
local length = os.getenv("WRK_JSON_LENGTH")
if length then
  wrk.headers["Inference-Header-Content-Length"] = length
end

function done(summary, latency)
  local e = summary.errors
  print(string.format(
    '{"requests": %d, "micros": %d, "errors": %d, "p50": %d, "p99": %d}',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
