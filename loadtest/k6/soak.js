// Hours of ordinary load (DURATION, two by default): memory and response times must not
// increase. Watch galleria_memory_bytes during the run.

import { thresholds, visit } from './shopper.js';

export { handleSummary } from './summary.js';

export const options = {
  stages: [
    { duration: '1m', target: 30 },
    { duration: __ENV.DURATION || '2h', target: 30 },
    { duration: '1m', target: 0 },
  ],
  thresholds: { ...thresholds, http_req_duration: ['p(95)<250', 'p(99)<500'] },
};

export default function () {
  visit(1);
}
