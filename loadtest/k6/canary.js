// Does the canary get its share? Counts the versions in the responses and compares them
// with the weights (CANARY_PERCENT; canary/ has 20).

import http from 'k6/http';
import { Counter } from 'k6/metrics';

import { BASE, parsed, thresholds, wrong } from './shopper.js';

export { handleSummary } from './summary.js';

const PERCENT = Number(__ENV.CANARY_PERCENT || 20);
const REQUESTS = Number(__ENV.REQUESTS || 3000);

const canaries = new Counter('canary_answers');

// The tolerance of a fair draw: four standard deviations, exceeded by one run in sixteen
// thousand.
const STRAY = 4 * Math.sqrt(REQUESTS * (PERCENT / 100) * (1 - PERCENT / 100));
const WANTED = (REQUESTS * PERCENT) / 100;

export const options = {
  vus: 10,
  iterations: REQUESTS,
  thresholds: {
    ...thresholds,
    canary_answers: [`count>=${Math.ceil(WANTED - STRAY)}`, `count<=${Math.floor(WANTED + STRAY)}`],
  },
};

export default function () {
  const answer = http.get(`${BASE}/productms/product/version`, { tags: { name: 'version' } });
  const { version } = parsed(answer);
  const known = version === 'Product v1' || version === 'Product v2';
  wrong.add(answer.status !== 200 || !known);
  canaries.add(version === 'Product v2' ? 1 : 0);
}
