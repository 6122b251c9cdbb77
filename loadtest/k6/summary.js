// The output at the end of a script: k6's own text, and everything as JSON in the file
// named by SUMMARY.

import { textSummary } from './text.js';

export function handleSummary(data) {
  const output = { stdout: textSummary(data) };
  if (__ENV.SUMMARY) {
    output[__ENV.SUMMARY] = JSON.stringify(data, null, 2);
  }
  return output;
}
