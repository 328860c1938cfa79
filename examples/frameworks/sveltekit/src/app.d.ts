import type { RefusalReason, Session } from "coatcheck";

declare global {
  namespace App {
    interface Locals {
      session: Session | null;
      reason?: RefusalReason;
    }
  }
}
