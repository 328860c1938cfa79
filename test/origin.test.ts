import { describe, test } from "bun:test";
import assert from "node:assert/strict";
import { type CrossOriginOptions, isCrossOrigin } from "../mod.ts";

type Strings = Readonly<Record<string, string>>;

// A plain object, as a Request of a runtime takes no Host, and no method in lower case.
function request(method: string, headers: Strings, url = "https://app.example/x") {
  const own = new Headers(headers);
  return { method, url, headers: { get: (name: string) => own.get(name) } };
}

const SAME = { "sec-fetch-site": "same-origin" };
const CROSS = { "sec-fetch-site": "cross-site" };
const OWN = { origin: "https://app.example" };
const EVIL = { origin: "https://evil.example" };

describe("isCrossOrigin", () => {
  // The cases of Go's csrf_test.go, and what stands beside them.
  const browsers: { name: string; method?: string; headers: Strings; crosses: boolean }[] = [
    { name: "a form of the same origin", headers: SAME, crosses: false },
    {
      name: "an address that the user typed in",
      headers: { "sec-fetch-site": "none" },
      crosses: false,
    },
    { name: "a form of another site", headers: CROSS, crosses: true },
    { name: "a form of a sister host", headers: { "sec-fetch-site": "same-site" }, crosses: true },
    { name: "a client that is no browser", headers: {}, crosses: false },
    { name: "an old browser's own page", headers: OWN, crosses: false },
    { name: "an old browser's foreign page", headers: EVIL, crosses: true },
    { name: "a page in a sandbox", headers: { origin: "null" }, crosses: true },
    {
      name: "a sandboxed page by fetch metadata",
      headers: { ...CROSS, origin: "null" },
      crosses: true,
    },
    {
      name: "fetch metadata before an Origin that differs",
      headers: { ...SAME, ...EVIL },
      crosses: false,
    },
    {
      name: "fetch metadata before an Origin that matches",
      headers: { ...CROSS, ...OWN },
      crosses: true,
    },
    {
      name: "a link from elsewhere",
      method: "GET",
      headers: { ...CROSS, ...EVIL },
      crosses: false,
    },
    { name: "HEAD from elsewhere", method: "HEAD", headers: CROSS, crosses: false },
    {
      name: "a preflight from elsewhere",
      method: "OPTIONS",
      headers: { ...CROSS, ...EVIL },
      crosses: false,
    },
    ...["PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "QUERY", "BREW", "get", "Head", ""].map((
      method,
    ) => ({
      name: `${method || "no method"} from elsewhere`,
      method,
      headers: CROSS,
      crosses: true,
    })),
  ];
  for (const { name, method = "POST", headers, crosses } of browsers) {
    test(`decides that ${name} ${crosses ? "is refused" : "passes"}`, () => {
      assert.equal(isCrossOrigin(request(method, headers)), crosses);
    });
  }

  test("reads a Request as it is", () => {
    const post = new Request("https://app.example/x", { method: "POST", headers: CROSS });
    assert.equal(isCrossOrigin(post), true);
    assert.equal(isCrossOrigin(new Request(post, { headers: SAME })), false);
    assert.equal(isCrossOrigin(new Request("https://app.example/x")), false);
  });

  test("takes no other header for a method or for an origin", () => {
    for (
      const name of [
        "x-http-method-override",
        "x-forwarded-host",
        "x-forwarded-proto",
        "forwarded",
        "referer",
        "x-requested-with",
        "host",
      ]
    ) {
      for (const value of ["GET", "evil.example", "host=evil.example", "https://evil.example/"]) {
        assert.equal(isCrossOrigin(request("POST", { ...EVIL, [name]: value })), true, name);
      }
    }
  });

  const upgrades: { name: string; headers: Strings; crosses: boolean }[] = [
    { name: "of a foreign page", headers: { ...CROSS, ...EVIL }, crosses: true },
    { name: "of an old browser's foreign page", headers: EVIL, crosses: true },
    { name: "of a page in a sandbox", headers: { origin: "null" }, crosses: true },
    { name: "of its own page", headers: { ...SAME, ...OWN }, crosses: false },
    { name: "of an old browser's own page", headers: OWN, crosses: false },
    { name: "of a client that is no browser", headers: {}, crosses: false },
  ];
  for (const { name, headers, crosses } of upgrades) {
    test(`decides that a WebSocket ${name} ${crosses ? "is refused" : "passes"}`, () => {
      for (const upgrade of ["websocket", "WebSocket", "h2c, websocket", "websocket/13"]) {
        assert.equal(isCrossOrigin(request("GET", { upgrade, ...headers })), crosses, upgrade);
      }
    });
  }

  // No browser writes any of these; what is not known to be ours is not.
  const hostile: { name: string; headers: Strings }[] = [
    { name: "Sec-Fetch-Site twice", headers: { "sec-fetch-site": "same-origin, cross-site" } },
    { name: "Sec-Fetch-Site in upper case", headers: { "sec-fetch-site": "SAME-ORIGIN" } },
    { name: "a Sec-Fetch-Site that is unknown", headers: { "sec-fetch-site": "bogus" } },
    { name: "a Sec-Fetch-Site with a parameter", headers: { "sec-fetch-site": "none;a=1" } },
    ...[
      "null, https://app.example",
      "https://app.example, https://app.example",
      "https://app.example https://evil.example",
      "https://app.example.evil.example",
      "https://evil.example/https://app.example",
      "https://app.example@evil.example",
      "https://evil.example@app.example",
      "https://app.example:443",
      "https://app.example:8443",
      "https://app.example.",
      "https://app.example/",
      "https://app.example?",
      "https://app.example#",
      "https:\\\\app.example",
      "https:app.example",
      "HTTPS://APP.EXAMPLE",
      "https://APP.example",
      "https://app%2eexample",
      "https://xn--app-.example",
      "//app.example",
      "app.example",
      "http://app.example",
      "ws://app.example",
      "wss://app.example",
      "ftp://app.example",
      "file://",
      "blob:https://app.example/0",
      "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
      "javascript://app.example",
      "https://",
      "https://[",
      "https://[::1",
      "*",
      "undefined",
      "\u00e4\u00ff",
      "https://".repeat(1000),
      "a".repeat(65_536),
    ].map((origin) => ({ name: `Origin: ${origin.slice(0, 60)}`, headers: { origin } })),
  ];
  for (const { name, headers } of hostile) {
    test(`refuses what no browser writes: ${name}`, () => {
      assert.equal(isCrossOrigin(request("POST", headers)), true);
    });
  }

  test("takes an empty header for none", () => {
    assert.equal(isCrossOrigin(request("POST", { origin: "" })), false);
    assert.equal(isCrossOrigin(request("POST", { "sec-fetch-site": "", ...OWN })), false);
    assert.equal(isCrossOrigin(request("POST", { "sec-fetch-site": "", ...EVIL })), true);
    assert.equal(isCrossOrigin(request("POST", { ...CROSS, origin: "" })), true);
  });

  const urls: { name: string; url: string; origin: string; crosses: boolean }[] = [
    {
      name: "the same port",
      url: "http://a.example:8080/",
      origin: "http://a.example:8080",
      crosses: false,
    },
    {
      name: "another port",
      url: "http://a.example:8080/",
      origin: "http://a.example:3000",
      crosses: true,
    },
    { name: "no port", url: "http://a.example:8080/", origin: "http://a.example", crosses: true },
    {
      name: "the default port left out",
      url: "https://a.example:443/",
      origin: "https://a.example",
      crosses: false,
    },
    {
      name: "the proxy's port, that is the page's default one",
      url: "http://a.example:443/",
      origin: "https://a.example",
      crosses: false,
    },
    {
      name: "a page on the app's port by the other scheme",
      url: "http://a.example/",
      origin: "https://a.example:80",
      crosses: true,
    },
    {
      name: "the other scheme's port",
      url: "https://a.example/",
      origin: "http://a.example:443",
      crosses: true,
    },
    {
      name: "an https page before a proxy that ends TLS",
      url: "http://a.example/",
      origin: "https://a.example",
      crosses: false,
    },
    {
      name: "an http page of an https app",
      url: "https://a.example/",
      origin: "http://a.example",
      crosses: true,
    },
    {
      name: "an http page of an http app",
      url: "http://a.example/",
      origin: "http://a.example",
      crosses: false,
    },
    {
      name: "the inner name of a proxy's app",
      url: "http://10.0.0.7:3000/",
      origin: "https://a.example",
      crosses: true,
    },
    {
      name: "a name in Unicode",
      url: "https://b\u00fccher.example/",
      origin: "https://xn--bcher-kva.example",
      crosses: false,
    },
    { name: "an address", url: "http://[::1]:3000/", origin: "http://[::1]:3000", crosses: false },
    {
      name: "localhost by its other name",
      url: "http://127.0.0.1:3000/",
      origin: "http://localhost:3000",
      crosses: true,
    },
    {
      name: "a host with a final dot that is the page's too",
      url: "https://a.example./",
      origin: "https://a.example.",
      crosses: false,
    },
    { name: "a Host that is none", url: "http://a b/", origin: "https://a.example", crosses: true },
    { name: "an empty Host", url: "http:///x", origin: "null", crosses: true },
    { name: "two opaque origins", url: "file:///x", origin: "null", crosses: true },
  ];
  for (const { name, url, origin, crosses } of urls) {
    test(`compares with the host of the URL: ${name} ${crosses ? "is refused" : "passes"}`, () => {
      assert.equal(isCrossOrigin(request("POST", { origin }, url)), crosses);
    });
  }

  test("compares with the app's own origin alone, if it is configured", () => {
    const options = { origin: "https://app.example" };
    const inner = "http://10.0.0.7:3000/";
    const asks = (origin: string, url = inner) =>
      isCrossOrigin(request("POST", { origin }, url), options);
    assert.equal(asks("https://app.example"), false);
    assert.equal(asks("http://app.example"), true);
    assert.equal(asks("https://app.example:8443"), true);
    assert.equal(asks("http://10.0.0.7:3000"), true);
    assert.equal(asks("http://10.0.0.7:3000", "http://10.0.0.7:3000/"), true);
    assert.equal(asks("https://app.example", "/a-path"), false);
    assert.equal(asks("null"), true);
    assert.equal(isCrossOrigin(request("POST", {}, inner), options), false);
    assert.equal(isCrossOrigin(request("POST", SAME, inner), options), false);
    assert.equal(isCrossOrigin(request("POST", { ...CROSS, ...OWN }, inner), options), true);
  });

  test("lets a trusted origin through, by either header, and no other", () => {
    const options = { trustedOrigins: ["https://pay.example", "http://localhost:5173"] };
    const asks = (headers: Strings, method = "POST") =>
      isCrossOrigin(request(method, headers), options);
    for (
      const site of [{}, CROSS, { "sec-fetch-site": "same-site" }, { "sec-fetch-site": "bogus" }]
    ) {
      assert.equal(asks({ ...site, origin: "https://pay.example" }), false);
      assert.equal(asks({ ...site, origin: "http://localhost:5173" }), false);
      assert.equal(
        asks({ ...site, origin: "https://pay.example", upgrade: "websocket" }, "GET"),
        false,
      );
      for (
        const origin of [
          "https://evil.example",
          "https://pay.example:8443",
          "http://pay.example",
          "https://pay.example.evil.example",
          "https://sub.pay.example",
          "https://pay.example/",
          "HTTPS://PAY.EXAMPLE",
          "null",
        ]
      ) assert.equal(asks({ ...site, origin }), true, origin);
    }
    assert.equal(asks(OWN), false);
    assert.equal(asks(CROSS), true);
  });

  test("tells the pages of an app's own scheme from others", () => {
    const options = { trustedOrigins: ["tauri://localhost"] };
    const asks = (origin: string) => isCrossOrigin(request("POST", { ...CROSS, origin }), options);
    assert.equal(asks("tauri://localhost"), false);
    for (const it of ["tauri://localhost.evil.example", "http://localhost", "app://localhost"]) {
      assert.equal(asks(it), true, it);
    }
  });

  // Express has the path in `req.url`, and its `req` has `get`.
  test("needs an absolute URL, or the app's own origin", () => {
    for (const method of ["GET", "POST"]) {
      for (const path of ["/", "/sign-in?x=https://app.example", "//app.example/"]) {
        const message = "isCrossOrigin: request.url must be absolute, as that of a Request, " +
          "unless options.origin is set, got a path";
        const it = request(method, OWN, path);
        assert.throws(() => isCrossOrigin(it), { name: "TypeError", message });
        assert.equal(isCrossOrigin(it, OWN), false);
        assert.equal(isCrossOrigin(request("POST", EVIL, path), OWN), true);
      }
    }
  });

  test("exempts no path", () => {
    for (const path of ["/", "/hello/", "//hello/", "/a/../hello/", "/hello%2f", "/webhook"]) {
      assert.equal(isCrossOrigin(request("POST", CROSS, `https://app.example${path}`)), true);
    }
  });

  describe("takes for an origin", () => {
    for (
      const it of [
        "https://app.example",
        "https://app.example:8443",
        "http://localhost:3000",
        "http://127.0.0.1:3000",
        "http://[::1]:3000",
        "https://xn--bcher-kva.example",
        "https://a_b.example",
        "tauri://localhost",
        "capacitor://localhost",
        "app://-",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
        "moz-extension://2c127fa4-62c7-7e4f-90e5-472b45eecfdc",
      ]
    ) {
      test(it, () => {
        for (const options of [{ origin: it }, { trustedOrigins: [it] }]) {
          assert.equal(isCrossOrigin(request("POST", { origin: it }), options), false);
        }
      });
    }
  });

  const mistakes = [
    "app.example",
    "https://",
    "https://app.example/",
    "https://app.example/path",
    "https://app.example?a",
    "https://app.example#a",
    "https://ex ample.com",
    "https:\\\\app.example",
    "https://user@app.example",
    "https://app.example\t",
    " https://app.example",
    "https://app.example.",
    "https://app.example.:8443",
    "https://app.example:443",
    "http://app.example:80",
    "https://app.example:99999",
    "HTTPS://app.example",
    "https://App.example",
    "https://b\u00fccher.example",
    "https://*.app.example",
    "https://*",
    "*",
    "null",
    "wss://app.example",
    "tauri://localhost/",
    "tauri://localhost/path",
    "tauri://ada@localhost",
    "tauri://*",
    "tauri://",
    "tauri:localhost",
    "Tauri://localhost",
    "app://a b",
    "app://b\u00fccher",
    "app://localhost:080",
    "file:///",
    "//app.example",
  ];
  for (const it of mistakes) {
    test(`refuses to accept the origin ${JSON.stringify(it)}`, () => {
      const wrong = (name: string) => ({
        name: "RangeError",
        message: `isCrossOrigin: ${name} must be an origin such as https://app.example, ` +
          "got something else",
      });
      // Checked also if the request would pass, so that a mistake shows with the first one.
      const get = request("GET", {});
      assert.throws(() => isCrossOrigin(get, { origin: it }), wrong("origin"));
      assert.throws(
        () => isCrossOrigin(get, { trustedOrigins: ["https://pay.example", it] }),
        wrong("trustedOrigins[1]"),
      );
    });
  }

  const misuse: { name: string; options: unknown; message: RegExp }[] = [
    {
      name: "no object",
      options: "https://app.example",
      message: /^isCrossOrigin: options must be an object, got string$/,
    },
    {
      name: "null",
      options: null,
      message: /^isCrossOrigin: options must be an object, got null$/,
    },
    {
      name: "an array",
      options: [],
      message: /^isCrossOrigin: options must be an object, got an instance of Array$/,
    },
    {
      name: "a misspelt name",
      options: { trusted: [] },
      message:
        /^isCrossOrigin: options must have no keys but origin, trustedOrigins, got "trusted"$/,
    },
    {
      name: "a list as origin",
      options: { origin: ["https://app.example"] },
      message: /^isCrossOrigin: origin must be a string, got an instance of Array$/,
    },
    {
      name: "null as origin",
      options: { origin: null },
      message: /^isCrossOrigin: origin must be a string, got null$/,
    },
    {
      name: "text as trusted origins",
      options: { trustedOrigins: "https://a.example" },
      message: /^isCrossOrigin: trustedOrigins must be an array, got string$/,
    },
    {
      name: "a Set as trusted origins",
      options: { trustedOrigins: new Set() },
      message: /^isCrossOrigin: trustedOrigins must be an array, got an instance of Set$/,
    },
    {
      name: "null as trusted origins",
      options: { trustedOrigins: null },
      message: /^isCrossOrigin: trustedOrigins must be an array, got null$/,
    },
    {
      name: "a URL among them",
      options: { trustedOrigins: [new URL("https://a.example")] },
      message: /^isCrossOrigin: trustedOrigins\[0\] must be a string, got an instance of URL$/,
    },
    {
      name: "a gap among them",
      options: { trustedOrigins: [, "https://a.example"] },
      message: /^isCrossOrigin: trustedOrigins\[0\] must be a string, got undefined$/,
    },
  ];
  for (const { name, options, message } of misuse) {
    test(`refuses ${name} for options`, () => {
      assert.throws(
        () => isCrossOrigin(request("GET", {}), options as CrossOriginOptions),
        { name: "TypeError", message },
      );
    });
  }

  test("refuses an empty origin, and one without end", () => {
    for (const origin of ["", `https://${"a".repeat(1017)}`]) {
      assert.throws(
        () => isCrossOrigin(request("GET", {}), { origin }),
        {
          name: "RangeError",
          message: /^isCrossOrigin: origin must be 1 to 1024 bytes, got /,
        },
      );
    }
  });

  test("refuses what is no request", () => {
    const node = { method: "POST", url: "/x", headers: { origin: "https://evil.example" } };
    for (const it of [undefined, null, "POST", {}, node, new Headers()]) {
      assert.throws(
        () => isCrossOrigin(it as never),
        {
          name: "TypeError",
          message: /^isCrossOrigin: request must have headers\.get\(name\), as a Request has, got /,
        },
      );
    }
  });
});
