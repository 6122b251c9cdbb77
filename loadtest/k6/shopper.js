// A shopper who looks at the storefront, searches, views products, and occasionally
// writes a review. Every script uses this one, so the scripts differ only in the number
// of shoppers.

import http from 'k6/http';
import { check, sleep } from 'k6';
import { Rate } from 'k6/metrics';

// The shop's address, without a trailing slash.
export const BASE = (__ENV.BASE_URL || 'http://localhost:8080').replace(/\/+$/, '');

// The percentage of visits that end with a review. Reviews are stored in the shop's
// database; set it to 0 for a shop whose data matters.
const REVIEWS_PERCENT = Number(__ENV.REVIEWS_PERCENT || 2);

// The number of products in a new shop.
const PRODUCTS = 12;

// Failed checks, as a metric that thresholds can use.
export const wrong = new Rate('wrong_answers');

// Shared by the scripts; each adds its own load.
export const thresholds = {
  http_req_failed: ['rate<0.001'],
  wrong_answers: ['rate<0.001'],
};

// One visit, with the pauses of a person multiplied by `pace`.
export function visit(pace) {
  browse();
  think(pace);
  search();
  think(pace);
  const product = 1 + Math.floor(Math.random() * PRODUCTS);
  view(product);
  think(pace);
  if (Math.random() * 100 < REVIEWS_PERCENT) {
    review(product);
    think(pace);
  }
}

export function browse() {
  const page = http.get(`${BASE}/ui`, { tags: { name: 'storefront' } });
  expect(page, {
    'storefront: 200': (it) => it.status === 200,
    'storefront: lists products': (it) => text(it).includes('/ui/product/'),
  });
}

// Only the canary can search, so the shopper sends the headers of one of its users.
export function search() {
  const url = `${BASE}/productms/product/catalogue?search=phone`;
  const found = http.get(url, { headers: { 'end-user': 'metamagic' }, tags: { name: 'search' } });
  expect(found, {
    'search: 200': (it) => it.status === 200,
    'search: finds some': (it) => list(it).length > 0 && list(it).length < PRODUCTS,
  });
}

// Requests the product's page, and the product from the service; returns the latter.
export function view(product) {
  const page = http.get(`${BASE}/ui/product/${product}`, { tags: { name: 'product page' } });
  expect(page, { 'product page: 200': (it) => it.status === 200 });
  const url = `${BASE}/productms/product/catalogue/${product}`;
  const answer = http.get(url, { tags: { name: 'product' } });
  expect(answer, {
    'product: 200': (it) => it.status === 200,
    'product: the one asked for': (it) => parsed(it).response.productId === product,
  });
  return answer;
}

export function review(product) {
  const body = JSON.stringify({ author: 'k6', desc: 'Arrived in one piece.', rating: 8 });
  const url = `${BASE}/productreviewms/productreview/${product}`;
  const headers = { 'content-type': 'application/json' };
  const stored = http.post(url, body, { headers, tags: { name: 'review' } });
  expect(stored, { 'review: 201': (it) => it.status === 201 });
}

function expect(answer, wanted) {
  wrong.add(!check(answer, wanted));
}

// The JSON of a response; an empty envelope if there is none.
export function parsed(answer) {
  try {
    return answer.json() || { response: {} };
  } catch (_) {
    return { response: {} };
  }
}

function list(answer) {
  const { response } = parsed(answer);
  return Array.isArray(response) ? response : [];
}

function text(answer) {
  return typeof answer.body === 'string' ? answer.body : '';
}

function think(pace) {
  if (pace > 0) {
    sleep(pace * (0.5 + Math.random()));
  }
}
