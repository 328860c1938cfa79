import { age } from "coatcheck/testing";
import { expect, sql, test } from "./fixtures.ts";

test("the user is signed in, until they sign out", async ({ page }) => {
  await page.goto("/");
  await expect(page.getByText("Signed in as")).toBeVisible();
  await page.getByRole("button", { name: "Sign out" }).click();
  await expect(page.getByText("Signed out")).toBeVisible();
});

test("the user is signed out after eight days without use", async ({ page, storageState }) => {
  if (typeof storageState !== "object") throw new Error("fixtures.ts gives a state");
  await age(storageState.cookies[0]!.value.split(".")[0]!, 8 * 86_400, sql);
  await page.goto("/");
  await expect(page.getByText("Signed out")).toBeVisible();
});

for (const number of [1, 2, 3]) {
  test(`each worker is a user of its own, test ${number}`, async ({ page }, { parallelIndex }) => {
    await page.goto("/");
    await expect(page.getByText(`Signed in as ${["ada", "grace"][parallelIndex]}`)).toBeVisible();
  });
}
