// deno-std, which stands in for @std/http where JSR cannot be reached, ships no types.
declare module "@std/http/cookie" {
  export function setCookie(headers: Headers, cookie: {
    name: string;
    value: string;
    maxAge?: number;
    expires?: Date;
    domain?: string;
    path?: string;
    secure?: boolean;
    httpOnly?: boolean;
    sameSite?: "Strict" | "Lax" | "None";
    partitioned?: boolean;
  }): void;
}
