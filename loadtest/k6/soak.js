// What only time shows, such as memory that is never given back: users that come, stay for hours with their connections open, and pause as people do.
// Watch the gateway's memory meanwhile.
//   k6 run -e USERS=500 -e DURATION=12h loadtest/k6/soak.js
import { sleep } from 'k6';
import { columns, number, quick, right, visit } from './gateway.js';

export { setup } from './gateway.js';

const target = number('USERS', 100);

/** @type {import('k6/options').Options} */
export const options = {
  scenarios: {
    soak: {
      executor: 'ramping-vus',
      startVUs: 1,
      stages: [
        { duration: '1m', target },
        { duration: __ENV.DURATION || '2h', target },
        { duration: '1m', target: 0 },
      ],
    },
  },
  thresholds: { ...right, http_req_duration: quick },
  summaryTrendStats: columns,
};

export default function () {
  visit();
  sleep(0.5 + Math.random());
}
