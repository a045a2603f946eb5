// How much it takes: the load rises steadily, and the run ends where answers are late, or more come than users are free. The rate that k6 shows
// by then is the result; it is RATE where the run comes to its end.
//   k6 run -e RATE=5000 -e DURATION=10m loadtest/k6/ramp.js
import { columns, number, quick, right, users, visit } from './gateway.js';

export { setup } from './gateway.js';

const rate = number('RATE', 2000);

/**
 * @param {string} threshold
 * @returns {import('k6/options').ObjectThreshold}
 */
const ends = (threshold) => ({ threshold, abortOnFail: true, delayAbortEval: '10s' });

/** @type {import('k6/options').Options} */
export const options = {
  scenarios: {
    ramp: {
      executor: 'ramping-arrival-rate',
      startRate: Math.ceil(rate / 20),
      stages: [
        { duration: __ENV.DURATION || '5m', target: rate },
        { duration: '30s', target: rate },
      ],
      ...users(rate),
    },
  },
  thresholds: {
    ...right,
    http_req_duration: quick.map(ends),
    // One may fall between two users. A second's worth is more than that.
    dropped_iterations: [{ threshold: `count<${rate}`, abortOnFail: true }],
  },
  summaryTrendStats: columns,
};

export default visit;
