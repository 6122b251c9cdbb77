// A readable summary: first the thresholds, which decide the result, then the failed
// checks, then the durations of each kind of request.

export function textSummary(data) {
  const lines = [''];
  for (const [name, metric] of Object.entries(data.metrics)) {
    for (const [limit, { ok }] of Object.entries(metric.thresholds || {})) {
      lines.push(`${ok ? 'met   ' : 'MISSED'}  ${name}: ${limit} (${values(metric)})`);
    }
  }
  for (const check of data.root_group.checks) {
    if (check.fails > 0) {
      lines.push(`failed  ${check.name}: ${check.fails} of ${check.fails + check.passes}`);
    }
  }
  const { http_reqs: requests, http_req_duration: duration } = data.metrics;
  if (requests && duration) {
    const rate = requests.values.rate.toFixed(1);
    lines.push(`${requests.values.count} requests, ${rate}/s; ${values(duration)}`);
  }
  return lines.join('\n') + '\n\n';
}

function values({ type, values: it }) {
  switch (type) {
    case 'rate':
      return `${(it.rate * 100).toFixed(2)} %`;
    case 'trend':
      return `median ${it.med.toFixed(1)}, p95 ${it['p(95)'].toFixed(1)}, max ${it.max.toFixed(1)} ms`;
    case 'counter':
      return `${it.count}`;
    default:
      return `${it.value}`;
  }
}
