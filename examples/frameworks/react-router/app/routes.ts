import { index, route, type RouteConfig } from "@react-router/dev/routes";

export default [
  index("routes/home.tsx"),
  route("sign-in", "routes/sign-in.tsx"),
  route("sign-out", "routes/sign-out.ts"),
  route("revoke", "routes/revoke.ts"),
  route("api/session", "routes/api.session.ts"),
] satisfies RouteConfig;
