// Set a served tenant up, start the kit's endpoint, and sign somebody in: twice, and once with a wrong password.
//
// Standard input is one JSON object: `served` (what `jitkit rehearsal --tls` printed), `python` (its interpreter),
// `legacy` (the store's URL), `username` and `password`. What came of it is one JSON line on standard output.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { json } from "node:stream/consumers";
import { makeCertificate } from "./certificate.mjs";
import * as setUp from "./set-up.mjs";
import { connect } from "./tenant.mjs";

const HOST = "jit.woodgrove.example";

const given = await json(process.stdin);
const { graph, drive } = connect(given.served);

const flag = await setUp.attribute(graph);
const app = await setUp.extensionApp(graph, HOST);
const extension = await setUp.extension(graph, HOST, app.identifierUri);
const client = await setUp.clientApp(graph);
const listener = await setUp.listener(graph, client.appId, extension.id, flag);
const certificate = await makeCertificate("CN=JitMigration");
await setUp.encryptionKey(graph, app.id, certificate);
const user = await setUp.user(graph, given.username, flag);
const validation = await graph
  .api(`/identity/customAuthenticationExtensions/${extension.id}/validateAuthenticationConfiguration`)
  .post({});

const endpoint = await startEndpoint();
try {
  await drive("PUT", `publications/${HOST}`, { url: new URL(endpoint.url).origin });
  const wrong = await signIn(`not ${given.password}`);
  const before = await readFlag();
  const first = await signIn(given.password);
  const after = await readFlag();
  const second = await signIn(given.password);
  const log = await graph.api("/auditLogs/signIns").version("beta").header("Prefer", "include-unknown-enum-members").get();
  const callouts = log.value.flatMap((row) => row.appliedEventListeners.map((each) => [each.eventType, each.handlerResult]));
  const result = { validation, wrong, before, first, after, second, callouts, listener: listener.id };
  process.stdout.write(`${JSON.stringify(result)}\n`);
} finally {
  await endpoint.stop();
}

async function readFlag() {
  return (await graph.api(`/users/${user.id}`).select(["id", flag]).get())[flag];
}

async function signIn(password) {
  const done = await drive("POST", "sign-in", { username: given.username, password, client_app_id: client.appId });
  const { outcome, migrated, path, called_endpoint, callout_error } = done;
  return { outcome, migrated, path, called_endpoint, callout_error };
}

/** Start the endpoint as its own process; it ends with this one. */
async function startEndpoint() {
  const environment = {
    ...process.env,
    JIT_TENANT_ID: given.served.tenant_id,
    JIT_EXTENSION_APP_ID: app.appId,
    JIT_IDENTIFIER_URI: app.identifierUri,
    JIT_OPENID_CONFIGURATION: given.served.openid_configuration.join(","),
    SSL_CERT_FILE: given.served.ca,
    DecryptionPrivateKey: certificate.privateKey,
    LegacyApiConnectionString: given.legacy,
    JIT_STOP_WITH_STDIN: "1",
  };
  const words = ["-m", "helpers", "endpoint", "--port", "0"];
  const child = spawn(given.python, words, { env: environment, stdio: ["pipe", "pipe", "inherit"] });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const { value } = await lines.next();
  if (!value) throw new Error(`the endpoint did not start: it ended with ${await ended}`);
  const stop = () => {
    child.stdin.end();
    return ended;
  };
  return { url: JSON.parse(value).url, stop };
}
