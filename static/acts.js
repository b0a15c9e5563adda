// Acts, the drawer and the dialog. Every act is a POST with a key of its own; without this file they are plain forms and pages.
"use strict";

desk.key = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");

desk.token = () => document.querySelector("#act [name=csrfmiddlewaretoken]").value;

function lineOf(text, level) {
  const line = document.createElement("p");
  line.className = `said ${level}`;
  line.textContent = text;
  return line;
}

desk.say = (text, level = "done") => desk.show(lineOf(text, level));

desk.show = (line) => {
  document.getElementById("said").append(line);
  setTimeout(() => line.remove(), line.classList.contains("refused") ? 12000 : 6000);
};

desk.post = (address, body, signal) =>
  fetch(address, { method: "POST", body, signal, headers: { "HX-Request": "true", "X-CSRFToken": desk.token() }, credentials: "same-origin" });

desk.signedOut = (answer) => {
  const address = answer.headers.get("HX-Redirect");
  if (address) location.href = `${address}?next=${encodeURIComponent(location.pathname)}`;
  return Boolean(address);
};

// Starting, resuming, clearing, and what moves a leg or settles a quantity wait until the page is current; safer acts never do.
const isRisky = (address) => /\/(start|resume|clear|reset|move|adopt|adopt-and-close|ignore)\/$/.test(new URL(address, location.href).pathname);

// whoever asks the same again has read why not; a line without an address (it came with the page) goes with whatever is asked
function forgetRefusals(address) {
  for (const line of document.querySelectorAll("#said .refused, #said .error")) {
    if ((line.dataset.asked ?? address) === address) line.remove();
  }
}

async function act(form, submitter) {
  const address = submitter?.getAttribute("formaction") || form.getAttribute("action") || location.pathname;
  forgetRefusals(address);
  if (isRisky(address) && (document.body.classList.contains("is-lost") || document.body.classList.contains("is-resyncing"))) {
    refuse(form, "This page is not current. Wait until it has caught up, then ask again.");
    return;
  }
  const body = new FormData(form, submitter?.name ? submitter : null);
  body.set("key", desk.key());
  if (submitter) submitter.disabled = true;
  try {
    const answer = await desk.post(address, body, AbortSignal.timeout(10000));
    if (desk.signedOut(answer)) return;
    const html = await answer.text();
    if (answer.status >= 500 || !answer.headers.get("content-type")?.includes("html")) throw new Error(`the desk answered ${answer.status}`);
    told(form, html, answer.status, address);
  } catch (error) {
    refuse(form, `Not sent: ${error.name === "TimeoutError" ? "the desk did not answer in 10 s" : error.message}. Nothing is known to have happened; ask again.`);
  } finally {
    if (submitter) submitter.disabled = false;
  }
}

function told(form, html, status, address) {
  const box = document.createElement("template");
  box.innerHTML = html;
  const into = form.dataset.into && status < 400 ? document.getElementById(form.dataset.into) : null;
  if (into) {
    into.replaceChildren(box.content);
    htmx.process(into);
    const shell = into.closest("dialog");
    if (shell && !shell.open) shell.showModal();
    return;
  }
  if (status === 403 && !box.content.querySelector(".said")) {
    refuse(form, "Your group may look, not do this.");
    return;
  }
  const lines = [...box.content.querySelectorAll(".said")];
  const dialog = form.closest("dialog");
  if (status < 400 || !dialog) {
    for (const line of lines) {
      line.dataset.asked = address;
      desk.show(line);
    }
    dialog?.close();
  } else if (status === 409 && form.elements.shown) {
    // what it showed is out of date: it shows what is true now, and asks again
    fetched(form.getAttribute("action"), "dialog-body", () => {
      desk.openDialog(dialog);
      const fresh = dialog.querySelector("form");
      if (fresh) typedAgain(form, fresh);
      refusedIn(fresh ?? dialog, lines);
    });
  } else {
    refusedIn(form, lines);
  }
}

function refuse(form, text) {
  const line = lineOf(text, "refused");
  if (form.closest("dialog")) refusedIn(form, [line]);
  else desk.show(line);
}

// a dialog covers the page's own lines: what was refused stands in it
function refusedIn(place, lines) {
  for (const old of place.querySelectorAll(".said")) old.remove();
  for (const line of lines) line.setAttribute("role", "alert");
  const head = place.querySelector("h1");
  if (head) head.after(...lines);
  else place.prepend(...lines);
}

function typedAgain(old, fresh) {
  for (const field of fresh.querySelectorAll("input:not([type])")) field.value = old.elements[field.name]?.value ?? field.value;
  for (const tick of fresh.querySelectorAll("input[type=checkbox]")) tick.checked = old.elements[tick.name]?.checked ?? tick.checked;
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("form[data-act], form[data-into]")) return;
  event.preventDefault();
  act(form, event.submitter);
});

// --- the drawer and the dialog ---

function fetched(address, id, then) {
  // a source of its own: two requests of one source wait for each other
  htmx.ajax("GET", address, { source: `#${id}`, target: `#${id}`, swap: "innerHTML" }).then(then, () => desk.say("The desk did not answer.", "refused"));
}

let opener = null;

desk.openDialog = (dialog) => {
  if (!dialog.open) dialog.showModal();
  desk.tick();
  const fire = dialog.querySelector(".fire");
  if (fire && !fire.dataset.ready) {
    // a double click that opened the dialog must not fire it
    fire.disabled = true;
    setTimeout(() => { fire.disabled = false; }, 500);
  }
  dialog.querySelector("[data-halt-form] [name=scope]")?.dispatchEvent(new Event("input", { bubbles: true }));
  dialog.querySelector(".no")?.focus();
};

desk.closeDrawer = () => {
  document.getElementById("drawer").hidden = true;
  opener?.focus();
  opener = null;
};

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-drawer], a[data-dialog], [data-close], [data-close-drawer]");
  if (!link) {
    for (const menu of document.querySelectorAll("details.more[open]")) if (!menu.contains(event.target)) menu.open = false;
    return;
  }
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (link.matches("[data-close]")) {
    const dialog = link.closest("dialog");
    if (!dialog) return;
    event.preventDefault();
    dialog.close();
  } else if (link.matches("[data-close-drawer]")) {
    desk.closeDrawer();
  } else if (link.matches("[data-drawer]")) {
    event.preventDefault();
    opener ??= link;
    fetched(link.href, "drawer-body", () => {
      const drawer = document.getElementById("drawer");
      drawer.hidden = false;
      drawer.scrollTop = 0;
      drawer.querySelector(".close-drawer").focus();
      desk.count(drawer);
    });
  } else {
    event.preventDefault();
    link.closest("details")?.removeAttribute("open");
    if (new URL(link.href).pathname === "/kill/" && desk.openKill) {
      const query = new URL(link.href).searchParams;
      desk.openKill(query.get("scope"), query.get("key"));
      return;
    }
    fetched(link.href, "dialog-body", () => desk.openDialog(document.getElementById("dialog")));
  }
});

// a list is filtered as soon as the choice is made
document.addEventListener("change", (event) => {
  const form = event.target.closest("form.filters");
  if (form) form.requestSubmit();
});
