// What the scripts share: where the gateway is, what is asked of it, what is right about its answers, and how good all of them together must be.
// The requests are those of the demo, conf/tidegate.yaml, which `make run` starts. For routes of your own, change them here.
import { check, fail } from 'k6';
import http from 'k6/http';
import { Rate } from 'k6/metrics';

const base = (__ENV.BASE_URL || 'http://127.0.0.1:8080').replace(/\/+$/, '');
const key = { 'X-API-Key': __ENV.API_KEY || 'demo-key' };

/** Of the requests without a key, how many were not refused. */
const letThrough = new Rate('let_through');

/**
 * A number from the environment.
 * @param {string} name
 * @param {number} otherwise
 */
export function number(name, otherwise) {
  const value = Number(__ENV[name] || otherwise);
  if (!Number.isInteger(value) || value < 1) throw new Error(`${name} is ${__ENV[name]}: it should be a whole number above 0`);
  return value;
}

/**
 * Users for so many iterations a second, of a quarter of a second each. k6 drops what none of them is free for.
 * @param {number} rate
 */
export const users = (rate) => ({ preAllocatedVUs: Math.ceil(rate / 4) });

/** What is thought to be quick, in milliseconds. */
export const quick = [`p(95)<${number('P95', 25)}`, `p(99)<${number('P99', 100)}`];

/**
 * What holds at any load. A request that should be refused and is not ends the run: nothing is worth measuring then.
 * @satisfies {import('k6/options').Options['thresholds']}
 */
export const right = {
  checks: ['rate>0.999'],
  http_req_failed: ['rate<0.001'],
  let_through: [{ threshold: 'rate==0', abortOnFail: true }],
};

/** For the summary at the end. */
export const columns = ['med', 'p(95)', 'p(99)', 'max'];

/**
 * @param {string} name
 * @param {string} path
 * @param {number[]} expected
 * @param {{ [name: string]: string }} headers
 */
function ask(name, path, expected, headers) {
  const responseCallback = http.expectedStatuses(...expected);
  return http.get(base + path, { headers, responseCallback, redirects: 0, timeout: '10s', tags: { name } });
}

/** Before anything is measured: it is a gateway, it refuses who has no key, it knows ours, and it answers. */
export function setup() {
  const path = '/api/user-profile/1';
  const refused = ask('setup', path, [401], {});
  if (refused.status === 0) fail(`nothing answers at ${base} (${refused.error}): \`make run\` starts the demo, BASE_URL names another gateway`);
  if (refused.status !== 401) fail(`${base}${path} answers ${refused.status} to a request without a key, which should be refused with 401`);
  const answer = ask('setup', path, [200], key);
  if (answer.status === 401) fail(`${base} refuses the key: set API_KEY`);
  if (answer.status !== 200 || !answer.headers['Tidegate-Parts']) fail(`${base}${path} should answer 200 with its parts, and answers ${answer.status}`);
}

/**
 * One answer of several services. One of them is closed in the demo: its part is null, and the others are there.
 * @param {string} id
 */
function profile(id) {
  check(ask('profile', `/api/user-profile/${id}`, [200], key), {
    'profile: 200': (answer) => answer.status === 200,
    'profile: its parts are there': (answer) =>
      answer.status === 200 && answer.json('user.path') === `/users/${id}` && answer.json('preferences.theme') === 'dark',
    'profile: the part that failed is null': (answer) => answer.status === 200 && answer.json('offers') === null,
  });
}

/**
 * A service behind a limit for each consumer: what is over it is refused, and that is right.
 * @param {string} id
 */
function user(id) {
  check(ask('user', `/api/users/${id}`, [200, 429], key), {
    'user: answered, or told when to come again': (answer) =>
      answer.status === 200 || (answer.status === 429 && Number(answer.headers['Retry-After']) > 0),
    'user: the service hears who calls, and no key': (answer) =>
      answer.status === 429 ||
      (answer.status === 200 && typeof answer.json('headers.x-consumer') === 'string' && answer.json('headers.x-api-key') === undefined),
  });
}

/**
 * A request without a key.
 * @param {string} id
 */
function stranger(id) {
  const answer = ask('stranger', `/api/users/${id}`, [401], {});
  // With 429 and 503 the gateway refuses whoever asks, and no answer at all says nothing. Any other is a service's, or of somebody who has asked one.
  letThrough.add(![0, 401, 429, 503].includes(answer.status));
  check(answer, {
    'stranger: 401': ({ status }) => status === 401,
    'stranger: told how to authenticate': ({ headers }) => Boolean(headers['Www-Authenticate']),
    'stranger: told why': ({ status, headers }) => status === 401 && headers['Content-Type'] === 'application/problem+json',
  });
}

/** One iteration: three requests, for another user each time. */
export function visit() {
  const id = `${__VU}-${__ITER}`;
  profile(id);
  user(id);
  stranger(id);
}
