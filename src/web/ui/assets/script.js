// Enhancements for pages that also work without scripts: copying, confirmation, dialogs and relative times.
"use strict";
const all = (selector) => document.querySelectorAll(selector);
const status = document.querySelector("[role=status].toast");

function say(text) {
  status.textContent = "";
  // Screen readers announce text only when it changes, so clear the text first, and set it in the next frame.
  requestAnimationFrame(() => (status.textContent = text));
  clearTimeout(say.timer);
  say.timer = setTimeout(() => (status.textContent = ""), 4000);
}

// Without HTTPS, browsers don't offer the clipboard API.
function copyByCommand(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "sr";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

async function copy(button) {
  const text = button.dataset.copy;
  let done = false;
  try {
    await navigator.clipboard.writeText(text);
    done = true;
  } catch {
    done = copyByCommand(text);
    button.focus();
  }
  say(done ? "Copied" : `Could not copy. Select and copy it yourself: ${text}`);
}

const units = [["day", 86400], ["hour", 3600], ["minute", 60]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
for (const time of all("time[data-relative]")) {
  const seconds = (Date.parse(time.dateTime) - Date.now()) / 1000;
  if (Math.abs(seconds) < 7 * 86400) {
    const unit = units.find(([, length]) => Math.abs(seconds) >= length);
    time.title = time.textContent;
    time.textContent = unit ? relative.format(Math.trunc(seconds / unit[1]), unit[0]) : "just now";
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy], [data-dialog], dialog [data-close]");
  if (!button) return;
  if (button.dataset.copy) copy(button);
  if (button.dataset.dialog) {
    event.preventDefault();
    document.getElementById(button.dataset.dialog).showModal();
  }
  if ("close" in button.dataset) button.closest("dialog").close();
});

// A form with a `data-ask` attribute asks for confirmation. The attribute contains the id of the dialog.
document.addEventListener("submit", (event) => {
  const dialog = document.getElementById(event.target.dataset.ask);
  if (dialog && !dialog.open) {
    event.preventDefault();
    dialog.showModal();
  }
});

// Focus the error summary or the confirmation here, because not every browser applies `autofocus` to elements other
// than form controls.
document.querySelector("[data-focus]")?.focus();
