// More and more shoppers, to find the load at which response times increase. Responses
// may be slow, but not wrong.

import { thresholds, visit } from './shopper.js';

export { handleSummary } from './summary.js';

export const options = {
  stages: [
    { duration: '1m', target: 100 },
    { duration: '1m', target: 300 },
    { duration: '1m', target: 600 },
    { duration: '30s', target: 0 },
  ],
  thresholds: { ...thresholds, http_req_failed: ['rate<0.01'] },
};

export default function () {
  visit(0.5);
}
