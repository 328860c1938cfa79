declare namespace App {
  interface Locals {
    result: import("coatcheck").SessionResult;
  }
}
