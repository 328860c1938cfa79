"use client";

import { useActionState } from "react";
import { signIn } from "./actions";

export function SignInForm() {
  const [message, action] = useActionState(signIn, "");
  return (
    <>
      <p>Signed out. {message}</p>
      <form action={action}>
        <input name="username" aria-label="Username" autoComplete="username" required />
        <input name="password" aria-label="Password" type="password" autoComplete="current-password" required />
        <button>Sign in</button>
      </form>
    </>
  );
}
