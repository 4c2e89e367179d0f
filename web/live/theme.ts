// Light, dark, or as the system has it; kept in this browser.
const themes = ["auto", "light", "dark"] as const;
type Theme = (typeof themes)[number];

function kept(): Theme {
  try {
    return themes.find((theme) => theme === localStorage.getItem("theme")) ?? "auto";
  } catch {
    return "auto"; // storage is forbidden
  }
}

export function setUpTheme(button: HTMLElement, name: HTMLElement): void {
  let theme = kept();
  const show = () => {
    document.documentElement.dataset["theme"] = theme;
    name.textContent = `: ${theme}`;
  };
  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length] ?? "auto";
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // then it lasts until the page is left
    }
    show();
  });
  show();
}
