// TLS in front of a server, as in production a proxy has it, with a certificate that is made on the spot:
// one that was committed would expire, and its key would look like a leak.
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { type AddressInfo, connect } from "node:net";
import { createServer } from "node:tls";

/** Opens a way to a server by https, and tells its port on the loopback address. */
export async function openTls(url: string): Promise<{ port: number; close: () => void }> {
  const target = Number(new URL(url).port);
  const server = createServer(await makeCertificate(), (near) => {
    const far = connect(target, "127.0.0.1");
    near.on("error", () => far.destroy()).pipe(far);
    far.on("error", () => near.destroy()).pipe(near);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { port: (server.address() as AddressInfo).port, close: () => server.close() };
}

/** Makes a certificate of localhost for today, signed by nobody but itself, and its key: as PEM. */
async function makeCertificate(): Promise<{ key: string; cert: string }> {
  const algorithm = {
    name: "RSASSA-PKCS1-v1_5",
    hash: "SHA-256",
    modulusLength: 2048,
    publicExponent: new Uint8Array([1, 0, 1]),
  };
  const pair = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const publicKey = Buffer.from(await crypto.subtle.exportKey("spki", pair.publicKey));
  const privateKey = Buffer.from(await crypto.subtle.exportKey("pkcs8", pair.privateKey));

  // RFC 5280, section 4.1, without the extensions, so of version 1.
  const signedBy = sequence(der(0x06, Buffer.from("2a864886f70d01010b", "hex")), der(0x05));
  const commonName = der(0x06, Buffer.from("550403", "hex"));
  const name = sequence(der(0x31, sequence(commonName, der(0x0c, Buffer.from("localhost")))));
  const validity = sequence(instant(Date.now() - DAY), instant(Date.now() + DAY));
  const serial = der(0x02, Buffer.from([1]));
  const body = sequence(serial, signedBy, name, validity, name, publicKey);
  const signature = Buffer.from(
    await crypto.subtle.sign(algorithm, pair.privateKey, new Uint8Array(body)),
  );
  const certificate = sequence(body, signedBy, der(0x03, Buffer.from([0]), signature));
  return { key: pem("PRIVATE KEY", privateKey), cert: pem("CERTIFICATE", certificate) };
}

const DAY = 86_400_000;

/** A value in the form of ITU-T X.690: what it is, how long it is, and itself. */
function der(tag: number, ...parts: Buffer[]): Buffer {
  const value = Buffer.concat(parts);
  const length = value.length < 0x80
    ? [value.length]
    : [0x82, value.length >> 8, value.length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...length]), value]);
}

function sequence(...parts: Buffer[]): Buffer {
  return der(0x30, ...parts);
}

function instant(time: number): Buffer {
  const digits = new Date(time).toISOString().replaceAll(/\D/g, "").slice(2, 14);
  return der(0x17, Buffer.from(`${digits}Z`));
}

function pem(label: string, value: Buffer): string {
  return `-----BEGIN ${label}-----\n${value.toString("base64")}\n-----END ${label}-----\n`;
}
