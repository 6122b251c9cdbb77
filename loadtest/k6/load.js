// An ordinary day: shoppers come, stay and leave. Response times stay within their
// limits.

import { thresholds, visit } from './shopper.js';

export { handleSummary } from './summary.js';

export const options = {
  stages: [
    { duration: '30s', target: 50 },
    { duration: '2m', target: 50 },
    { duration: '30s', target: 0 },
  ],
  thresholds: { ...thresholds, http_req_duration: ['p(95)<250', 'p(99)<500'] },
};

export default function () {
  visit(1);
}
