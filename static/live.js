// The live page: frames from the desk, numbered and acknowledged. On a gap, a reconnect or a long sleep the live part is loaded again.
"use strict";

(() => {
  const socket = document.getElementById("socket");
  if (!socket) return;
  const lost = document.getElementById("lost");
  const lamp = document.getElementById("page-lamp");
  const lampText = document.getElementById("page-lamp-text");
  const LOST_MS = 5000;
  const HIDDEN_MS = 30000;
  let wrapper = null;
  let last = 0;
  let heardAt = performance.now();
  let opened = 0;
  let isResyncing = false;
  let isSlow = false;
  let hiddenAt = 0;
  const held = new Map();

  function say(text, level) {
    if (lampText.textContent !== text) lampText.textContent = text;
    lamp.dataset.level = level;
  }

  function send(body) {
    if (wrapper) wrapper.sendImmediately(JSON.stringify(body));
  }

  // --- frames ---

  document.addEventListener("htmx:wsOpen", (event) => {
    wrapper = event.detail.socketWrapper;
    last = 0;
    opened += 1;
    heardAt = performance.now();
    if (opened > 1) resync();
  });

  document.addEventListener("htmx:wsBeforeMessage", (event) => {
    const text = event.detail.message;
    heardAt = performance.now();
    wrapper = event.detail.socketWrapper;
    const isJson = text.startsWith("{");
    const body = isJson ? JSON.parse(text) : null;
    const number = isJson ? body.n : Number(text.slice(4, text.indexOf("-->")));
    if (last && number !== last + 1) resync();
    last = number;
    if (isJson) {
      event.preventDefault();
      told(body);
      send({ ack: number });
    }
  });

  document.addEventListener("htmx:wsAfterMessage", () => {
    send({ ack: last });
    desk.count(document);
    titled();
    document.dispatchEvent(new Event("desk:frame"));
  });

  function told(body) {
    if (body.at) desk.skew = body.at - Date.now();
    if ("slow" in body) isSlow = body.slow;
    if (body.resync) resync();
    if (body.rows) prune(body.rows);
    if (body.chart) document.dispatchEvent(new CustomEvent("desk:chart", { detail: body.chart }));
    if (!isResyncing && lost.hidden) say(isSlow ? "live, once a second" : "live", "");
  }

  // the answer stands in the tab's title too
  function titled() {
    // a page that hears nothing claims nothing
    const isLost = document.body.classList.contains("is-lost");
    const answer = isLost ? "Lost the desk" : document.getElementById("answer-title").textContent.trim();
    const rest = document.title.split(" · ").slice(1).join(" · ");
    const title = `${answer} · ${rest}`;
    if (document.title !== title) document.title = title;
  }

  // --- rows and cells ---

  document.addEventListener("htmx:oobBeforeSwap", (event) => {
    const { target, fragment } = event.detail;
    if (target.tagName === "TBODY") {
      // a frame carries new rows in a table, since a row cannot stand alone in HTML
      const rows = [...fragment.querySelectorAll("tr")];
      fragment.replaceChildren(...rows.filter((row) => !document.getElementById(row.id)));
      if (target.matches(":hover")) {
        // rows never move under the pointer: new ones wait until it leaves
        event.detail.shouldSwap = false;
        hold(target, [...fragment.children]);
      }
    } else if (target.tagName === "TD" && target.querySelector("details[open]")) {
      // a menu never closes under the hand
      event.detail.shouldSwap = false;
    } else if (target.tagName === "TD") {
      target.classList.remove("flash");
      void target.offsetWidth;
      target.classList.add("flash");
    } else {
      keepOpen(target, fragment);
    }
  });

  // what a person unfolded stays so, and has the focus if it had it
  function keepOpen(target, fragment) {
    const fresh = fragment.querySelectorAll("details");
    [...target.querySelectorAll("details")].forEach((old, i) => {
      if (old.open) fresh[i]?.setAttribute("open", "");
      if (old.contains(document.activeElement)) setTimeout(() => target.querySelectorAll("summary")[i]?.focus());
    });
  }

  // what a page does not show needs no place on it: a frame is for every page of its kind, filtered and trimmed ones too. And what it shows
  // just so stays untouched: a page that opens is told everything once, and has nearly all of it
  htmx.defineExtension("shown-only", {
    transformResponse(text) {
      if (!text.startsWith("<!--")) return text;
      const frame = document.createElement("template");
      frame.innerHTML = text;
      for (const part of [...frame.content.children]) {
        const [, selector] = part.getAttribute("hx-swap-oob").split(":");
        const place = selector ? document.querySelector(selector) : document.getElementById(part.id);
        if (!place || isShown(part, place)) part.remove();
      }
      return frame.innerHTML;
    },
  });

  function isShown(part, place) {
    if (part.tagName === "TABLE") return [...part.querySelectorAll("tr")].every((row) => document.getElementById(row.id));
    return part.id === place.id && bare(part) === bare(place);
  }

  // the words of ages are no difference: the page counts them itself
  function bare(element) {
    return element.innerHTML.replace(/(<time data-age=[^>]*>)[^<]*/g, "$1");
  }

  // rows that went before anybody kept them
  function prune(tables) {
    for (const [table, ids] of Object.entries(tables)) {
      const known = new Set(ids);
      for (const row of document.querySelectorAll(`#${table}-rows > tr`)) if (!known.has(row.id)) row.remove();
    }
  }

  function hold(body, rows) {
    if (!held.has(body)) {
      held.set(body, []);
      body.addEventListener("mouseleave", () => { body.prepend(...held.get(body)); held.delete(body); trim(body); }, { once: true });
    }
    held.get(body).unshift(...rows.filter((row) => !held.get(body).some((other) => other.id === row.id)));
  }

  function trim(body) {
    const most = Number(body.dataset.most || 200);
    while (body.rows.length > most) body.lastElementChild.remove();
  }

  // an empty list says what would fill it
  document.addEventListener("desk:frame", () => {
    for (const told of document.querySelectorAll("p.empty[id$='-empty']")) {
      const body = document.getElementById(told.id.replace(/-empty$/, "-rows"));
      if (body) told.hidden = body.rows.length > 0;
    }
  });

  document.addEventListener("desk:frame", () => { for (const body of document.querySelectorAll("tbody[data-most]")) if (!body.matches(":hover")) trim(body); });

  // --- starting over ---

  function resync() {
    if (isResyncing) return;
    isResyncing = true;
    document.body.classList.add("is-resyncing");
    say("resyncing", "warn");
    // many pages come back at the same moment: spread them
    setTimeout(async () => {
      try {
        await htmx.ajax("GET", location.href, { source: "#live", target: "#live", select: "#live", swap: "outerHTML" });
        const seen = Number(document.getElementById("live").dataset.seen);
        send({ seen });
        titled();
        document.dispatchEvent(new Event("desk:resynced"));
      } catch {
        say("no answer", "bad");
      } finally {
        isResyncing = false;
        document.body.classList.remove("is-resyncing");
      }
    }, opened > 1 ? Math.random() * 2000 : 0);
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      hiddenAt = performance.now();
    } else if (hiddenAt && performance.now() - hiddenAt > HIDDEN_MS) {
      resync();
    }
  });

  window.addEventListener("pageshow", (event) => { if (event.persisted) resync(); });

  document.addEventListener("htmx:wsClose", (event) => {
    const code = event.detail.event.code;
    if (code === 4401) {
      location.href = `${socket.dataset.login}?next=${encodeURIComponent(location.pathname + location.search)}`;
    } else if (code === 4403) {
      location.reload();
    } else if (![1006, 1011, 1012, 1013].includes(code)) {
      // those four htmx opens again by itself
      setTimeout(() => wrapper?.reconnect(), 500 + Math.random() * 2000);
    }
  });

  // --- losing the desk ---

  setInterval(() => {
    const silent = performance.now() - heardAt;
    const isLost = silent > LOST_MS;
    if (isLost) {
      lost.firstElementChild.textContent = `This page lost the desk ${desk.span(Math.floor(silent / 1000) * 1000).replace(".0", "")} ago. Nothing below is current. Stops resting at the venue still work.`;
      say("lost the desk", "bad");
    } else if (!lost.hidden && !isResyncing) {
      say("live", "");
    }
    if (lost.hidden === isLost) {
      lost.hidden = !isLost;
      document.body.classList.toggle("is-lost", isLost);
      document.dispatchEvent(new Event("desk:lost"));
      titled();
    }
  }, 1000);
})();
