import { describe, expect, test } from "vitest";
import {
  showsConnectionCredentials,
  wantsConnectionCredentials,
  withSessionSupport,
} from "./connection-auth.ts";

describe("credentials of a connection", () => {
  test.each(["NTLM TlRMTVNT", "ntlm x", "Negotiate YIIa", "NEGOTIATE", " Kerberos a"])(
    "%s",
    (value) => expect(showsConnectionCredentials([["AUTHORIZATION", value]])).toBe(true),
  );

  test.each(["Basic bnRsbTp4", "Bearer NTLM", "NTLMx a", "Digest username=ntlm"])(
    "not: %s",
    (value) => expect(showsConnectionCredentials([["Authorization", value]])).toBe(false),
  );

  test("are only what the origin is shown", () => {
    expect(showsConnectionCredentials([["Proxy-Authorization", "NTLM x"]])).toBe(false);
  });
});

describe("an answer that wants them", () => {
  test.each(["NTLM", "Negotiate", "negotiate oYG3", 'Basic realm="a", NTLM', "Negotiate, NTLM"])(
    "%s",
    (value) => expect(wantsConnectionCredentials([["www-Authenticate", value]])).toBe(true),
  );

  test("may say so in any of several lines", () => {
    const headers = [
      ["WWW-Authenticate", 'Basic realm="a"'],
      ["WWW-Authenticate", "NTLM"],
    ] as const;
    expect(wantsConnectionCredentials(headers)).toBe(true);
  });

  test.each(['Basic realm="ntlm"', "Bearer", 'Digest realm="x", nonce="NTLM"'])(
    "not: %s",
    (value) => expect(wantsConnectionCredentials([["WWW-Authenticate", value]])).toBe(false),
  );

  test("tells its client that they may be shown", () => {
    expect(withSessionSupport([["WWW-Authenticate", "NTLM"]])).toContainEqual([
      "Proxy-Support",
      "Session-Based-Authentication",
    ]);
    expect(withSessionSupport([["WWW-Authenticate", "Basic"]])).toHaveLength(1);
  });
});
