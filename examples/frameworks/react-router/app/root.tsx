import { Outlet, Scripts } from "react-router";
import type { Route } from "./+types/root";
import { sessionMiddleware } from "./.server/sessions";

export const middleware: Route.MiddlewareFunction[] = [sessionMiddleware];

export default function App() {
  return (
    <html lang="en">
      <head>
        <title>coatcheck</title>
      </head>
      <body>
        <Outlet />
        <Scripts />
      </body>
    </html>
  );
}
