// Makes the clocks count down. Without it, they show their instants.

// The back button can restore a page from the browser's memory, even one with `no-store`, while no cookie has
// changed. The session may have been revoked from another device since, so reload the page.
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

const clocks = [...document.querySelectorAll(".clock")].map((clock) => {
  const left = document.createElement("b");
  left.setAttribute("role", "timer");
  const bar = document.createElement("progress");
  bar.max = clock.dataset.seconds;
  bar.ariaHidden = "true";
  clock.querySelector("h2").after(left, bar);
  const time = clock.querySelector("time");
  return { left, bar, time, until: Date.parse(time.dateTime), ...clock.dataset };
});

// warning.js has asked the server: this page or another one may have used the session.
addEventListener("sessionend", ({ detail }) => {
  for (const clock of clocks.filter(({ id }) => id === "idle")) {
    const date = new Date(detail);
    clock.until = detail;
    clock.time.dateTime = date.toISOString();
    clock.time.textContent = date.toLocaleString("en-GB", {
      dateStyle: "medium",
      timeStyle: "long",
    });
  }
});

function tick() {
  for (const { left, bar, until, over } of clocks) {
    const seconds = Math.max(0, (until - Date.now()) / 1000);
    bar.value = seconds;
    // It does not reload the page at the end: a page counts as a use, so two open tabs would keep the session
    // alive. warning.js asks without a use.
    left.textContent = seconds > 0 ? inMinutes(Math.ceil(seconds)) : over;
  }
}

function inMinutes(seconds) {
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

tick();
setInterval(tick, 250);
