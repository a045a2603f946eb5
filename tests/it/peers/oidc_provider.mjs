// A certified OpenID provider, oidc-provider: it gives JWTs (RFC 9068) for `api` to the client `shop`, whose secret is `secret`.
import http from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const { Provider } = await import(pathToFileURL(`${process.env.MODULES}/oidc-provider/lib/index.js`));

const jwk = (alg, kind, options) => ({ ...generateKeyPairSync(kind, options).privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: alg });
const keys = [jwk('RS256', 'rsa', { modulusLength: 2048 }), jwk('ES256', 'ec', { namedCurve: 'P-256' }), jwk('EdDSA', 'ed25519')];

const server = http.createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const resource = (alg) => ({ scope: 'read write', audience: 'api', accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg } } });
  const provider = new Provider(issuer, {
    jwks: { keys },
    clients: [{ client_id: 'shop', client_secret: 'secret', grant_types: ['client_credentials'], redirect_uris: [], response_types: [] }],
    scopes: ['read', 'write'],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      dPoP: { enabled: true },
      // The last part of the resource is the algorithm that is wanted.
      resourceIndicators: { enabled: true, getResourceServerInfo: (ctx, indicator) => resource(indicator.split(':').pop()) },
    },
  });
  server.on('request', provider.callback());
  console.log(`listening ${server.address().port}`);
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
