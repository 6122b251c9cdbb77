// Does it work at all? One shopper, some visits, no pauses.

import { thresholds, visit } from './shopper.js';

export { handleSummary } from './summary.js';

export const options = {
  vus: 1,
  iterations: Number(__ENV.ITERATIONS || 20),
  thresholds: { ...thresholds, http_req_failed: ['rate==0'], wrong_answers: ['rate==0'] },
};

export default function () {
  visit(0);
}
