// The load that you have: so many iterations a second, however fast they are answered, as clients that know nothing of each other come. Of what is
// measured here, the latency is the one to compare from release to release.
//   k6 run -e RATE=500 -e DURATION=5m loadtest/k6/constant.js
import { columns, number, quick, right, users, visit } from './gateway.js';

export { setup } from './gateway.js';

const rate = number('RATE', 200);

/** @type {import('k6/options').Options} */
export const options = {
  scenarios: {
    constant: { executor: 'constant-arrival-rate', rate, duration: __ENV.DURATION || '1m', ...users(rate) },
  },
  thresholds: { ...right, http_req_duration: quick, dropped_iterations: ['count==0'] },
  summaryTrendStats: columns,
};

export default visit;
