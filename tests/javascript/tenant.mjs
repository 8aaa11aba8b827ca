// A served tenant through Microsoft's own libraries. Nothing here is special to a rehearsal but three addresses.

import { ClientSecretCredential } from "@azure/identity";
import { Client } from "@microsoft/microsoft-graph-client";
import { TokenCredentialAuthenticationProvider } from "@microsoft/microsoft-graph-client/authProviders/azureTokenCredentials/index.js";

const SCOPE = "https://graph.microsoft.com/.default";

/** Reach the tenant that `jitkit rehearsal --tls` printed: Graph, and the routes that drive it. */
export function connect(served) {
  const credential = new ClientSecretCredential(served.tenant_id, served.client_id, served.client_secret, {
    authorityHost: served.authority,
    disableInstanceDiscovery: true,
  });
  const graph = Client.initWithMiddleware({
    authProvider: new TokenCredentialAuthenticationProvider(credential, { scopes: [SCOPE] }),
    baseUrl: `${served.graph}/`,
    customHosts: new Set([new URL(served.graph).hostname]),
  });
  return { graph, drive: (method, path, body) => drive(served, credential, method, path, body) };
}

async function drive(served, credential, method, path, body) {
  const { token } = await credential.getToken(SCOPE);
  const answer = await fetch(`${served.graph}/rehearsal/${path}`, {
    method,
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return text ? JSON.parse(text) : null;
}
