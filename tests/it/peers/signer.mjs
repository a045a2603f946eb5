// A client that signs requests, with keys of its own: `keys {…}` says the public ones. It is told line by line what to sign, as JSON:
//   { method, url, headers, key, fields, params }   by http-message-signatures (RFC 9421); `params` are values of parameters, times in seconds from now
//   { method, url, headers, secret, covered }       by http-signature (draft-cavage-http-signatures)
// and answers with the headers to send besides.
import { createRequire } from 'node:module';
import crypto from 'node:crypto';
import { createInterface } from 'node:readline';

const require = createRequire(`${process.env.MODULES}/`);
const { httpbis, createSigner } = require('http-message-signatures');
const httpSignature = require('http-signature');

const [secret] = process.argv.slice(2);
const rsa = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
const pairs = {
  'ed25519': crypto.generateKeyPairSync('ed25519'),
  'ecdsa-p256-sha256': crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  'ecdsa-p384-sha384': crypto.generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  'rsa-pss-sha512': rsa,
  'rsa-v1_5-sha256': rsa,
};

function signer(algorithm, id) {
  if (algorithm === 'hmac-sha256') return createSigner(secret, algorithm, id);
  const key = pairs[algorithm].privateKey;
  if (algorithm !== 'rsa-pss-sha512') return createSigner(key, algorithm, id);
  // The package leaves the length of the salt to Node, which takes the longest; RFC 9421 §3.3.1 says 64 bytes.
  const padding = crypto.constants.RSA_PKCS1_PSS_PADDING;
  return { id, alg: algorithm, sign: async (data) => crypto.sign('sha512', data, { key, padding, saltLength: 64 }) };
}

async function message({ method, url, headers, key, fields, params }) {
  const time = (seconds) => new Date(Date.now() + seconds * 1000);
  const { created = 0, expires, ...rest } = params ?? {};
  const paramValues = { created: created === null ? null : time(created), ...rest };
  if (expires !== undefined) paramValues.expires = time(expires);
  const names = ['keyid', 'alg', 'created', ...(expires === undefined ? [] : ['expires']), ...Object.keys(rest).filter((name) => name !== 'keyid')];
  const config = { key: signer(key, `${key}-1`), fields, params: names, paramValues };
  const signed = await httpbis.signMessage(config, { method, url, headers });
  return { 'signature-input': signed.headers['Signature-Input'], signature: signed.headers['Signature'] };
}

function older({ method, url, headers, secret, algorithm, covered }) {
  const { pathname, search } = new URL(url);
  const added = {};
  const request = {
    method,
    path: pathname + search,
    getHeader: (name) => added[name.toLowerCase()] ?? headers[name.toLowerCase()],
    setHeader: (name, value) => { added[name.toLowerCase()] = value; },
  };
  httpSignature.signRequest(request, { key: secret, keyId: 'hmac-sha256-1', algorithm: algorithm ?? 'hmac-sha256', headers: covered });
  return added;
}

const pem = ({ publicKey }) => publicKey.export({ type: 'spki', format: 'pem' });
console.log(`keys ${JSON.stringify(Object.fromEntries(Object.entries(pairs).map(([name, pair]) => [name, pem(pair)])))}`);
for await (const line of createInterface({ input: process.stdin })) {
  const what = JSON.parse(line);
  console.log(`signed ${JSON.stringify(what.covered ? older(what) : await message(what))}`);
}
