// Bytes as text, by hand: not every runtime has Uint8Array.prototype.toHex and toBase64, and btoa takes seven
// times as long.

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** Writes bytes as hexadecimal digits. */
export function toHex(bytes: Uint8Array): string {
  let digits = "";
  for (let index = 0; index < bytes.length; index++) digits += HEX[bytes[index]!];
  return digits;
}

/** Reads hexadecimal digits, which the caller has checked. */
export function fromHex(digits: string): Uint8Array {
  return Uint8Array.from(digits.match(/../g) ?? [], (digit) => parseInt(digit, 16));
}

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const VALUES = new Uint8Array(128);
for (let value = 0; value < 64; value++) VALUES[ALPHABET.charCodeAt(value)] = value;

/** Writes bytes as base64url without padding (RFC 4648, section 5). */
export function toBase64url(bytes: Uint8Array): string {
  let text = "";
  let held = 0;
  let bits = 0;
  for (let index = 0; index < bytes.length; index++) {
    held = held << 8 | bytes[index]!;
    for (bits += 8; bits >= 6;) text += ALPHABET[held >> (bits -= 6) & 63];
  }
  return bits > 0 ? text + ALPHABET[held << 6 - bits & 63] : text;
}

/** Reads base64url without padding, which the caller has checked, into as many bytes as it has. */
export function fromBase64url(
  text: string,
  bytes: Uint8Array = new Uint8Array(text.length * 3 >> 2),
): Uint8Array {
  let held = 0;
  let bits = 0;
  for (let index = 0, read = 0; index < text.length; index++) {
    held = held << 6 | VALUES[text.charCodeAt(index)]!;
    if ((bits += 6) >= 8) bytes[read++] = held >> (bits -= 8);
  }
  return bytes;
}
