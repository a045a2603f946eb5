// A rush: many times the usual load at once, for half a minute. Answers may be late meanwhile, but not wrong, and once it is over all is as it was before.
//   k6 run -e RATE=100 -e PEAK=5000 loadtest/k6/spike.js
import { columns, number, quick, right, users } from './gateway.js';

export { setup, visit } from './gateway.js';

const rate = number('RATE', 100);
const peak = number('PEAK', 2000);

/** @type {import('k6/options').Options} */
export const options = {
  scenarios: {
    before: { executor: 'constant-arrival-rate', exec: 'visit', rate, duration: '30s', ...users(rate) },
    spike: {
      executor: 'ramping-arrival-rate',
      exec: 'visit',
      startTime: '30s',
      startRate: rate,
      stages: [
        { duration: '5s', target: peak },
        { duration: '30s', target: peak },
        { duration: '5s', target: rate },
      ],
      ...users(peak),
    },
    // Ten seconds for what still waits.
    after: { executor: 'constant-arrival-rate', exec: 'visit', startTime: '80s', rate, duration: '30s', ...users(rate) },
  },
  thresholds: {
    ...right,
    'http_req_duration{scenario:before}': quick,
    'http_req_duration{scenario:after}': quick,
    'dropped_iterations{scenario:before}': ['count==0'],
    'dropped_iterations{scenario:after}': ['count==0'],
  },
  summaryTrendStats: columns,
};
