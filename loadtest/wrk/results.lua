-- Prints the results of wrk as one line of JSON, for `cargo xtask bench`. Only `done` is
-- defined, so the requests are those of plain wrk.
done = function(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    '{"requests":%d,"microseconds":%d,"failed":%d,"p50":%d,"p99":%d,"p99_9":%d}\n',
    summary.requests, summary.duration, failed,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)
  ))
end
