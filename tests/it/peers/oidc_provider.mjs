// A certified OpenID provider, oidc-provider, at this port: it gives JWTs (RFC 9068) and opaque tokens for `api` to the client `shop`, whose secret is `secret`,
// tells the client `gate way`, whose secret is `s3:cr%t`, of tokens, and takes them back.
import http from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const { Provider } = await import(pathToFileURL(`${process.env.MODULES}/oidc-provider/lib/index.js`));

const jwk = (alg, kind, options) => ({ ...generateKeyPairSync(kind, options).privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: alg });
const keys = [jwk('RS256', 'rsa', { modulusLength: 2048 }), jwk('ES256', 'ec', { namedCurve: 'P-256' }), jwk('EdDSA', 'ed25519')];

const server = http.createServer();
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const jwt = (alg) => ({ accessTokenFormat: 'jwt', jwt: { sign: { alg } } });
  const resource = (kind) => ({ scope: 'read write', audience: 'api', accessTokenTTL: 600, ...(kind === 'opaque' ? { accessTokenFormat: kind } : jwt(kind)) });
  const machine = (client_id, client_secret) => ({ client_id, client_secret, grant_types: ['client_credentials'], redirect_uris: [], response_types: [] });
  const provider = new Provider(issuer, {
    jwks: { keys },
    clients: [
      machine('shop', 'secret'),
      machine('gate way', 's3:cr%t'),
      { ...machine('post', 's3:cr%t'), token_endpoint_auth_method: 'client_secret_post' },
    ],
    scopes: ['read', 'write'],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      dPoP: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      // The last part of the resource is the algorithm that is wanted, or `opaque`.
      resourceIndicators: { enabled: true, getResourceServerInfo: (ctx, indicator) => resource(indicator.split(':').pop()) },
    },
  });
  server.on('request', provider.callback());
  console.log(`listening ${server.address().port}`);
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
