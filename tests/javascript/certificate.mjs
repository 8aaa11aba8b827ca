// The key pair that passwords are encrypted for: an RSA key, and a self-signed certificate around its public half.

import "reflect-metadata"; // which @peculiar/x509 asks the program for
import { webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";

/** Make one: the certificate as base64 of DER, its validity, and the private key as PEM. */
export async function makeCertificate(name) {
  x509.cryptoProvider.set(webcrypto);
  const algorithm = {
    name: "RSASSA-PKCS1-v1_5",
    hash: "SHA-256",
    publicExponent: new Uint8Array([1, 0, 1]),
    modulusLength: 2048,
  };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const notBefore = new Date(Math.floor(Date.now() / 1000) * 1000 - 60_000);
  const notAfter = new Date(notBefore.getTime() + 90 * 24 * 3600 * 1000);
  const made = await x509.X509CertificateGenerator.createSelfSigned({
    name,
    keys,
    signingAlgorithm: algorithm,
    notBefore,
    notAfter,
  });
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey)).toString("base64");
  const lines = pkcs8.match(/.{1,64}/g).join("\n");
  const [begin, end] = ["BEGIN", "END"].map((word) => `-----${word} PRIVATE KEY-----`);
  const privateKey = `${begin}\n${lines}\n${end}\n`;
  return { der: Buffer.from(made.rawData).toString("base64"), notBefore, notAfter, privateKey };
}
