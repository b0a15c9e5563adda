// Keys. None of them does anything that cannot be undone: k opens the kill dialog and never fires it.
"use strict";

(() => {
  let waitsForGo = 0;

  const isTyping = (target) => target.closest("input:not([type=radio]), textarea, select, [contenteditable]");

  document.addEventListener("keydown", (event) => {
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      for (const menu of document.querySelectorAll("details.more[open]")) menu.open = false;
      if (!document.querySelector("dialog[open]")) desk.closeDrawer();
      return;
    }
    if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
    if (performance.now() < waitsForGo) {
      waitsForGo = 0;
      document.querySelector(`[data-go="${CSS.escape(event.key)}"]`)?.click();
      return;
    }
    if (event.key === "g") {
      waitsForGo = performance.now() + 1500;
    } else if (event.key === "k") {
      document.getElementById("kill-open")?.click();
    } else if (event.key === "a") {
      document.activeElement?.closest(".alarm")?.querySelector("[data-ack]")?.click();
    } else if (event.key === "/") {
      event.preventDefault();
      document.querySelector("#filters input:checked, #filters select, form.filters select")?.focus();
    } else if (event.key === "?") {
      document.getElementById("help").showModal();
    }
  });
})();
