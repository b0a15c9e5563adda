// The kill dialog: in the page beforehand, so that it opens when the desk cannot be reached. It retries with one key until it knows.
"use strict";

(() => {
  const dialog = document.getElementById("kill");
  if (!dialog) return;
  const body = document.getElementById("kill-body");
  const blank = body.innerHTML;
  const selects = { ACCOUNT: "account_key", BOT: "bot_key", INSTRUMENT: "symbol_key" };
  const names = { FIRM: "firm", ACCOUNT: "account", BOT: "bot", INSTRUMENT: "symbol" };
  let attempt = 0;

  const form = () => body.querySelector("form");
  const counts = () => { try { return JSON.parse(document.getElementById("kill-counts").textContent); } catch { return {}; } };
  const several = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
  const entries = (n) => `${n} ${n === 1 ? "entry" : "entries"}`;

  // what a form's scope reaches, by the counts that every frame brings
  function reached(f) {
    const scope = f.querySelector("[name=scope]:checked").value;
    const key = selects[scope] ? f.querySelector(`[name=${selects[scope]}]`).value : "";
    const all = counts();
    const found = all[`${scope}:${key}`] || { entries: 0, legs: 0, positions: 0, about: "0", environment: f.dataset.environment || "" };
    return { scope, key, all, found, where: scope === "FIRM" ? "firm" : `${names[scope]} ${key}` };
  }

  function told() {
    const f = form();
    if (!f) return;
    const { scope, all, found, where } = reached(f);
    const old = document.body.classList.contains("is-lost") ? " · old: counted before this page lost the desk" : "";
    f.querySelector("[data-counts]").textContent = `${entries(found.entries)} working · ${several(found.legs, "leg")} · ${several(found.positions, "position")}${old}`;
    f.querySelector("[data-says=cancel]").textContent = `Cancels ${entries(found.entries)}. ${found.legs ? `${several(found.legs, "protective leg")} ${found.legs === 1 ? "stays" : "stay"}` : "There is no protective leg to keep"}; positions stay.`;
    f.querySelector("[data-says=flatten]").innerHTML = `Cancels ${entries(found.entries)}, closes ${several(found.positions, "position")} at market, about ${found.about}; each one's legs go as it closes.${scope === "FIRM" ? " Type <b>flatten</b>." : ""}`;
    const choice = f.querySelector("[name=choice]:checked").value;
    const verb = { cancel: `block and cancel ${found.entries}`, "cancel+flatten": `block, cancel ${found.entries}, flatten ${found.positions}`, cancel_all: `block, cancel ${found.entries + found.legs}, stops included` }[choice];
    const word = choice === "cancel_all" ? "unprotect" : choice === "cancel+flatten" && scope === "FIRM" ? "flatten" : "";
    if (word) f.querySelector("[data-word]").innerHTML = `Type <b>${word}</b>`;
    f.querySelector("[data-fire]").textContent = `Kill ${found.environment} ${where}: ${verb}`;
    f.querySelector("[data-recent]").replaceChildren(...(all.recent || []).map((text) => { const p = document.createElement("p"); p.className = "muted"; p.textContent = text; return p; }));
    f.querySelector("[name=seen]").value = `${entries(found.entries)}, ${several(found.legs, "leg")}, ${several(found.positions, "position")}${old}`;
  }

  desk.openKill = (scope, key) => {
    attempt += 1;
    body.innerHTML = blank;
    const f = form();
    const radio = f.querySelector(`[name=scope][value="${scope || "FIRM"}"]`);
    if (radio) radio.checked = true;
    if (selects[scope]) f.querySelector(`[name=${selects[scope]}]`).value = key;
    told();
    desk.openDialog(dialog);
  };

  document.getElementById("kill-open")?.addEventListener("click", (event) => {
    event.preventDefault();
    const { scope, key } = event.currentTarget.dataset;
    desk.openKill(scope, key);
  });

  body.addEventListener("input", told);
  document.addEventListener("desk:lost", () => { if (dialog.open) told(); });

  // a halt's button says the same of its own form
  document.addEventListener("input", (event) => {
    const f = event.target.closest("[data-halt-form]");
    if (!f) return;
    const { found, where } = reached(f);
    const mode = f.querySelector("[name=mode]:checked").value.replace("_", " ").toLowerCase();
    f.querySelector(".fire").textContent = `Halt ${found.environment} ${where}: ${mode}`;
  });
  dialog.addEventListener("close", () => { attempt += 1; body.innerHTML = blank; });

  // the words for when this page cannot reach the desk: all of them are in the page already
  function notSent(why) {
    const f = form();
    if (!f) return;
    const box = f.querySelector("[data-notsent]");
    const scope = f.querySelector("[name=scope]:checked").value;
    const key = selects[scope] ? f.querySelector(`[name=${selects[scope]}]`).value : "";
    const choice = f.querySelector("[name=choice]:checked").value;
    const flag = { FIRM: " --firm", ACCOUNT: ` --account ${key}`, BOT: ` --bot ${key}`, INSTRUMENT: ` --symbol ${key}` }[scope];
    const lines = [
      ["b", `KILL NOT SENT – ${why}`],
      ["span", "It is tried again every 2 s with the same key: it happens once, whichever try arrives."],
      ["span", "On the desk's machine:"],
      ["code", `${dialog.dataset.command} kill${flag}${{ cancel: "", "cancel+flatten": " --flatten", cancel_all: " --cancel-all" }[choice]}`],
      ["span", "Or another console; or at the venue:"],
    ].map(([tag, text]) => { const e = document.createElement(tag); e.textContent = text; return e; });
    box.replaceChildren(...lines, ...document.getElementById("venues").cloneNode(true).childNodes);
    box.hidden = false;
    f.querySelector(".no").textContent = "Stop trying";
  }

  async function send(data, mine) {
    while (mine === attempt && dialog.open) {
      try {
        const answer = await desk.post(form().getAttribute("action"), data, AbortSignal.timeout(2000));
        if (mine !== attempt) return;
        if (answer.status === 401) {
          notSent("you are signed out: sign in to kill, or run the line below");
        } else if (answer.status >= 500) {
          notSent(`the desk answered ${answer.status}`);
        } else {
          return arrived(await answer.text(), answer.status);
        }
      } catch {
        notSent("this page cannot reach the desk");
      }
      await new Promise((done) => setTimeout(done, 2000));
    }
  }

  function arrived(html, status) {
    const box = document.createElement("template");
    box.innerHTML = html;
    if (status >= 400) {
      for (const line of box.content.querySelectorAll(".said")) desk.show(line);
      if (status === 403) desk.say("Your group may look, not kill.", "refused");
      form().querySelector(".fire").disabled = false;
      return;
    }
    body.replaceChildren(box.content);
    htmx.process(body);
    body.querySelector(".acts .btn")?.focus();
  }

  body.addEventListener("submit", (event) => {
    event.preventDefault();
    const data = new FormData(event.target);
    data.set("key", desk.key());
    event.target.querySelector(".fire").disabled = true;
    attempt += 1;
    send(data, attempt);
  });
})();
