// HTTP for k6.mjs: k6's requests return when the answer is there, Node's do not. So another thread asks, and this one stands still until then.
import http from 'node:http';
import { isMainThread, MessageChannel, receiveMessageOnPort, Worker, workerData } from 'node:worker_threads';

let asks;

/** One request; the answer is `{ status, headers, body }`, of status 0 and with an `error` where there is none. */
export function exchange(request) {
  asks ??= start();
  Atomics.store(asks.answered, 0, 0);
  asks.port.postMessage(request);
  Atomics.wait(asks.answered, 0, 0, request.timeout + 5000);
  const received = receiveMessageOnPort(asks.port);
  if (!received) throw new Error('the thread that asks says nothing');
  return received.message;
}

function start() {
  const { port1: port, port2: other } = new MessageChannel();
  const answered = new Int32Array(new SharedArrayBuffer(4));
  new Worker(new URL(import.meta.url), { workerData: { port: other, answered }, transferList: [other] }).unref();
  return { port, answered };
}

/** As Go writes the name of a header, and so k6. */
const canonical = (name) => name.replace(/[^-]+/g, (word) => word[0].toUpperCase() + word.slice(1).toLowerCase());

function ask({ method, url, headers, timeout }, done) {
  const failed = (error) => done({ status: 0, headers: {}, body: null, error: error.message });
  const request = http.request(url, { method, headers, agent }, (answer) => {
    const [chunks, named] = [[], {}];
    for (let at = 0; at < answer.rawHeaders.length; at += 2) {
      const name = canonical(answer.rawHeaders[at]);
      named[name] = (name in named ? `${named[name]}, ` : '') + answer.rawHeaders[at + 1];
    }
    answer.on('data', (chunk) => chunks.push(chunk));
    answer.on('end', () => done({ status: answer.statusCode, headers: named, body: Buffer.concat(chunks).toString(), error: '' }));
    answer.on('error', failed);
  });
  request.setTimeout(timeout, () => request.destroy(new Error('request timeout')));
  request.on('error', failed);
  request.end();
}

const agent = new http.Agent({ keepAlive: true });
if (!isMainThread) {
  const { port, answered } = workerData;
  port.on('message', (request) => {
    ask(request, (answer) => {
      port.postMessage(answer);
      Atomics.store(answered, 0, 1);
      Atomics.notify(answered, 0);
    });
  });
}
