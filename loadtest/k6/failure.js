// Does the shop tolerate a failing service? With failure/, the mesh answers half of the
// calls to the review service with 503. Product pages must be served anyway, some of them
// without reviews.

import { Counter } from 'k6/metrics';

import { browse, parsed, thresholds, view } from './shopper.js';

export { handleSummary } from './summary.js';

const without = new Counter('products_without_reviews');
const withReviews = new Counter('products_with_reviews');

export const options = {
  vus: 5,
  iterations: Number(__ENV.ITERATIONS || 200),
  thresholds: {
    ...thresholds,
    http_req_failed: ['rate==0'],
    // Both kinds occurred, so the fault was injected.
    products_without_reviews: ['count>0'],
    products_with_reviews: ['count>0'],
  },
};

export default function () {
  browse();
  const { response } = parsed(view(1 + Math.floor(Math.random() * 12)));
  if (response.reviews) {
    withReviews.add(1);
  } else {
    without.add(1);
  }
}
