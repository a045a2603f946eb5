// One iteration of a k6 script, as k6 would run it: `node --experimental-vm-modules k6.mjs [--no-setup] SCRIPT [NAME=VALUE…]`. Of k6's modules it has
// what the scripts in loadtest/k6 use. Whatever else they name ends it with an error, Node's own things too. It prints what it found, as JSON:
//   scenarios  the executor of each
//   checks     how often each has passed and failed
//   crossed    the thresholds not kept, but for those of times, which say nothing here
//   error      what k6 would have ended with, if anything
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { createContext, SourceTextModule, SyntheticModule } from 'node:vm';
import { exchange } from './k6_http.mjs';

const EXECUTORS = ['shared-iterations', 'per-vu-iterations', 'constant-vus', 'ramping-vus', 'constant-arrival-rate', 'ramping-arrival-rate'];
// https://grafana.com/docs/k6/latest/using-k6/metrics/reference/, and what may be said of each type:
// https://grafana.com/docs/k6/latest/using-k6/thresholds/#threshold-syntax
const TRENDS = ['blocked', 'connecting', 'duration', 'receiving', 'sending', 'tls_handshaking', 'waiting'].map((what) => `http_req_${what}`);
const METRICS = new Map([
  ...['data_received', 'data_sent', 'dropped_iterations', 'http_reqs', 'iterations'].map((name) => [name, 'Counter']),
  ...['vus', 'vus_max'].map((name) => [name, 'Gauge']),
  ...['checks', 'http_req_failed'].map((name) => [name, 'Rate']),
  ...[...TRENDS, 'group_duration', 'iteration_duration'].map((name) => [name, 'Trend']),
]);
const METHODS = { Counter: /^(count|rate)$/, Gauge: /^value$/, Rate: /^rate$/, Trend: /^(avg|min|max|med|p\(\d+(\.\d+)?\))$/ };
const HOLDS = {
  '<': (a, b) => a < b,
  '<=': (a, b) => a <= b,
  '>': (a, b) => a > b,
  '>=': (a, b) => a >= b,
  '==': (a, b) => a === b,
  '===': (a, b) => a === b,
  '!=': (a, b) => a !== b,
};

const samples = [];
const checks = {};
let [tagsNow, isInit] = [{}, true];

function sample(metric, value, tags = {}) {
  samples.push({ metric, value: Number(value), tags: { ...tagsNow, ...tags } });
}

/** An object of which nothing can be asked that it does not have. */
const strict = (what, object) =>
  new Proxy(object, {
    get(_, name) {
      if (typeof name === 'string' && !(name in object)) throw new Error(`${what} has no ${name} here`);
      return object[name];
    },
  });

/** Milliseconds, of a number of them or of words such as `1m30s`. */
function milliseconds(duration) {
  if (typeof duration === 'number') return duration;
  const parts = /^(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$/.exec(duration);
  if (!duration || !parts) throw new Error(`not a duration: ${duration}`);
  const units = [86_400_000, 3_600_000, 60_000, 1000, 1];
  return units.reduce((sum, unit, at) => sum + unit * Number.parseInt(parts[at + 1] ?? '0', 10), 0);
}

/** https://grafana.com/docs/k6/latest/javascript-api/k6-http/response/ */
function response(url, answer) {
  const json = (selector) => {
    let value = JSON.parse(answer.body);
    if (/[^\w.-]/.test(selector ?? '')) throw new Error(`more than names and dots: ${selector}`);
    for (const name of selector?.split('.') ?? []) {
      value = value !== null && typeof value === 'object' && Object.hasOwn(value, name) ? value[name] : undefined;
    }
    return value;
  };
  return strict('a response', { url, ...answer, json });
}

function get(url, params = {}) {
  const { headers = {}, tags = {}, timeout = '60s', responseCallback = http.expectedStatuses({ min: 200, max: 399 }), redirects, ...more } = params;
  if (redirects !== 0 || Object.keys(more).length > 0) throw new Error(`requests follow no redirect here, and have no ${Object.keys(more)}`);
  const begin = performance.now();
  const answer = exchange({ method: 'GET', url, headers, timeout: milliseconds(timeout) });
  const all = { name: url, url, method: 'GET', status: `${answer.status}`, expected_response: `${responseCallback(answer.status)}`, ...tags };
  sample('http_reqs', 1, all);
  sample('http_req_duration', performance.now() - begin, all);
  sample('http_req_failed', !responseCallback(answer.status), all);
  return response(url, answer);
}

const http = {
  get,
  expectedStatuses: (...all) => (status) => all.some((one) => (typeof one === 'number' ? one === status : one.min <= status && status <= one.max)),
};

function check(value, sets, tags) {
  let all = true;
  for (const [name, right] of Object.entries(sets)) {
    const known = (checks[name] ??= { passes: 0, fails: 0 });
    let passes = false;
    try {
      passes = Boolean(right(value));
    } finally {
      known[passes ? 'passes' : 'fails'] += 1;
      sample('checks', passes, { check: name, ...tags });
    }
    all &&= passes;
  }
  return all;
}

/** A metric of the script's own. */
const metric = (type) =>
  class {
    constructor(name) {
      if (!isInit) throw new Error(`${name}: a metric is made where the script begins`);
      if (!/^[a-zA-Z_]\w{1,127}$/.test(name)) throw new Error(`not a name for a metric: ${name}`);
      if ((METRICS.get(name) ?? type) !== type) throw new Error(`${name} is a ${METRICS.get(name)}`);
      METRICS.set(name, type);
      this.name = name;
    }
    add(value, tags) {
      if (isInit) throw new Error(`${this.name}: nothing is counted yet`);
      sample(this.name, value, tags);
    }
  };

const MODULES = {
  k6: {
    check,
    fail(why) {
      throw new Error(why);
    },
    // There is one user, and nobody after him.
    sleep(seconds) {
      if (!(seconds >= 0)) throw new Error(`no time to sleep: ${seconds}`);
    },
  },
  'k6/http': http,
  'k6/metrics': { Counter: metric('Counter'), Gauge: metric('Gauge'), Rate: metric('Rate'), Trend: metric('Trend') },
};

const withSetup = process.argv[2] !== '--no-setup';
const [script, ...variables] = process.argv.slice(withSetup ? 2 : 3);
const env = Object.fromEntries(variables.map((variable) => variable.split(/=(.*)/s)));
// A context of its own has what the language has, as k6 does, and nothing of Node.
const context = createContext({ __ENV: env, __VU: 0 });
const modules = new Map();

function load(name, from) {
  const known = name.startsWith('.') || !from ? path.resolve(from ? path.dirname(from.identifier) : '.', name) : name;
  if (!modules.has(known)) modules.set(known, path.isAbsolute(known) ? source(known) : own(known));
  return modules.get(known);
}

const source = (file) => new SourceTextModule(readFileSync(file, 'utf8'), { identifier: file, context });

function own(name) {
  if (!Object.hasOwn(MODULES, name)) throw new Error(`there is no ${name} here`);
  const exports = MODULES[name];
  const set = function () {
    Object.entries(exports).forEach(([key, value]) => this.setExport(key, value));
    this.setExport('default', strict(name, exports));
  };
  return new SyntheticModule([...Object.keys(exports), 'default'], set, { context });
}

/** Finds that values are such as k6 takes: their names and types are the compiler's matter. */
function sound(name, value) {
  if (/^(duration|startTime|timeUnit|gracefulStop|gracefulRampDown|delayAbortEval|maxDuration)$/.test(name)) {
    milliseconds(value);
  } else if (/^(rate|startRate|target|vus|startVUs|preAllocatedVUs|maxVUs|iterations)$/.test(name)) {
    if (!Number.isInteger(value) || value < 0 || (value === 0 && !/^(target|start)/.test(name))) throw new Error(`${name} cannot be ${value}`);
  } else if (typeof value === 'object') {
    Object.entries(value).forEach(([name, value]) => sound(name, value));
  }
}

/** Whether a threshold of this metric is kept, of all the samples that have its tags. */
function kept(name, expression) {
  const [, metric, selector] = /^(\w+)(?:\{(.*)\})?$/.exec(name) ?? [];
  const type = METRICS.get(metric);
  if (!type) throw new Error(`there is no metric ${name}`);
  const tags = (selector?.split(',') ?? []).map((tag) => tag.split(/:(.*)/s));
  const has = (sample) => tags.every(([tag, value]) => sample.tags[tag.trim()] === value?.trim());
  if (!samples.some(has)) throw new Error(`nothing has the tags of ${name}`);
  const [, method, operator, value] = /^\s*([a-z]+(?:\([\d.]+\))?)\s*(<=?|>=?|===?|!=)\s*(\d+(?:\.\d+)?)\s*$/.exec(expression) ?? [];
  if (!method || !METHODS[type].test(method)) throw new Error(`not a threshold of ${name}, a ${type}: ${expression}`);
  const values = samples.filter((sample) => sample.metric === metric && has(sample)).map((sample) => sample.value);
  const sum = values.reduce((sum, value) => sum + value, 0);
  const found = { Counter: { count: sum }, Rate: { rate: values.length > 0 ? sum / values.length : 0 } }[type]?.[method];
  return found === undefined || HOLDS[operator](found, Number(value));
}

const found = { scenarios: {}, checks, crossed: [], error: null };

async function run() {
  const main = load(script);
  await main.link(load);
  await main.evaluate();
  const { options, setup, teardown, ...functions } = main.namespace;
  const scenarios = Object.entries(options.scenarios ?? {});
  const thresholds = Object.entries(options.thresholds ?? {});
  if (scenarios.length === 0 || thresholds.length === 0) throw new Error('it has no scenarios, or no thresholds');
  sound('options', options);
  for (const [name, { executor, exec = 'default', stages, preAllocatedVUs, maxVUs }] of scenarios) {
    if (!EXECUTORS.includes(executor)) throw new Error(`${name}: k6 has no ${executor}`);
    if (typeof functions[exec] !== 'function') throw new Error(`${name}: the script has no function ${exec}`);
    if (stages?.length === 0 || maxVUs < preAllocatedVUs) throw new Error(`${name}: no stages, or fewer users than at the start`);
    found.scenarios[name] = executor;
  }

  isInit = false;
  const data = withSetup ? JSON.stringify(await setup?.()) : undefined;
  const given = () => (data === undefined ? undefined : JSON.parse(data));
  Object.assign(context, { __VU: 1, __ITER: 0 });
  for (const [scenario, { exec = 'default' }] of scenarios) {
    tagsNow = { scenario };
    const begin = performance.now();
    await functions[exec](given());
    sample('iteration_duration', performance.now() - begin);
    sample('iterations', 1);
    context.__ITER += 1;
  }
  tagsNow = {};
  await teardown?.(given());
  for (const [name, expressions] of thresholds) {
    const missed = expressions.map((one) => one.threshold ?? one).filter((expression) => !kept(name, expression));
    found.crossed.push(...missed.map((expression) => `${name}: ${expression}`));
  }
}

await run().catch((error) => {
  found.error = error.message;
});
console.log(JSON.stringify(found));
