// How the page looks: light, dark or the system's; the list as a drawer on a phone.
import { find } from "./dom";
import { recall, remember } from "./store";

const themes = ["system", "light", "dark"];

export function setUpTheme(): void {
  const button = find("theme");
  let theme = recall("theme") ?? "system";
  if (!themes.includes(theme)) theme = "system";
  const apply = () => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    const next = themes[(themes.indexOf(theme) + 1) % themes.length];
    button.title = `Colours: ${theme}; next: ${next}`;
    button.setAttribute("aria-label", button.title);
  };
  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length] ?? "system";
    remember("theme", theme === "system" ? undefined : theme);
    apply();
  });
  apply();
}

const narrow = matchMedia("(max-width: 760px)");
const side = find("side");
const veil = find("veil");

/** On a phone; elsewhere the list is always there. */
export function showSide(open: boolean): void {
  const drawer = narrow.matches;
  const was = side.classList.contains("open");
  side.classList.toggle("open", open && drawer);
  side.inert = drawer && !open;
  veil.hidden = !(open && drawer);
  document.querySelector("main")?.toggleAttribute("inert", open && drawer);
  find("side-open").setAttribute("aria-expanded", String(open && drawer));
  if (open && drawer) find("side-close").focus();
  else if (was && drawer) find("side-open").focus();
}

export function setUpSide(): void {
  find("side-open").addEventListener("click", () => showSide(true));
  find("side-close").addEventListener("click", () => showSide(false));
  veil.addEventListener("click", () => showSide(false));
  side.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !side.classList.contains("open")) return;
    event.stopPropagation(); // it would stop an answer
    showSide(false);
  });
  narrow.addEventListener("change", () => showSide(false));
  showSide(false);
}
