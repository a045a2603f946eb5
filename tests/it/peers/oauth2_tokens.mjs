// A provider of tokens by oauth2-mock-server, at this port. It says of each token that is asked for: `asked FORM`, with the Authorization as one of its fields.
// It is told line by line how to answer from then on:
//   expires SECONDS   how long its tokens hold
//   delay MS          how long it takes
//   status CODE       with this, and an error, instead of a token; 200 for a token
import { createRequire } from 'node:module';
import http from 'node:http';
import { createInterface } from 'node:readline';
import { randomUUID } from 'node:crypto';

const require = createRequire(`${process.env.MODULES}/`);
const { OAuth2Server } = require('oauth2-mock-server');

const manners = { expires: 3600, delay: 0, status: 200 };
const provider = new OAuth2Server();
await provider.issuer.keys.generate('RS256');

// Two of the same second would be the same otherwise.
provider.service.on('beforeTokenSigning', (token) => {
  token.payload.jti = randomUUID();
});
provider.service.on('beforeResponse', (answer, req) => {
  const asked = new URLSearchParams({ ...req.body, authorization: req.headers.authorization ?? '' });
  console.log(`asked ${asked}`);
  answer.body.expires_in = manners.expires;
  if (manners.status !== 200) {
    answer.statusCode = manners.status;
    // As some do, it repeats what it was told.
    answer.body = { error: 'invalid_client', error_description: `not known: ${asked} ${req.body.client_secret ?? ''}` };
  }
});

const answer = (req, res) => setTimeout(() => provider.service.requestHandler(req, res), manners.delay);
const server = http.createServer(answer);
server.listen(Number(process.argv[2]), '127.0.0.1', async () => {
  provider.issuer.url = `http://127.0.0.1:${server.address().port}`;
  console.log(`listening ${server.address().port}`);
  for await (const line of createInterface({ input: process.stdin })) {
    const [what, value] = line.split(' ');
    manners[what] = Number(value);
    console.log(`done ${line}`);
  }
  process.exit(0);
});
