// A sudden peak within seconds; afterwards everything works as before.

import { thresholds, visit } from './shopper.js';

export { handleSummary } from './summary.js';

export const options = {
  stages: [
    { duration: '20s', target: 10 },
    { duration: '5s', target: 400 },
    { duration: '30s', target: 400 },
    { duration: '5s', target: 10 },
    { duration: '30s', target: 10 },
  ],
  thresholds: { ...thresholds, http_req_failed: ['rate<0.01'] },
};

export default function () {
  visit(0.5);
}
