// The tutorial's whole set-up over Microsoft Graph, in its order.

import { randomBytes, randomUUID } from "node:crypto";

const GRAPH_APP_ID = "00000003-0000-0000-c000-000000000000";
const RECEIVE_PAYLOAD = "214e810f-fda8-4fd7-a475-29461495eb00";
const USER_READ = "e1fe6dd8-ba31-4d61-89e7-88639da4683d";
const TYPE = "#microsoft.graph.";

/** Define the flag on the application that owns a tenant's custom attributes; returns its full name. */
export async function attribute(graph) {
  const found = await graph.api("/applications").filter("startswith(displayName,'b2c-extensions-app')").get();
  const made = await graph
    .api(`/applications/${found.value[0].id}/extensionProperties`)
    .post({ name: "toBeMigrated", dataType: "Boolean", targetObjects: ["User"] });
  return made.name;
}

/** Register the extension's app: identifier URI, v2 tokens, service principal, consent to receive payloads. */
export async function extensionApp(graph, host) {
  const app = await graph.api("/applications").post({
    displayName: "JIT password check",
    signInAudience: "AzureADMyOrg",
    requiredResourceAccess: [
      { resourceAppId: GRAPH_APP_ID, resourceAccess: [{ id: RECEIVE_PAYLOAD, type: "Role" }] },
    ],
  });
  const identifierUri = `api://${host}/${app.appId}`;
  const change = { identifierUris: [identifierUri], api: { requestedAccessTokenVersion: 2 } };
  await graph.api(`/applications/${app.id}`).patch(change);
  const principal = await graph.api("/servicePrincipals").post({ appId: app.appId });
  const resource = await microsoftGraph(graph);
  await graph
    .api(`/servicePrincipals/${resource.id}/appRoleAssignedTo`)
    .post({ principalId: principal.id, resourceId: resource.id, appRoleId: RECEIVE_PAYLOAD });
  return { id: app.id, appId: app.appId, identifierUri };
}

/** Make the policy that says where passwords are checked. */
export async function extension(graph, host, identifierUri) {
  return graph.api("/identity/customAuthenticationExtensions").post({
    "@odata.type": `${TYPE}onPasswordSubmitCustomExtension`,
    displayName: "JIT password check on submit",
    endpointConfiguration: {
      "@odata.type": `${TYPE}httpRequestEndpoint`,
      targetUrl: `https://${host}/api/JitMigrationEndpoint`,
    },
    authenticationConfiguration: { "@odata.type": `${TYPE}azureAdTokenAuthentication`, resourceId: identifierUri },
    clientConfiguration: { timeoutInMilliseconds: 2000, maximumRetries: 1 },
  });
}

/** Register the app that people sign in to: id tokens, consent to User.Read, a user flow. */
export async function clientApp(graph) {
  const app = await graph.api("/applications").post({
    displayName: "JIT test client",
    signInAudience: "AzureADMyOrg",
    web: { redirectUris: ["https://jwt.ms"], implicitGrantSettings: { enableIdTokenIssuance: true } },
    requiredResourceAccess: [{ resourceAppId: GRAPH_APP_ID, resourceAccess: [{ id: USER_READ, type: "Scope" }] }],
  });
  const principal = await graph.api("/servicePrincipals").post({ appId: app.appId });
  const resource = await microsoftGraph(graph);
  const grant = { clientId: principal.id, consentType: "AllPrincipals", resourceId: resource.id, scope: "User.Read" };
  await graph.api("/oauth2PermissionGrants").post(grant);
  const flow = await graph.api("/identity/authenticationEventsFlows").post({
    "@odata.type": `${TYPE}externalUsersSelfServiceSignUpEventsFlow`,
    displayName: "Sign up and sign in",
    onAuthenticationMethodLoadStart: {
      "@odata.type": `${TYPE}onAuthenticationMethodLoadStartExternalUsersSelfServiceSignUp`,
      identityProviders: [{ id: "EmailPassword-OAUTH" }],
    },
  });
  await graph
    .api(`/identity/authenticationEventsFlows/${flow.id}/conditions/applications/includeApplications`)
    .post({ "@odata.type": `${TYPE}authenticationConditionApplication`, appId: app.appId });
  return app;
}

/** Make the listener that ties the policy to the app and to the flag. */
export async function listener(graph, clientAppId, extensionId, flag) {
  return graph.api("/identity/authenticationEventListeners").post({
    "@odata.type": `${TYPE}onPasswordSubmitListener`,
    priority: 500,
    conditions: { applications: { includeAllApplications: false, includeApplications: [{ appId: clientAppId }] } },
    handler: {
      "@odata.type": `${TYPE}onPasswordMigrationCustomExtensionHandler`,
      migrationPropertyId: flag,
      customExtension: { id: extensionId },
    },
  });
}

/** Upload the certificate, and let passwords and tokens be encrypted for it. */
export async function encryptionKey(graph, applicationId, certificate) {
  const keyId = randomUUID();
  const entry = {
    keyId,
    type: "AsymmetricX509Cert",
    usage: "Encrypt",
    key: certificate.der,
    displayName: "CN=JitMigration",
    startDateTime: certificate.notBefore.toISOString(),
    endDateTime: certificate.notAfter.toISOString(),
  };
  await graph.api(`/applications/${applicationId}`).patch({ keyCredentials: [entry], tokenEncryptionKeyId: keyId });
}

/** Make a local account with a password that nobody can guess, marked as still to migrate. */
export async function user(graph, email, flag) {
  const domains = await graph.api("/domains").get();
  const issuer = domains.value.find((domain) => domain.isInitial).id;
  return graph.api("/users").post({
    accountEnabled: true,
    displayName: email.split("@")[0],
    mail: email,
    identities: [{ signInType: "emailAddress", issuer, issuerAssignedId: email }],
    passwordProfile: { password: `aA1!${randomBytes(24).toString("base64url")}`, forceChangePasswordNextSignIn: false },
    passwordPolicies: "DisablePasswordExpiration",
    [flag]: true,
  });
}

async function microsoftGraph(graph) {
  return graph.api(`/servicePrincipals(appId='${GRAPH_APP_ID}')`).get();
}
