// Ages and the clock: the page counts them itself, against the desk's own time.
"use strict";

window.desk = { skew: 0 };

desk.now = () => Date.now() + desk.skew;

// the same words as figures.span
desk.span = (ms) => {
  const s = Math.max(0, ms) / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 90) return `${Math.floor(s)} s`;
  const m = Math.floor(s / 60);
  if (m < 60) return `${m} min`;
  if (m < 48 * 60) return `${Math.floor(m / 60)} h ${m % 60} min`;
  return `${Math.floor(m / 1440)} d ${Math.floor(m / 60) % 24} h`;
};

desk.count = (root) => {
  const now = desk.now();
  for (const time of root.querySelectorAll("time[data-age]")) {
    const words = desk.span(now - Number(time.dataset.age));
    if (time.textContent !== words) time.textContent = words;
  }
};

(() => {
  const clock = document.getElementById("clock");
  if (!clock) return;
  // what sticks below the strip has to know how tall it is, since it wraps when much is wrong
  const strip = document.getElementById("strip");
  new ResizeObserver(() => document.documentElement.style.setProperty("--strip", `${strip.offsetHeight}px`)).observe(strip);
  desk.skew = Number(document.getElementById("live").dataset.seen) - Date.now();
  desk.tick = () => {
    clock.textContent = `${new Date(desk.now()).toISOString().slice(11, 19)} UTC`;
    desk.count(document);
    for (const button of document.querySelectorAll("[data-ready]")) {
      const left = Math.ceil((Number(button.dataset.ready) - desk.now()) / 1000);
      button.disabled = left > 0;
      const words = button.querySelector("[data-countdown]");
      if (words) words.textContent = left > 0 ? `in ${left} s` : "";
      if (left <= 0) delete button.dataset.ready;
    }
  };
  desk.tick();
  setInterval(desk.tick, 1000);
})();
