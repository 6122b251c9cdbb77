// Requests that start at a constant rate, however long the responses take, for
// `cargo xtask bench`. Prints the results as one line of JSON.
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter, Trend } from 'k6/metrics';

const seconds = Number(__ENV.SECONDS);
const rate = Number(__ENV.RATE);

export const options = {
  discardResponseBodies: true,
  scenarios: {
    arrivals: {
      executor: 'constant-arrival-rate',
      rate,
      timeUnit: '1s',
      duration: `${seconds}s`,
      // A virtual user is busy for as long as its request. Those that exist from the
      // start suffice unless responses take a second and a half.
      preAllocatedVUs: Math.ceil(Math.min(rate * 1.5, 2000)),
      gracefulStop: '5s',
    },
  },
  summaryTrendStats: ['count', 'med', 'p(99)', 'p(99.9)'],
};

const served = new Trend('served', true);
// A queue that is served after the last request was sent is not throughput.
const inTime = new Counter('in_time');
const refused = new Counter('refused');
const failed = new Counter('failed');

export default function () {
  const { status, timings } = http.get(__ENV.URL);
  if (status === 200) {
    served.add(timings.duration);
    if (Date.now() < exec.scenario.startTime + seconds * 1000) {
      inTime.add(1);
    }
  } else if (status === 503) {
    refused.add(1);
  } else {
    failed.add(1);
  }
}

export function handleSummary({ metrics }) {
  const count = (name) => (metrics[name] ? metrics[name].values.count : 0);
  const times = metrics.served ? metrics.served.values : {};
  const results = {
    served: count('served'),
    in_time: count('in_time'),
    refused: count('refused'),
    failed: count('failed'),
    dropped: count('dropped_iterations'),
    p50: times.med || 0,
    p99: times['p(99)'] || 0,
    p99_9: times['p(99.9)'] || 0,
  };
  return { stdout: `${JSON.stringify(results)}\n` };
}
