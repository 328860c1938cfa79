// The only script of the demo. It makes the clocks count down; without it their instants stand there.

// By the back button a page may come out of the browser's memory, even one with `no-store`, while no
// cookie has changed. Meanwhile the session may have ended elsewhere: ask for the page again.
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

const clocks = [...document.querySelectorAll(".clock")].map((clock) => {
  const left = document.createElement("b");
  left.setAttribute("role", "timer");
  const bar = document.createElement("progress");
  bar.max = clock.dataset.seconds;
  bar.ariaHidden = "true";
  clock.querySelector("h2").after(left, bar);
  return { left, bar, until: Date.parse(clock.querySelector("time").dateTime), ...clock.dataset };
});

function tick() {
  for (const { left, bar, until, over } of clocks) {
    const seconds = Math.max(0, (until - Date.now()) / 1000);
    bar.value = seconds;
    // It does not ask by itself, when it is over: to ask is to use the session, so that two tabs that
    // ask in turn would keep it alive for as long as they are open.
    left.textContent = seconds > 0 ? inMinutes(Math.ceil(seconds)) : over;
  }
}

function inMinutes(seconds) {
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

tick();
setInterval(tick, 250);
