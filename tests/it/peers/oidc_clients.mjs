// A certified OpenID provider, oidc-provider, at this port. It gives JWTs (RFC 9068) for the resource `urn:api` to the clients `basic` and `post`, whose secret is
// `s3cret:of %`, and to `signed`, which shows a token that is signed with a key from the URL that stands behind.
import http from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const { Provider } = await import(pathToFileURL(`${process.env.MODULES}/oidc-provider/lib/index.js`));

const key = { ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig', kid: 'k' };
const [port, jwks_uri] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const client = (client_id, how, more) => ({
  client_id, token_endpoint_auth_method: how, grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
  id_token_signed_response_alg: 'ES256', ...more,
});
const secret = { client_secret: 's3cret:of %' };
const provider = new Provider(issuer, {
  jwks: { keys: [key] },
  clients: [
    client('basic', 'client_secret_basic', secret),
    client('post', 'client_secret_post', secret),
    client('signed', 'private_key_jwt', { jwks_uri, token_endpoint_auth_signing_alg: 'EdDSA' }),
  ],
  scopes: ['read', 'write'],
  enabledJWA: { clientAuthSigningAlgValues: ['EdDSA', 'ES256', 'RS256', 'PS256'] },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({ scope: 'read write', audience: 'api', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } }),
    },
  },
});
provider.on('grant.error', (ctx, error) => console.log(`refused ${error.message} ${error.error_detail ?? ''}`));
http.createServer(provider.callback()).listen(Number(port), '127.0.0.1', () => console.log(`listening ${port}`));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
