const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** The bytes of a padded base64 text (RFC 4648 section 4) as lower-case hex; `undefined` when it is none. */
export function hexOfBase64(base64: string): string | undefined {
  if (base64.length % 4 !== 0) return undefined;
  let hex = "";
  for (let index = 0; index < base64.length; index += 4) {
    const group = base64.slice(index, index + 4);
    const padding = group.endsWith("==") ? 2 : group.endsWith("=") ? 1 : 0;
    if (padding > 0 && index + 4 < base64.length) return undefined;
    const digits = group
      .slice(0, 4 - padding)
      .split("")
      .map((letter) => ALPHABET.indexOf(letter));
    if (digits.includes(-1)) return undefined;
    const bits = digits.reduce((sum, digit) => sum * 64 + digit, 0) * 64 ** padding;
    hex += bits
      .toString(16)
      .padStart(6, "0")
      .slice(0, 6 - 2 * padding);
  }
  return hex;
}
