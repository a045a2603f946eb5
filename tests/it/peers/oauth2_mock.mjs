// An issuer by oauth2-mock-server, at this port, which keeps its keys in this file; over TLS where it is given the files of a key and a certificate too.
// It is told line by line what to do:
//   rotate KID ALG    one more key
//   only KID          takes all other keys back
//   token KID CLAIMS  a token that says this besides what all say, signed with this key, whether it is shown or not
import { createRequire } from 'node:module';
import http from 'node:http';
import https from 'node:https';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

const require = createRequire(`${process.env.MODULES}/`);
const { OAuth2Server } = require('oauth2-mock-server');

const [port, file, key, cert] = process.argv.slice(2);
const made = new Map(existsSync(file) ? JSON.parse(readFileSync(file)) : []);
let issuer;
let present;

// The keys that it shows can be added to, not taken back: for that another takes its place.
function renew(kids) {
  const next = new OAuth2Server();
  next.issuer.url = issuer;
  present = next;
  return Promise.all(kids.map((kid) => next.issuer.keys.add(made.get(kid))));
}

const answer = (req, res) => present.service.requestHandler(req, res);
const server = key ? https.createServer({ key: readFileSync(key), cert: readFileSync(cert) }, answer) : http.createServer(answer);

async function token(kid, claims) {
  const signer = new OAuth2Server();
  signer.issuer.url = issuer;
  await signer.issuer.keys.add(made.get(kid));
  return signer.issuer.buildToken({ kid, scopesOrTransform: (header, payload) => Object.assign(payload, claims) });
}

const acts = {
  async rotate(kid, alg) {
    made.set(kid, { ...(await present.issuer.keys.generate(alg, { kid })) });
    writeFileSync(file, JSON.stringify([...made]));
  },
  async only(kid) {
    await renew([kid]);
  },
  async token(kid, ...claims) {
    return token(kid, JSON.parse(claims.join(' ')));
  },
};

server.listen(Number(port), '127.0.0.1', async () => {
  issuer = `${key ? 'https' : 'http'}://localhost:${server.address().port}`;
  await renew([...made.keys()]);
  console.log(`listening ${server.address().port}`);
  for await (const line of createInterface({ input: process.stdin })) {
    const [act, ...words] = line.split(' ');
    console.log(`done ${(await acts[act](...words)) ?? act}`);
  }
  process.exit(0);
});
